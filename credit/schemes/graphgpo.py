"""GraphGPO: steps of the same state are compared by how near to the goal they lead in the group's graph.

Equation: A_t = episode_weight A_E + step_weight (P_t - mean_{g,s}(P)) / (std_{g,s}(P) + epsilon)
    P_t = scale gamma^d(s_{t+1}),   or scale gamma^(d(s_{t+1}) - d(s_t) + 1) with normalize_distance
    A_E = (s_i - mean_g(s)) / (std_g(s) + epsilon)
Symbols: d(u) number of steps from node u to the goal on the shortest way that any episode of the group took, one
    more than the largest where there is none; s_i outcome of episode i; g its group; std with ddof 1.
Source: GraphGPO (arXiv 2605.26684); a fork of verl-agent, recipe/GraphGPO/core_graph.py.
Cost: a shortest-path search
Use: environments with few situations and a clear goal
Evidence: code+run

The path return spans many orders of magnitude: in a state far from the goal epsilon is larger than its standard
deviation, and the term is small. Which episodes reach the goal is read from the table: those that terminated with
a positive reward (``success="rewarded"``), or all that terminated (as in the recorded vectors).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.normalize import Normalize, Singleton, Weighting, ZeroVariance, normalize_within, samples_of
from credit.penalty import PenaltyTiming, penalty_of, scores
from credit.returns import check_discount
from credit.scheme import Compat, Ddof, Epsilon, Factor, Positive, Share, scheme
from credit.steps import FloatArray, Steps
from credit.transitions import Success, Transitions, distances_to_goal, transitions


@scheme(
    needs=("state", "next_state", "terminated"),
    compares=("group", "state"),
    claims=("zero_without_reward", "local"),
    compat={
        "verl-agent": {
            "weighting": "rows",
            "episode_singleton": "raw",
            "zero_variance": "epsilon",
            "success": "terminated",
            "invalid_penalty": 0.1,
            "penalty_timing": "after_discounting",
        }
    },
)
def graphgpo(
    steps: Steps,
    *,
    gamma: Share = 0.1,
    normalize_distance: bool = False,
    scale: Positive = 10.0,
    step_weight: Factor = 1.0,
    episode_weight: Factor = 1.0,
    normalize: Normalize = "std",
    ddof: Ddof = 1,
    epsilon: Epsilon = 1e-6,
    weighting: Weighting = "trajectories",
    episode_singleton: Singleton = "zero",
    step_singleton: Singleton = "zero",
    zero_variance: ZeroVariance = "zero",
    success: Success = "rewarded",
    grouping: Literal["exact", "similarity"] = "exact",
    similarity_threshold: Share = 0.95,
    invalid_penalty: Factor = 0.0,
    penalty_timing: PenaltyTiming = "after_normalization",
    compat: Compat = None,
) -> FloatArray:
    """GraphGPO advantage of every step.

    Args:
        steps: the step table; ``is_valid`` is needed where ``invalid_penalty`` is not 0.
        gamma: discount of a step of distance, in [0, 1] (0.1; 0.2 for WebShop at 7B).
        normalize_distance: count the distance from that of the step's own state.
        scale: path return at the goal.
        step_weight, episode_weight: of the two terms.
        normalize: divide both terms by the standard deviation, or only subtract the mean.
        ddof: variances divide by the number of samples minus this.
        epsilon: added to standard deviations.
        weighting, episode_singleton, zero_variance: of the episode term (see :mod:`credit.normalize`).
        step_singleton: a state that only one step visits gives 0, or its path return.
        success: which episodes reached the goal: that terminated with a positive last reward, or that terminated.
        grouping: equal states, or states with similar text (see :mod:`credit.similarity`).
        similarity_threshold: least similarity of two texts.
        invalid_penalty: taken off for every invalid action.
        penalty_timing: when it is taken off (see :mod:`credit.penalty`).
        compat: ``"verl-agent"`` for the defaults of the released code.

    Returns:
        float64 of shape ``(len(steps),)``.
    """
    episode_term = normalize_within(
        scores(steps, invalid_penalty, penalty_timing),
        Groups.by(steps.group),
        samples=samples_of(steps, weighting),
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=episode_singleton,
        zero_variance=zero_variance,
    )
    graph = transitions(steps, success, grouping, similarity_threshold)
    path = path_returns(graph, gamma, normalize_distance, scale)
    step_term = normalize_within(
        path - penalty_of(steps, invalid_penalty, penalty_timing, "after_discounting"),
        Groups.by(graph.source),
        normalize=normalize,
        ddof=ddof,
        epsilon=epsilon,
        singleton=step_singleton,
    )
    advantage = episode_weight * episode_term + step_weight * step_term
    return np.asarray(advantage - penalty_of(steps, invalid_penalty, penalty_timing, "after_normalization"))


def path_returns(graph: Transitions, gamma: float, normalize_distance: bool, scale: float) -> FloatArray:
    """P_t: how near to the goal each step leads, shape ``(n,)``."""
    check_discount("gamma", gamma)
    distance = distances_to_goal(graph)
    away = distance[graph.target]
    if normalize_distance:
        # nearer by one step is 0, so the exponent is never negative
        away = away - distance[graph.source] + 1.0
    return np.asarray(scale * gamma**away)
