"""GDPO: GRPO for each kind of reward on its own, then summed and brought to unit variance over the batch.

Equation: A_i = (a_i - mean(a)) / sqrt(var(a) + whiten_epsilon)
    a_i = sum_c w_c (s_{i,c} - mean_g(s_c)) / (std_g(s_c) + epsilon)
Symbols: s_{i,c} outcome of episode i in reward component c (sum of the column over its steps); w_c weight; g the
    group, std with ddof 1; mean(a) and var(a) over the batch's episodes.
Source: GDPO, group reward-decoupled normalisation (arXiv 2601.05242); its release for verl and trl
    (https://github.com/NVlabs/GDPO).
Cost: none
Use: several kinds of reward of different scale
Evidence: code

epsilon is 1e-6 in the verl version and 1e-4 in the trl version. Normalising the sum of rewards, as GRPO does, lets
the component with the largest spread speak alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, ZeroVariance, normalize_within, whiten
from credit.returns import outcomes
from credit.scheme import Ddof, Epsilon, scheme
from credit.steps import CreditError, FloatArray, Steps


@scheme(
    claims=("zero_without_reward", "shift"),
    compat={"released": {"singleton": "raw", "zero_variance": "epsilon", "whiten_over": "rows"}},
)
def gdpo(
    steps: Steps,
    *,
    components: tuple[str, ...] = ("reward",),
    weights: tuple[float, ...] = (),
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    whitened: bool = True,
    whiten_over: Literal["trajectories", "rows", "tokens"] = "trajectories",
    whiten_epsilon: Epsilon = 1e-8,
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """GDPO advantage of every step.

    Args:
        steps: the step table.
        components: numeric columns that hold the kinds of reward, per step; of a pandas table they are read by these
            names, of a :class:`credit.Steps` they must have been taken in with ``extra``.
        weights: one for each component; all 1 by default.
        normalize: divide each component by its standard deviation, or only subtract the mean.
        ddof: variances divide by the number of samples minus this.
        epsilon: added to the standard deviation of a component.
        singleton, zero_variance: see :mod:`credit.normalize`.
        whitened: bring the sum to mean 0 and variance 1 over the batch.
        whiten_over: what counts once there: an episode, a step, or a token (the column ``tokens``).
        whiten_epsilon: added to that variance, inside the root.
        compat: ``"released"`` for the defaults of the verl version, where a row is a sample.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    components = (components,) if isinstance(components, str) else tuple(components)
    weights = tuple(weights) or (1.0,) * len(components)
    if not components or len(weights) != len(components):
        raise CreditError(f"gdpo: {len(weights)} weights for {len(components)} components: give one for each")
    of_episode = Groups.by(steps.group[steps.starts])
    total = np.zeros(of_episode.code.shape)
    for name, weight in zip(components, weights, strict=True):
        total += weight * normalize_within(
            outcomes(steps, steps.column(name).astype(np.float64)),
            of_episode,
            normalize=normalize,
            ddof=ddof,
            epsilon=epsilon,
            singleton=singleton,
            zero_variance=zero_variance,
        )
    if not whitened:
        return steps.per_step(total)
    counts = {"trajectories": np.ones(len(total)), "rows": steps.lengths}.get(whiten_over)
    if counts is None:
        counts = np.add.reduceat(steps.column("tokens"), steps.starts)
    return steps.per_step(whiten(total, counts, ddof=ddof, epsilon=whiten_epsilon))
