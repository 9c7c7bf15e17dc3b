"""Health counters: how much of a batch a scheme gives any credit, and where that credit is suspect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credit.grouping import Groups
from credit.normalize import SNAP
from credit.registry import find
from credit.returns import outcomes
from credit.steps import CreditError, FloatArray, Steps


@dataclass(frozen=True, slots=True)
class Health:
    """What to look at before trusting a batch of advantages. Shares are in [0, 1].

    Attributes:
        singleton_share: share of steps with nothing to compare with: alone in their comparison group.
        mean_group_size: mean number of members of a comparison group. Members are episodes where the scheme
            compares episodes, and steps where it compares steps.
        zero_share: share of steps whose advantage is exactly 0.
        positive_on_failure: share of the steps of failed episodes whose advantage is positive. An episode failed
            that earned nothing, or did not end by itself (where the table has ``terminated``).
        equal_groups: number of task groups, of at least two episodes, whose outcomes are all equal.
        groups: number of task groups.
        largest: largest absolute advantage.
    """

    singleton_share: float
    mean_group_size: float
    zero_share: float
    positive_on_failure: float
    equal_groups: int
    groups: int
    largest: float


def health(scheme: str, steps: Steps, advantage: FloatArray) -> Health:
    """Count what a scheme did to a batch.

    Args:
        scheme: name of the scheme; its ``compares`` says which steps were compared with each other (state texts
            that were merged by similarity count as different here).
        steps: the step table.
        advantage: what the scheme made of it, shape ``(len(steps),)``.

    Raises:
        CreditError: unknown scheme, or an advantage that does not fit the table.
    """
    compares = find(scheme).compares
    if advantage.shape != (len(steps),):
        raise CreditError(f"the advantage has shape {advantage.shape}, the table has {len(steps)} steps")
    if not len(steps):
        return Health(0.0, 0.0, 0.0, 0.0, 0, 0, 0.0)
    ordered, advantage = steps.in_order(), steps.to_order(advantage)
    compared = Groups.by(*(ordered.column(name) for name in compares))
    members = compared.rows(ordered.starts) if compares == ("group",) else compared
    failed = ordered.per_step(_failed(ordered))
    return Health(
        singleton_share=float((members.size == 1)[compared.code].mean()),
        mean_group_size=float(members.size.mean()),
        zero_share=float((advantage == 0.0).mean()),
        positive_on_failure=float((advantage[failed] > 0.0).mean()) if failed.any() else 0.0,
        equal_groups=_equal_groups(ordered),
        groups=len(np.unique(ordered.group)),
        largest=float(np.abs(advantage).max()),
    )


def _failed(steps: Steps) -> np.ndarray:
    failed = outcomes(steps) <= 0.0
    if steps.terminated is not None:
        failed |= ~steps.terminated[steps.is_last]
    return failed


def _equal_groups(steps: Steps) -> int:
    """Count groups of several episodes whose outcomes differ by no more than rounding."""
    outcome, groups = outcomes(steps), Groups.by(steps.group[steps.starts])
    deviation = np.abs(outcome - groups.mean(outcome)[groups.code])
    tolerance = SNAP * np.maximum(1.0, groups.largest(outcome))
    return int(((groups.largest(deviation) <= tolerance) & (groups.size > 1)).sum())
