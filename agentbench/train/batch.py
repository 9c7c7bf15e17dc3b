"""From finished episodes to what an update needs: traces, advantages, and what the credit scheme's batch was like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agentbench.runs.episodes import Episode
from agentbench.runs.trees import whole
from agentbench.train.config import BRANCHED, TrainConfig
from credit import Steps
from credit.grouping import Groups
from credit.registry import SCHEMES, advantages
from credit.returns import step_returns
from credit.steps import FloatArray


@dataclass(frozen=True, slots=True)
class Batch:
    """The judged steps of some groups of episodes, each that was played once, however many episodes share it.

    Attributes:
        traces: what the policy needs to score each step's answer again.
        advantages: float64, shape (steps,).
        returns: float64, shape (steps,): discounted return from each step on, what the critic learns.
        episode: int64, shape (steps,), numbered from 0.
        tokens: int64, shape (steps,): number of sampled tokens of each step.
        table: the step table that the scheme saw; of trees it has a row for each episode that came through a step.
    """

    traces: list[Any]
    advantages: FloatArray
    returns: FloatArray
    episode: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]
    table: Steps

    def __len__(self) -> int:
        return len(self.traces)

    @property
    def of_rows(self) -> FloatArray:
        """The advantages by the rows of the table."""
        return self.advantages[self.table.extra["node"]] if "node" in self.table.extra else self.advantages


def needs(scheme: str, column: str) -> bool:
    """Return whether a scheme cannot do without a column."""
    return column in SCHEMES[scheme].needs


def needs_values(scheme: str) -> bool:
    """Return whether a scheme reads values of states."""
    return needs(scheme, "value")


def discount(config: TrainConfig) -> float:
    """Return the scheme's own discount; 1 where it has none."""
    default = SCHEMES[config.scheme].options.get("gamma", 1.0)
    return float(config.scheme_options.get("gamma", default))


def lookahead(config: TrainConfig) -> float:
    """Return the scheme's own lam, how far it looks beyond the next value; 0 for those that never do, else 1."""
    if config.scheme in BRANCHED:
        return 0.0
    default = SCHEMES[config.scheme].options.get("lam", 1.0)
    return float(config.scheme_options.get("lam", default))


def make_batch(groups: Sequence[Sequence[Episode]], table: Steps, config: TrainConfig) -> Batch:
    """Compute the advantages of groups of episodes under the configuration's scheme.

    The scheme sees nothing but the step table, which :func:`agentbench.runs.steps.steps_of` made of the same groups. Of
    trees a step that episodes share gets the mean over its rows, which a scheme made for trees has made equal.

    Raises:
        credit.steps.CreditError: the scheme or one of its options does not exist, or lacks a column.
    """
    found = advantages(config.scheme, table, **config.scheme_options)
    returns, episode = step_returns(table, gamma=discount(config)), table.episode
    if "node" in table.extra:
        nodes = Groups(table.extra["node"], int(table.extra["own"].sum()))
        found, returns, episode = nodes.mean(found), nodes.mean(returns), episode[table.extra["own"]]
    if config.whiten_advantages:
        found = (found - found.mean()) / (found.std() + 1e-8)
    traces = [step.trace for episodes in groups for episode in episodes for step in episode.steps]
    tokens = np.array([trace.tokens for trace in traces], dtype=np.int64)
    return Batch(traces, found, returns, episode, tokens, table)


def is_informative(group: Sequence[Episode]) -> bool:
    """Return whether a group's episodes did not all earn the same: only then can outcomes teach anything."""
    return len({sum(step.reward for step in episode.steps) for episode in whole(group)}) > 1
