"""The one maker of step tables: episodes in memory and runs on disk become the same rows of :class:`credit.Steps`.

Who makes a table of episodes (the run store, the trainer, TRL, verl, truth and quality) comes here, so that which
episodes count, what comes after a step and what an invalid action costs are each said once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agentbench.runs.episodes import Episode, is_judged, next_anchors
from agentbench.runs.frame import Columns
from agentbench.runs.trees import is_tree, nodes_of, whole
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


def less_penalty(reward: FloatArray, is_valid: BoolArray, penalty: float) -> FloatArray:
    """Take ``penalty`` off the reward of every invalid action; all of shape (steps,)."""
    return reward - penalty * ~is_valid


def steps_of(
    groups: Sequence[Sequence[Episode]],
    *,
    penalty: float = 0.0,
    values: FloatArray | None = None,
    kl: FloatArray | None = None,
    columns: Mapping[str, npt.NDArray[Any]] | None = None,
    tree: bool = False,
) -> Steps:
    """Lay the steps of groups of episodes end to end as a step table.

    Args:
        groups: the episodes of each group, judged ones alone (:func:`groups_by_task`). Groups are numbered in their
            order from 0, and so are the episodes that have steps. Of a branch the steps that it shares stand there
            too: rows of the same number ``node`` are the same step (:mod:`agentbench.runs.trees`), and ``own`` is true
            in that of the episode which played it.
        penalty: taken off the reward of an invalid action.
        values: float64, shape (nodes,): value of the state before each step, if it is known.
        kl: float64, shape (nodes,): taken off the rewards, if the KL term goes into the reward.
        columns: further columns that a scheme reads, each of shape (nodes,).
        tree: whether the columns ``node``, ``parent`` and ``own`` are there also where there is no branch.

    Raises:
        UserError: a branch without its parent.
        CreditError: the episodes make no step table (a step that ends an episode is not its last).
    """
    rows = [
        (number, index, step, next_anchor)
        for number, episodes in enumerate(groups)
        for episode in whole(episodes)
        for index, (step, next_anchor) in enumerate(zip(episode.steps, next_anchors(episode), strict=True))
    ]
    steps = [row[2] for row in rows]
    states = _codes([step.anchor for step in steps] + [row[3] for row in rows])
    is_valid = np.array([step.is_valid for step in steps], dtype=np.bool_)
    reward = less_penalty(np.array([step.reward for step in steps], dtype=np.float64), is_valid, penalty)
    extra: dict[str, npt.NDArray[Any]] = {"score": np.array([step.score for step in steps], dtype=np.float64)}
    index = np.array([row[1] for row in rows], dtype=np.int64)
    if tree or any(map(is_tree, groups)):
        extra |= (of_tree := _tree_columns(groups, index))
        node = of_tree["node"]
        values, kl = (None if each is None else each[node] for each in (values, kl))
        columns = {name: each[node] for name, each in (columns or {}).items()}
    if values is not None:
        extra["value"] = values
    extra |= columns or {}
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


def _tree_columns(groups: Sequence[Sequence[Episode]], index: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """Return the columns ``node``, ``parent`` and ``own`` of all rows."""
    courses, first = [], 0
    for group in groups:
        courses += nodes_of(group, first)
        first += sum(len(episode.steps) for episode in group)
    node = np.array([each for course in courses for each in course], dtype=np.int64)
    fork = np.repeat([episode.fork for group in groups for episode in group], [len(course) for course in courses])
    return {"node": node, "parent": np.where(index > 0, np.roll(node, 1), -1), "own": index >= fork}


def judged_rows(table: pd.DataFrame | Columns, episodes: pd.DataFrame | Columns) -> BoolArray:
    """Tell which rows of a run's step table are of episodes that count, shape (rows,)."""
    judged = np.asarray(is_judged(np.asarray(episodes["outcome"])), dtype=np.bool_)
    return np.isin(np.asarray(table["episode"]), np.asarray(episodes["episode"])[judged])


def judged_table(
    table: pd.DataFrame, episodes: pd.DataFrame, *, penalty: float = 0.0, tree: bool = False
) -> pd.DataFrame:
    """Return the judged steps of a run on disk, with text, under the column names of the schemes.

    ``Steps.from_frame`` of it equals :func:`steps_of` of the run's episodes; ``group`` is the task's id, and episodes
    keep their row numbers of the episode table, in which those that are left out have one too. Of a branch the steps
    that it shares stand there too, as in :func:`steps_of`; rows with ``own`` are those of the table on disk, in order.

    Args:
        table, episodes: the run's two tables (:attr:`agentbench.runs.run.Run.step_table` and ``episodes``).
        penalty: taken off the reward of an invalid action.
        tree: as for :func:`steps_of`.
    """
    table = table[judged_rows(table, episodes)].rename(columns=SCHEME_NAMES)
    if "node" in table:
        branches = episodes.loc[episodes["parent"].notna(), "episode"]
        table = _with_shared(table) if table["episode"].isin(branches).any() else table.drop(columns=["node", "parent"])
    if tree and "node" not in table:
        node = np.arange(len(table))
        table = table.assign(node=node, parent=np.where(table["step"] > 0, node - 1, -1), own=True)
    if penalty:
        table["reward"] = less_penalty(table["reward"].to_numpy(), table["is_valid"].to_numpy(dtype=np.bool_), penalty)
    return table


def _with_shared(table: pd.DataFrame) -> pd.DataFrame:
    """Put the steps that a branch shares before its own, found from node to parent."""
    place = dict(zip(table["node"], range(len(table)), strict=True))
    parents = table["parent"].to_numpy()
    rows, counts = [], []
    starts = np.flatnonzero(np.diff(table["episode"].to_numpy(), prepend=-1))
    ends = np.append(starts[1:], len(table))
    for start, end in zip(starts, ends, strict=True):
        shared, node = [], parents[start]
        while node >= 0:
            shared.append(place[node])
            node = parents[place[node]]
        rows += [*reversed(shared), *range(start, end)]
        counts.append(len(shared) + end - start)
    own = np.concatenate([np.arange(count) >= count - size for count, size in zip(counts, ends - starts, strict=True)])
    names = {name: np.repeat(table[name].to_numpy()[starts], counts) for name in ("episode", "trial")}
    return table.iloc[rows].reset_index(drop=True).assign(own=own, **names)


def _codes(texts: list[str]) -> npt.NDArray[np.int64]:
    codes: dict[str, int] = {}
    return np.fromiter((codes.setdefault(text, len(codes)) for text in texts), np.int64, len(texts))
