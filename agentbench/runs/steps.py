"""The one maker of step tables: episodes in memory and runs on disk become the same rows of :class:`credit.Steps`.

Who makes a table of episodes (the run store, the trainer, TRL, verl, truth and quality) comes here, so that which
episodes count, what comes after a step and what an invalid action costs are each said once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agentbench.runs.episodes import Episode, is_judged
from credit import Steps
from credit.steps import BoolArray, FloatArray

if TYPE_CHECKING:
    import pandas as pd


SCHEME_NAMES = {"task_id": "group", "anchor": "state", "next_anchor": "next_state"}
"""Columns of a run's step table that the schemes know by another name."""


def groups_by_task(episodes: Iterable[Episode]) -> list[list[Episode]]:
    """Gather the episodes of each task that have judged steps, in order of task id and trial.

    Episodes that ended in an error of the infrastructure are left out: nobody knows what they earned.
    """
    groups: dict[str, list[Episode]] = defaultdict(list)
    for episode in sorted(episodes, key=lambda each: each.key):
        if episode.is_judged:
            groups[episode.task_id].append(episode)
    return list(groups.values())


def next_anchors(episode: Episode) -> list[str]:
    """Return the anchor of the situation after each step, of the same length as the steps."""
    return [step.anchor for step in episode.steps[1:]] + [episode.final_anchor] * bool(episode.steps)


def less_penalty(reward: FloatArray, is_valid: BoolArray, penalty: float) -> FloatArray:
    """Take ``penalty`` off the reward of every invalid action; all of shape (steps,)."""
    return reward - penalty * ~is_valid


def steps_of(
    groups: Sequence[Sequence[Episode]],
    *,
    penalty: float = 0.0,
    values: FloatArray | None = None,
    kl: FloatArray | None = None,
) -> Steps:
    """Lay the steps of groups of episodes end to end as a step table.

    Args:
        groups: the episodes of each group, judged ones alone (:func:`groups_by_task`). Groups are numbered in their
            order from 0, and so are the episodes that have steps.
        penalty: taken off the reward of an invalid action.
        values: float64, shape (steps,): value of the state before each step, if it is known.
        kl: float64, shape (steps,): taken off the rewards, if the KL term goes into the reward.

    Raises:
        CreditError: the episodes make no step table (a step that ends an episode is not its last).
    """
    rows = [
        (number, index, step, next_anchor)
        for number, episodes in enumerate(groups)
        for episode in episodes
        for index, (step, next_anchor) in enumerate(zip(episode.steps, next_anchors(episode), strict=True))
    ]
    steps = [row[2] for row in rows]
    states = _codes([step.anchor for step in steps] + [row[3] for row in rows])
    is_valid = np.array([step.is_valid for step in steps], dtype=np.bool_)
    reward = less_penalty(np.array([step.reward for step in steps], dtype=np.float64), is_valid, penalty)
    extra: dict[str, npt.NDArray[Any]] = {"score": np.array([step.score for step in steps], dtype=np.float64)}
    if values is not None:
        extra["value"] = values
    index = np.array([row[1] for row in rows], dtype=np.int64)
    return Steps(
        group=np.array([row[0] for row in rows], dtype=np.int64),
        episode=np.cumsum(index == 0) - 1,
        step=index,
        reward=reward if kl is None else reward - kl,
        state=states[: len(rows)],
        next_state=states[len(rows) :],
        action=_codes([step.action for step in steps]),
        is_valid=is_valid,
        terminated=np.array([step.terminated for step in steps], dtype=np.bool_),
        truncated=np.array([step.truncated for step in steps], dtype=np.bool_),
        extra=extra,
    )


def judged_rows(table: pd.DataFrame, episodes: pd.DataFrame) -> BoolArray:
    """Tell which rows of a run's step table are of episodes that count, shape (rows,)."""
    rows: BoolArray = table["episode"].isin(episodes.loc[is_judged(episodes["outcome"]), "episode"]).to_numpy()
    return rows


def judged_table(table: pd.DataFrame, episodes: pd.DataFrame, *, penalty: float = 0.0) -> pd.DataFrame:
    """Return the judged steps of a run on disk, with text, under the column names of the schemes.

    ``Steps.from_frame`` of it equals :func:`steps_of` of the run's episodes; ``group`` is the task's id, and episodes
    keep their row numbers of the episode table, in which those that are left out have one too.

    Args:
        table, episodes: the run's two tables (:attr:`agentbench.runs.run.Run.step_table` and ``episodes``).
        penalty: taken off the reward of an invalid action.
    """
    table = table[judged_rows(table, episodes)].rename(columns=SCHEME_NAMES)
    if penalty:
        table["reward"] = less_penalty(table["reward"].to_numpy(), table["is_valid"].to_numpy(dtype=np.bool_), penalty)
    return table


def _codes(texts: list[str]) -> npt.NDArray[np.int64]:
    codes: dict[str, int] = {}
    return np.fromiter((codes.setdefault(text, len(codes)) for text in texts), np.int64, len(texts))
