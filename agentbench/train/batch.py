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
from credit.registry import find as find_scheme
from credit.returns import step_returns
from credit.steps import FloatArray

HEADS = ("value_low", "value_high", "value_term")
"""Columns of HiPER's values: of the action within a sub-goal, of the sub-goal, of switching."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The judged steps of some groups of episodes, each that was played once, however many episodes share it.

    Attributes:
        traces: what the policy needs to score each step's answer again.
        advantages: float64, shape (steps,).
        returns: float64, shape (steps,): discounted return from each step on, what the critic learns; of several
            values shape (steps, values), NaN where a step says nothing about one.
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
    return column in find_scheme(scheme).needs


def needs_values(scheme: str) -> bool:
    """Return whether a scheme reads values of states."""
    return not {"value", *HEADS}.isdisjoint(find_scheme(scheme).needs)


def value_columns(scheme: str) -> tuple[str, ...]:
    """Return the columns of the values that a critic estimates for a scheme: HiPER's three, else ``value`` alone."""
    return ("value",) if set(HEADS).isdisjoint(find_scheme(scheme).needs) else HEADS


def discount(config: TrainConfig) -> float:
    """Return the scheme's own discount from turn to turn; 1 where it has none."""
    options = SCHEMES[config.scheme].options
    name = "gamma_turn" if "gamma_turn" in options else "gamma"
    return float(config.scheme_options.get(name, options.get(name, 1.0)))


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
    returns, episode = returns_of(table, config), table.episode
    if "node" in table.extra:
        nodes = Groups(table.extra["node"], int(table.extra["own"].sum()))
        found, episode = nodes.mean(found), episode[table.extra["own"]]
        returns = np.apply_along_axis(nodes.mean, 0, returns)
    if config.whiten_advantages:
        found = (found - found.mean()) / (found.std() + 1e-8)
    traces = [step.trace for episodes in groups for episode in episodes for step in episode.steps]
    tokens = np.array([trace.tokens for trace in traces], dtype=np.int64)
    return Batch(traces, found, returns, episode, tokens, table)


def returns_of(table: Steps, config: TrainConfig) -> FloatArray:
    """Return what the critic learns (:attr:`Batch.returns`), by the rows of the table.

    HiPER's heads learn each what its stream of advantages is measured against, advantage plus value; the high one at
    the beginning of a sub-goal alone, as the other steps have no such advantage.
    """
    if value_columns(config.scheme) != HEADS or HEADS[0] not in table.extra:
        return step_returns(table, gamma=discount(config))
    options = {name: value for name, value in config.scheme_options.items() if name != "normalize_streams"}
    found = {
        name: advantages(config.scheme, table, **{**options, "stream": name.removeprefix("value_")})
        + table.column(name)
        for name in HEADS
    }
    begins = table.column("switch") | (table.step == 0)
    found["value_high"] = np.where(begins, found["value_high"], np.nan)
    return np.stack([found[name] for name in HEADS], axis=1)


def is_informative(group: Sequence[Episode]) -> bool:
    """Return whether a group's episodes did not all earn the same: only then can outcomes teach anything."""
    return len({sum(step.reward for step in episode.steps) for episode in whole(group)}) > 1
