"""SPO-tree: a segment between forks, worth the mean of what came of it, against its sisters at the same fork.

Equation: A(n) = [ V(S) - mean_c V(c) ] / (std_c V(c) + epsilon)
Symbols: n a step that was played (node); S its segment, the run of steps without a fork that it stands in; c the
segments that begin where S begins, S among them: at one fork, or the trees of the task; V(S) = mean over the segments
that S forks into of their V, and the episode's outcome where it ends.
Source: Segment Policy Optimization, SPO-tree (arXiv 2505.23564), and code AIFrameResearch/SPO b9fc6a2.
Cost: episodes that share beginnings (rollouts = tree)
Use: several branches at each fork; credit for the choice made there and for nothing else
Evidence: code

There a segment is a number of tokens and every node has as many children; here a segment reaches from fork to fork, and
a step alone where every step is a fork. By default nothing is divided; ``normalize="std"`` divides by the deviation
between the sisters. A segment without a sister has nothing to be compared with: 0.
"""

from __future__ import annotations

from credit.forest import Forest
from credit.grouping import Groups
from credit.normalize import Normalize, normalize_within
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, Ddof, Epsilon, scheme
from credit.steps import FloatArray, Steps


@scheme(needs=("node",), compares=("group", "node"), claims=(*OF_OUTCOMES, "scale", "scale_free"))
def spo(steps: Steps, *, normalize: Normalize = "mean", ddof: Ddof = 0, epsilon: Epsilon = 1e-8) -> FloatArray:
    """SPO-tree advantage of every step.

    Args:
        steps: the step table; rows of one ``node`` are one step of several episodes.
        normalize: only subtract the mean of the sisters, or also divide by their standard deviation.
        ddof: the variance divides by the number of sisters minus this.
        epsilon: added to the standard deviation.

    Returns:
        float64 of shape ``(len(steps),)``; equal on rows of one node.
    """
    forest = Forest.of(steps)
    heads = forest.heads
    worth = forest.backed_up(outcomes(steps))[heads]
    sisters = Groups.by(forest.group[heads], forest.parent[heads])
    advantage = normalize_within(worth, sisters, normalize=normalize, ddof=ddof, epsilon=epsilon)
    return advantage[forest.segment][forest.of_row.code]
