"""Settings of the parts of an update, and the names of their choices: without torch, so that they can be listed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ratio = Literal["token", "step", "sequence"]
Aggregation = Literal["token", "step", "episode"]
KlEstimator = Literal["k1", "k2", "k3"]
Correction = Literal["none", "token", "step"]

CHOSEN = "sampling/rollouts/"
"""What the metrics begin with that say how often a task was played."""


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Settings of :func:`agentbench.train.loss.policy_loss`; see that module and :class:`TrainConfig`."""

    ratio: Ratio = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    kl_coefficient: float = 0.0
    kl_estimator: KlEstimator = "k3"
    entropy_coefficient: float = 0.0


@dataclass(frozen=True, slots=True)
class CorrectionSettings:
    """How the gap between sampler and trainer is corrected (:mod:`agentbench.train.correction`).

    Attributes:
        level: whose ratio a token is given: its own, or that of its step.
        clip: largest factor.
        below: smaller ratios are rejected.
        above: larger ratios are rejected.
    """

    level: Literal["token", "step"] = "token"
    clip: float = 2.0
    below: float = 0.5
    above: float = 5.0
