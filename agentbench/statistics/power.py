"""How many tasks and trials it takes to see a difference between two agents.

Miller 2024 (arXiv 2411.00640), section 5: an agent's chance of success varies over tasks (``x_A``, ``x_B``), and a
trial adds noise to it (variance ``σ²``, averaged over tasks). The difference of two means over n tasks has variance
``V/n`` with ::

    V = ω² + σ_A²/K_A + σ_B²/K_B,       ω² = Var(x_A - x_B)
    n = (z_{α/2} + z_β)² V / δ²         tasks to see a difference δ; solved for δ: the smallest one seen with n

Here both agents have the same rate p, so that ``Var(x) = p(1-p) - σ²`` and ``ω² = 2 Var(x) (1 - ρ)``, with ρ the
correlation of the two agents' chances over tasks. Runs on different tasks (unpaired) have ρ = 0.
"""

from __future__ import annotations

import math

from agentbench.statistics.special import ndtr, ndtri
from envs.base.errors import UserError


def variance_of_difference(
    *, rate: float, within_variance: float | None = None, correlation: float = 0.5, trials: float = 1
) -> float:
    """Return V, the variance of one task's difference between two agents.

    Args:
        rate: success rate of both agents, between 0 and 1.
        within_variance: σ², the variance of a trial's outcome about its task's own chance, averaged over tasks:
            0 (each task always ends alike) to ``rate·(1-rate)`` (all tasks equally hard). None: two thirds of that,
            which is what chances spread evenly over 0 to 1 give.
        correlation: ρ of the agents' chances over tasks, -1 to 1; 0 for runs on different tasks.
        trials: trials a task of each agent; ``math.inf`` gives the part that more trials cannot take away.

    Raises:
        UserError: a value outside its range.
    """
    if not 0.0 < rate < 1.0:
        raise UserError(f"a rate of {rate:g} leaves nothing to plan: give one between 0 and 1 (say 0.5)")
    total = rate * (1.0 - rate)
    within = 2.0 / 3.0 * total if within_variance is None else within_variance
    if not 0.0 <= within <= total + 1e-12:
        raise UserError(
            f"a within-task variance of {within:g} cannot be: with a rate of {rate:g} it lies in 0 to {total:g}"
        )
    if not -1.0 <= correlation <= 1.0:
        raise UserError(f"a correlation of {correlation:g} cannot be: it lies in -1 to 1")
    if not trials >= 1:
        raise UserError(f"{trials} trials a task make no run: give at least 1")
    return 2.0 * (total - within) * (1.0 - correlation) + 2.0 * within / trials


def smallest_difference(tasks: int, variance: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest difference of rates that a two-sided test sees with the given power.

    Args:
        tasks: number of tasks of each run.
        variance: V, see :func:`variance_of_difference`.
        power: chance to see a true difference of that size, between ``alpha`` and 1.
        alpha: chance to see one where there is none, between 0 and 1.
    """
    _check_tasks(tasks)
    return _quantiles(power, alpha) * math.sqrt(variance / tasks)


def tasks_needed(difference: float, variance: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return how many tasks each run needs for a true difference to be seen with the given power.

    Args:
        difference: of the two rates, between 0 and 1 in size.
        variance: V, see :func:`variance_of_difference`.
        power: as for :func:`smallest_difference`.
        alpha: as for :func:`smallest_difference`.
    """
    _check_difference(difference)
    tasks = _quantiles(power, alpha) ** 2 * variance / difference**2
    return max(1, math.ceil(tasks - 1e-9))


def power_to_see(difference: float, tasks: int, variance: float, *, alpha: float = 0.05) -> float:
    """Return the chance that a two-sided test sees a true difference, 0 to 1.

    Args:
        difference: as for :func:`tasks_needed`.
        tasks: as for :func:`smallest_difference`.
        variance: V, see :func:`variance_of_difference`.
        alpha: as for :func:`smallest_difference`.
    """
    _check_tasks(tasks)
    _check_difference(difference)
    z = _quantiles(0.5, alpha)
    shift = abs(difference) / math.sqrt(variance / tasks) if variance > 0 else math.inf
    return float(ndtr(shift - z) + ndtr(-shift - z))


def _quantiles(power: float, alpha: float) -> float:
    """``z_{α/2} + z_β``."""
    if not 0.0 < alpha < 1.0:
        raise UserError(f"an alpha of {alpha:g} makes no test: give one between 0 and 1 (say 0.05)")
    if not alpha < power < 1.0:
        raise UserError(f"a power of {power:g} cannot be had: give one between alpha ({alpha:g}) and 1 (say 0.8)")
    return ndtri(power) - ndtri(alpha / 2)


def _check_tasks(tasks: int) -> None:
    if tasks < 1:
        raise UserError(f"{tasks} tasks make no run: give at least 1")


def _check_difference(difference: float) -> None:
    if not 0.0 < abs(difference) <= 1.0:
        raise UserError(f"a difference of {difference:g} cannot be looked for: give one above 0 and up to 1 (0.03)")
