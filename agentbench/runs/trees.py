"""Trees of episodes: a branch holds its own steps alone, and its whole course is put together here.

A *node* is a step that was played: a step that a branch shares with its parent is the parent's node. Nodes of a list of
episodes are numbered from 0 as their steps stand in the list, so a list with one number a node goes with the steps that
were played, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentbench.runs.episodes import Episode
from envs.base.errors import UserError


def nodes_of(group: Sequence[Episode], first: int = 0) -> list[list[int]]:
    """Return the nodes of the course of every episode of a task, from its start on.

    Args:
        group: episodes of one task; a branch stands after its parent.
        first: number of the first node.

    Raises:
        UserError: a branch whose parent is not there, or is too short.
    """
    courses: dict[int, list[int]] = {}
    for episode in group:
        shared: list[int] = []
        if episode.parent is not None:
            shared = courses.get(episode.parent, [])[: episode.fork]
            if episode.parent not in courses or len(shared) < episode.fork:
                raise UserError(lost_parent(episode))
        courses[episode.trial] = [*shared, *range(first, first + len(episode.steps))]
        first += len(episode.steps)
    return list(courses.values())


def lost_parent(episode: Episode) -> str:
    """Return what is said of a branch whose parent is not there."""
    return (
        f"trial {episode.trial} of task {episode.task_name} goes on from step {episode.fork} of trial "
        f"{episode.parent}, which is not among the episodes, or too short"
    )


def whole(group: Sequence[Episode]) -> list[Episode]:
    """Return the episodes of a task with all their steps from the start on; a step that is shared is the same object.

    Episodes without a parent come back as they are.

    Args:
        group: as for :func:`nodes_of`, which says what is refused.
    """
    if not is_tree(group):
        return list(group)
    steps = [step for episode in group for step in episode.steps]
    return [
        episode if episode.parent is None else replace(episode, steps=[steps[node] for node in course])
        for episode, course in zip(group, nodes_of(group), strict=True)
    ]


def is_tree(group: Sequence[Episode]) -> bool:
    """Return whether one of the episodes is a branch."""
    return any(episode.parent is not None for episode in group)
