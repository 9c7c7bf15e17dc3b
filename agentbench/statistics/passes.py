"""pass@k, the chance that one of k trials succeeds, and pass^k, the chance that all k do.

Both are unbiased for one task from ``n >= k`` trials of which ``c`` succeeded::

    pass@k = 1 - C(n - c, k) / C(n, k)      Chen et al. 2021 (arXiv 2107.03374), equation 1
    pass^k =     C(c, k)     / C(n, k)      Yao et al. 2024 (tau-bench, arXiv 2406.12045), section 3

A task with fewer than k trials has no unbiased estimate and gives NaN: the caller leaves it out for that k.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from envs.base.errors import UserError

if TYPE_CHECKING:
    from credit.steps import FloatArray


def pass_hat_k(trials: npt.ArrayLike, successes: npt.ArrayLike, k: int) -> FloatArray:
    """Return each task's estimate of the chance that k trials in a row succeed (pass^k).

    Args:
        trials: shape (tasks,), number of trials of each task.
        successes: shape (tasks,), how many of them succeeded.
        k: at least 1.

    Returns:
        Shape (tasks,), float64, 0 to 1; NaN where a task has fewer than k trials.
    """
    if k < 1:
        raise UserError(f"pass@k and pass^k need a k of at least 1, not {k}")
    n = np.asarray(trials, dtype=np.float64)
    c = np.asarray(successes, dtype=np.float64)
    if n.shape != c.shape or np.any(c < 0) or np.any(c > n):
        raise UserError("each task needs between 0 successes and as many as it has trials")
    # C(c, k) / C(n, k) as a product of k ratios: no large numbers, and 0 once the successes run out.
    drawn = np.arange(k)[:, None]
    enough = n >= k
    left = np.where(enough, n - drawn, 1.0)
    chance = np.prod(np.maximum(c - drawn, 0.0) / left, axis=0)
    return np.where(enough, chance, np.nan)


def pass_at_k(trials: npt.ArrayLike, successes: npt.ArrayLike, k: int) -> FloatArray:
    """Return each task's estimate of the chance that at least one of k trials succeeds (pass@k).

    Takes and returns what :func:`pass_hat_k` does.
    """
    failures = np.asarray(trials, dtype=np.float64) - np.asarray(successes, dtype=np.float64)
    return 1.0 - pass_hat_k(trials, failures, k)
