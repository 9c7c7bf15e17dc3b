"""Tree-GRPO: outcomes compared within the tree of episodes that share a beginning, and over all trees of the task.

Equation: A(n) = w(n) * mean over the leaves i below n of [ norm_tree(s_i) + norm_group(s_i) ]
Symbols: n a step that was played (node); s_i outcome of the episode that ends in leaf i; norm_X(s) = (s - mean_X) /
(std_X + epsilon) over the episodes of the tree, or of all trees of the task; w = 1, or 1/sqrt(leaves), 1/leaves.
Source: Tree-GRPO (arXiv 2509.21240), and code AMAP-ML/Tree-GRPO 90b1709, compute_tree_grpo_outcome_advantage;
leaf weights as in TreeRL (arXiv 2506.11902); mean over children as in AReaL's tree rewards (pull request 1666).
Cost: episodes that share beginnings (rollouts = tree)
Use: environments that go back to a state cheaply; sparse outcomes, where the tree says which step they turned at
Evidence: code+run

The released code has one sample a leaf, and in each the steps that it shares. Here a step that was played counts once,
with the mean over its leaves; ``leaf_weight`` changes how much the early ones weigh. A tree of one episode gives 0
within the tree, and its outcome as it is with ``singleton="raw"``, as released. ``backup="children"`` averages the
leaves' advantages child by child, so that a branch with many leaves counts no more than its sister, and ``gamma`` takes
off for every step between; AReaL does so with rewards, here it is done with the compared ones, so that equal outcomes
still give 0.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.forest import Backup, Forest
from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, normalize_within
from credit.returns import outcomes
from credit.scheme import OF_OUTCOMES, Ddof, Epsilon, Share, scheme
from credit.steps import FloatArray, Steps

LeafWeight = Literal["none", "sqrt", "inverse"]
POWERS = {"none": 0.0, "sqrt": -0.5, "inverse": -1.0}


@scheme(
    needs=("node",),
    compares=("group", "node"),
    claims=(*OF_OUTCOMES, "scale", "scale_free", "centred"),
    compat={"released": {"singleton": "raw"}},
)
def tree_grpo(
    steps: Steps,
    *,
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    singleton: Singleton = "zero",
    backup: Backup = "leaves",
    gamma: Share = 1.0,
    leaf_weight: LeafWeight = "none",
    compat: Literal["released"] | None = None,
) -> FloatArray:
    """Tree-GRPO advantage of every step.

    Args:
        steps: the step table; rows of one ``node`` are one step of several episodes.
        normalize: divide by the standard deviation, or only subtract the mean.
        ddof: the variance divides by the number of samples minus this.
        epsilon: added to the standard deviation.
        singleton: a tree or a group of one episode gives 0, or its own outcome.
        backup: a step gets the mean over its leaves, or over its children.
        gamma: with ``backup="children"``, the discount of each step between a leaf and a step above it.
        leaf_weight: what a step weighs by its number of leaves n: 1, 1/sqrt(n), or 1/n.
        compat: ``"released"`` keeps the outcome of a tree of one episode.

    Returns:
        float64 of shape ``(len(steps),)``; equal on rows of one node.
    """
    forest = Forest.of(steps)
    outcome = outcomes(steps)
    advantage = np.zeros(len(outcome))
    for groups in (Groups.by(forest.tree), Groups.by(steps.group[steps.starts])):
        advantage += normalize_within(
            outcome, groups, normalize=normalize, ddof=ddof, epsilon=epsilon, singleton=singleton
        )
    of_node = forest.means(advantage, steps) if backup == "leaves" else forest.backed_up(advantage, gamma)
    return (of_node * forest.leaves ** POWERS[leaf_weight])[forest.of_row.code]
