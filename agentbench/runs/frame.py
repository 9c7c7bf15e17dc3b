"""Check that a table of episodes, of a run or of somebody else, is what the summaries take it for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agentbench.runs.episodes import OUTCOMES, is_judged
from envs.base.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("task_id", "trial", "task_type", "outcome", "score", "steps", "invalid_actions")

Columns = Mapping[str, npt.NDArray[Any]]
"""The columns of a table by name, all of one length."""


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
    return frame.iloc[_order(frame, name)].reset_index(drop=True)


def checked_columns(frame: pd.DataFrame | Columns, *more: str, name: str = "the run") -> dict[str, npt.NDArray[Any]]:
    """Return the same as :func:`check_episodes` as arrays, of :data:`COLUMNS` and ``more``; without pandas."""
    order = _order(frame, name)
    return {column: np.asarray(frame[column])[order] for column in dict.fromkeys([*COLUMNS, *more])}


def _order(frame: pd.DataFrame | Columns, name: str) -> npt.NDArray[np.int64]:
    """Check a table; return its rows by task and trial."""
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise UserError(f"{name} has no column {', '.join(missing)}: it is not a table of episodes")
    ids, trials, types, outcomes = (np.asarray(frame[column]) for column in COLUMNS[:4])
    if not len(ids):
        raise UserError(f"{name} has no finished episodes: nothing to compute")
    for outcome in dict.fromkeys(outcomes.tolist()):
        if outcome not in OUTCOMES:
            raise unknown("outcome", str(outcome), OUTCOMES)
    tasks, task = np.unique(ids, return_inverse=True)
    order = np.lexsort((trials, task))
    is_again = (np.diff(task[order]) == 0) & (np.diff(trials[order]) == 0)
    if is_again.any():
        first = order[1:][is_again].min()
        raise UserError(f"{name} has trial {trials[first]} of task {ids[first]!r} twice: is it two runs in one?")
    kinds = [set[Any]() for _ in tasks]
    for number, kind in zip(task.tolist(), types.tolist(), strict=True):
        kinds[number].add(kind)
    if max(map(len, kinds)) > 1:
        wrong = max(range(len(tasks)), key=lambda number: len(kinds[number]))
        raise UserError(f"{name} gives task {tasks[wrong]!r} more than one task_type")
    scores = np.asarray(np.asarray(frame["score"])[is_judged(outcomes)], dtype=np.float64)
    if (strange := ~((scores >= 0.0) & (scores <= 1.0))).any():
        raise UserError(f"{name} has a score of {scores[strange][0]}: scores go from 0 to 1")
    return order
