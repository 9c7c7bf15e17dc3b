"""Pivot retry: half of the episodes from the start, half again from where one of those went wrong, compared alike.

Equation: A(n) = (s_i - mean_g(s)) / (std_g(s) + epsilon)
Symbols: n a step that was played (node); i the episode that played it; s_i its outcome (the sum of all rewards of its
course, what it shares among them); g all episodes of the task, retries too; std with ddof 1.
Source: R3L (arXiv 2601.03715), README and workflow of shiweijiezero/R3L: a retry belongs to the same comparison group,
and only its steps from the pivot on are samples.
Cost: episodes that share beginnings (rollouts = tree, fork_choice = pivot)
Use: long episodes that one step spoils; as many retries as episodes from the start (forks = 1)
Evidence: second-hand

A step that is shared has the credit of the episode that played it, and nothing of the retries. There the model names
the pivot itself and is told why it failed; here it is the step with the lowest advantage by another scheme, or by
measurement (``pivot_by``), and nothing is said to the policy. How much more a success counts there (its alpha) was not
to be read and is left out.
"""

from __future__ import annotations

import numpy as np

from credit.forest import Forest
from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, normalize_within
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, Ddof, Epsilon, scheme
from credit.steps import FloatArray, Steps


@scheme(needs=("node", "own"), claims=(*OF_OUTCOMES, "scale", "scale_free"))
def pivot_retry(
    steps: Steps,
    *,
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
) -> FloatArray:
    """Pivot-retry advantage of every step.

    Args:
        steps: the step table; ``own`` says which episode played a step.
        normalize: divide by the standard deviation, or only subtract the mean.
        ddof: the variance divides by the number of samples minus this.
        epsilon: added to the standard deviation.
        singleton: a group of one episode gives 0, or its own outcome.

    Returns:
        float64 of shape ``(len(steps),)``; equal on rows of one node.
    """
    forest = Forest.of(steps)
    own = np.asarray(steps.column("own"))
    groups = Groups.by(steps.group[steps.starts])
    found = normalize_within(
        outcomes(steps), groups, normalize=normalize, ddof=ddof, epsilon=epsilon, singleton=singleton
    )
    of_node = np.zeros(forest.count)
    of_node[forest.of_row.code[own]] = steps.per_step(found)[own]
    return of_node[forest.of_row.code]
