"""The trajectory graph of every group as arrays: nodes are anchor states, an edge for each step.

What the graph schemes share: which node each step leaves and enters, which episodes reached the goal, and how far
each node is from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.similarity import merge_similar
from credit.steps import BoolArray, FloatArray, IntArray, Steps

Success = Literal["rewarded", "terminated"]


@dataclass(frozen=True, eq=False)
class Transitions:
    """One graph a group, all in one numbering of nodes.

    Attributes:
        source, target: node that each step leaves and enters, shape ``(n,)``. A successful episode's last step
            enters the goal of its group, whatever its next state.
        group: group code of each node, shape ``(nodes,)``.
        is_goal: whether a node is its group's goal, shape ``(nodes,)``.
    """

    source: IntArray
    target: IntArray
    group: Groups
    is_goal: BoolArray


def succeeded(steps: Steps, success: Success) -> BoolArray:
    """Last step of every successful episode, shape ``(n,)``; for rows in order.

    Args:
        steps: needs the column ``terminated``.
        success: an episode that terminated, or that also had a positive reward for its last step.
    """
    terminated = np.asarray(steps.column("terminated"))
    return terminated if success == "terminated" else terminated & (steps.reward > 0)


def transitions(
    steps: Steps,
    success: Success,
    grouping: Literal["exact", "similarity"] = "exact",
    similarity_threshold: float = 0.95,
) -> Transitions:
    """Merge the states of each group to the nodes of its graph; for rows in order.

    Args:
        steps: needs ``state``, ``next_state`` and ``terminated``.
        success: which episodes reach the goal (see :func:`succeeded`).
        grouping: equal states are a node, or also states with similar text (see :mod:`credit.similarity`).
        similarity_threshold: least similarity of two texts.
    """
    # row by row, the state before the action and the state after it: the order in which similar texts are merged
    state = np.stack([steps.column("state"), steps.column("next_state")], axis=1).ravel()
    group = np.repeat(steps.group, 2)
    if grouping == "similarity":
        state = merge_similar(steps, state, group, similarity_threshold)
    at_goal = np.zeros(len(state), dtype=np.bool_)
    at_goal[1::2] = succeeded(steps, success)
    nodes = Groups.by(group, np.where(at_goal, 0, state), at_goal)
    return Transitions(nodes.code[::2], nodes.code[1::2], Groups.by(group[nodes.first]), at_goal[nodes.first])


def distances_to_goal(graph: Transitions) -> FloatArray:
    """Number of steps from each node to its group's goal, shape ``(nodes,)``.

    A node from which the goal was never reached is one step farther than the farthest that did; in a group without
    success every node has 1.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    nodes = len(graph.is_goal)
    goals = np.flatnonzero(graph.is_goal)
    if not len(goals):
        return np.ones(nodes)
    backwards = csr_array((np.ones(len(graph.source)), (graph.target, graph.source)), shape=(nodes, nodes))
    distance = dijkstra(backwards, indices=goals, unweighted=True, min_only=True)
    reached = np.isfinite(distance)
    farthest = graph.group.largest(np.where(reached, distance, 0.0))
    return np.where(reached, distance, farthest[graph.group.code] + 1.0)
