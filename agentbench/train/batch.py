"""From finished episodes to what an update needs: traces, advantages, and what the credit scheme's batch was like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentbench.episodes import Episode
from agentbench.train.config import TrainConfig
from credit import Steps
from credit.registry import SCHEMES, advantages
from credit.returns import step_returns

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Batch:
    """The judged steps of some groups of episodes.

    Attributes:
        traces: what the policy needs to judge each step's answer again.
        advantages: float64, shape (steps,).
        returns: float64, shape (steps,): discounted return from each step on, what the critic learns.
        episode: int64, shape (steps,), numbered from 0.
        tokens: int64, shape (steps,): number of sampled tokens of each step.
        table: the step table that the scheme saw.
    """

    traces: list[Any]
    advantages: Floats
    returns: Floats
    episode: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    table: Steps

    def __len__(self) -> int:
        return len(self.traces)


def needs_values(scheme: str) -> bool:
    """Tell whether a scheme reads values of states."""
    return "value" in SCHEMES[scheme].needs


def discount(config: TrainConfig) -> float:
    """Return the scheme's own discount; 1 where it has none."""
    default = SCHEMES[config.scheme].options.get("gamma", 1.0)
    return float(config.scheme_options.get("gamma", default))


def step_table(groups: Sequence[Sequence[Episode]], penalty: float, values: Floats | None, kl: Floats | None) -> Steps:
    """Lay the steps of groups of episodes end to end as a step table.

    Args:
        groups: the episodes of each group; each has at least one step.
        penalty: taken off the reward of an invalid action.
        values: float64, shape (steps,): value of the state before each step, if it is known.
        kl: float64, shape (steps,): taken off the rewards, if the KL term goes into the reward.
    """
    rows = [
        (number, index, step, next_anchor)
        for number, episodes in enumerate(groups)
        for episode in episodes
        for index, (step, next_anchor) in enumerate(zip(episode.steps, _next_anchors(episode), strict=True))
    ]
    steps = [row[2] for row in rows]
    states = _codes([step.anchor for step in steps] + [row[3] for row in rows])
    is_valid = np.array([step.is_valid for step in steps], dtype=np.bool_)
    reward = np.array([step.reward for step in steps], dtype=np.float64) - penalty * ~is_valid
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


def make_batch(groups: Sequence[Sequence[Episode]], table: Steps, config: TrainConfig) -> Batch:
    """Compute the advantages of groups of episodes under the configuration's scheme.

    The scheme is told nothing but the step table, which :func:`step_table` made of the same groups.

    Raises:
        credit.steps.CreditError: the scheme or one of its options does not exist, or lacks a column.
    """
    found = advantages(config.scheme, table, **config.scheme_options)
    if config.whiten_advantages:
        found = (found - found.mean()) / (found.std() + 1e-8)
    traces = [step.trace for episodes in groups for episode in episodes for step in episode.steps]
    tokens = np.array([trace.tokens for trace in traces], dtype=np.int64)
    return Batch(traces, found, step_returns(table, gamma=discount(config)), table.episode, tokens, table)


def group_by_task(episodes: Sequence[Episode]) -> list[list[Episode]]:
    """Gather the judged episodes of each task, in order of task id and trial; errors are left out."""
    groups: dict[str, list[Episode]] = defaultdict(list)
    for episode in sorted(episodes, key=lambda each: each.key):
        if episode.is_judged:
            groups[episode.task_id].append(episode)
    return list(groups.values())


def is_informative(group: Sequence[Episode]) -> bool:
    """Tell whether a group's episodes did not all earn the same: only then can outcomes teach anything."""
    return len({sum(step.reward for step in episode.steps) for episode in group}) > 1


def _next_anchors(episode: Episode) -> list[str]:
    return [step.anchor for step in episode.steps[1:]] + [episode.final_anchor]


def _codes(texts: list[str]) -> npt.NDArray[np.int64]:
    codes: dict[str, int] = {}
    return np.fromiter((codes.setdefault(text, len(codes)) for text in texts), np.int64, len(texts))
