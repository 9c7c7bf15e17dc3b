"""Check that a table of episodes, of a run or of somebody else, is what the summaries take it for."""

from __future__ import annotations

import pandas as pd

from agentbench.runs.episodes import OUTCOMES, is_judged
from envs.base.errors import UserError, unknown

COLUMNS = ("task_id", "trial", "task_type", "outcome", "score", "steps", "invalid_actions")


def check_episodes(frame: pd.DataFrame, name: str = "the run") -> pd.DataFrame:
    """Return the episodes sorted by task and trial, or say what is wrong with them.

    Args:
        frame: one row an episode, with at least the columns ``task_id`` (str), ``trial`` (int), ``task_type``
            (str), ``outcome`` (success, failure or error), ``score`` (0 to 1; not read where the outcome is
            error), ``steps`` (int) and ``invalid_actions`` (int).
        name: what to call the run in an error.

    Raises:
        UserError: no episodes, a missing column, an unknown outcome, an episode that is there twice, a task of
            two types, or a score outside 0 to 1.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise UserError(f"{name} has no column {', '.join(missing)}: it is not a table of episodes")
    if frame.empty:
        raise UserError(f"{name} has no finished episodes: nothing to compute")
    strange = frame.loc[~frame["outcome"].isin(OUTCOMES), "outcome"]
    if not strange.empty:
        raise unknown("outcome", str(strange.iloc[0]), OUTCOMES)
    twice = frame[frame.duplicated(["task_id", "trial"])]
    if not twice.empty:
        first = twice.iloc[0]
        raise UserError(f"{name} has trial {first['trial']} of task {first['task_id']!r} twice: is it two runs in one?")
    types = frame.groupby("task_id")["task_type"].nunique(dropna=False)
    if (types > 1).any():
        raise UserError(f"{name} gives task {types.idxmax()!r} more than one task_type")
    scores = frame.loc[is_judged(frame["outcome"]), "score"]
    if not scores.between(0.0, 1.0).all():
        worst = scores[~scores.between(0.0, 1.0)].iloc[0]
        raise UserError(f"{name} has a score of {worst}: scores go from 0 to 1")
    return frame.sort_values(["task_id", "trial"], ignore_index=True)
