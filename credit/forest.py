"""Trees of episodes as arrays: nodes, their parents, and values that are averaged from the leaves to the roots.

Rows of one group with the same ``node`` are one step that several episodes have in common. What a node is worth is the
mean over the episodes that came through it, its leaves; or the mean over its children, each the mean over its own::

    V(n) = mean over the leaves below n of x            backup="leaves"
    V(n) = gamma * mean over the children c of n of V(c),   V(leaf) = x     backup="children"
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from credit.grouping import Groups
from credit.steps import FloatArray, IntArray, Steps

Backup = Literal["leaves", "children"]


@dataclass(frozen=True, eq=False)
class Forest:
    """The nodes of a step table, numbered as they first appear in its rows in order: a parent before its children.

    Attributes:
        of_row: node of each row, in groups of rows.
        parent: of each node, -1 for a root; int64, shape ``(nodes,)``.
        group: group id of each node, shape ``(nodes,)``.
        leaf: node of the last step of each episode, shape ``(episodes,)``.
        tree: root of each episode, shape ``(episodes,)``.
    """

    of_row: Groups
    parent: IntArray
    group: IntArray
    leaf: IntArray
    tree: IntArray

    @classmethod
    def of(cls, steps: Steps) -> Forest:
        """Take the nodes of a table; for rows in order.

        Raises:
            MissingColumnError: it has no column ``node``.
        """
        rows = Groups.by(steps.group, steps.column("node"))
        before = np.where(steps.step > 0, np.roll(rows.code, 1), -1)
        ends = steps.starts + steps.lengths - 1
        first = rows.first
        return cls(rows, before[first], steps.group[first], rows.code[ends], rows.code[steps.starts])

    @property
    def count(self) -> int:
        """Number of nodes."""
        return self.of_row.count

    @property
    def leaves(self) -> IntArray:
        """Number of episodes that came through each node, shape ``(nodes,)``."""
        return self.of_row.size

    @cached_property
    def children(self) -> IntArray:
        """Number of children of each node, shape ``(nodes,)``."""
        return np.bincount(self.parent[self.parent >= 0], minlength=self.count)

    @cached_property
    def segment(self) -> IntArray:
        """Segment of each node: a run without a fork, from a root or a child of a fork on; shape ``(nodes,)``.

        Segments are numbered from 0 in the order of their nodes, so the nodes of one are neighbours.
        """
        begins = (self.parent < 0) | (self.children[self.parent] > 1)
        return np.cumsum(begins) - 1

    @cached_property
    def heads(self) -> IntArray:
        """First node of each segment, shape ``(segments,)``."""
        return np.flatnonzero(np.diff(self.segment, prepend=-1))

    def means(self, of_episode: FloatArray, steps: Steps) -> FloatArray:
        """Return the mean over the leaves below each node, shape ``(nodes,)``; values of shape ``(episodes,)``."""
        return self.of_row.mean(steps.per_step(of_episode))

    def backed_up(self, of_episode: FloatArray, gamma: float = 1.0) -> FloatArray:
        """Return the mean over the children of each node, from the leaves to the roots, shape ``(nodes,)``.

        Args:
            of_episode: what each leaf is worth, shape ``(episodes,)``.
            gamma: discount of a step, in [0, 1].
        """
        heads, segments = self.heads, len(self.heads)
        last = np.append(heads[1:], self.count) - 1
        ends = np.bincount(self.leaf, minlength=self.count)
        worth = np.bincount(self.leaf, weights=of_episode, minlength=self.count)
        at_end = np.divide(worth, ends, out=np.zeros(self.count), where=ends > 0)[last]  # of a fork: not known yet
        lengths = last - heads
        above = np.where(self.parent[heads] >= 0, self.segment[self.parent[heads]], -1)
        for level in reversed(self._levels(above)):
            inner = level[ends[last[level]] == 0]
            members = np.isin(above, inner)
            below = np.bincount(above[members], weights=(gamma**lengths * at_end)[members], minlength=segments)
            at_end[inner] = gamma * below[inner] / np.bincount(above[members], minlength=segments)[inner]
        found: FloatArray = at_end[self.segment] * gamma ** (last[self.segment] - np.arange(self.count))
        return found

    def _levels(self, above: IntArray) -> list[IntArray]:
        """Gather the segments by how many forks lie above them."""
        levels, level = [], np.flatnonzero(above < 0)
        while len(level):
            levels.append(level)
            level = np.flatnonzero(np.isin(above, level))
        return levels
