"""Samples of tabular problems that are played as trees: steps that episodes share are measured once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from agentbench.analysis.quality.sample import Sample, cut
from agentbench.analysis.quality.tabular import scheme_table, with_truth
from agentbench.analysis.truth.problems import Problem
from agentbench.analysis.truth.tabular import TabularEpisodes, play_from
from credit import advantages
from credit.steps import BoolArray, FloatArray, IntArray
from credit.tools.exact import solve

_TIE = 1e-9
"""What chance adds to a score, so that it decides between equal ones alone."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a group grows, as in training (``rollouts = tree``).

    Attributes:
        trees: episodes from the start.
        forks: branches that each tree gets in a round.
        rounds: how often branches are chosen.
        choice: where they begin: before any step, or before that with the lowest advantage by ``pivot_by``.
        pivot_by: name of a scheme.
    """

    trees: int = 4
    forks: int = 1
    rounds: int = 2
    choice: Literal["uniform", "pivot"] = "uniform"
    pivot_by: str = "rtmc"

    @property
    def episodes(self) -> int:
        """Most episodes of a group; fewer where a tree has fewer steps than branches are wanted."""
        return self.trees * (1 + self.forks * self.rounds)

    def __str__(self) -> str:
        where = "" if self.choice == "uniform" else " at the pivot"
        return f"{self.trees} trees, {self.rounds} x {self.forks} branch{where}"


@dataclass(frozen=True)
class _Grown:
    """Groups as far as they have grown.

    Attributes:
        played: the steps that episodes played themselves. Episode ``group * shape.episodes + place``, where the places
            of a group are given out in the order in which its episodes are played.
        parent, fork: of each number of an episode, what it goes on from; -1 and 0 for those from the start; int64.
        tree: of each number of an episode, that of the first of its tree; int64.
    """

    played: TabularEpisodes
    parent: IntArray
    fork: IntArray
    tree: IntArray


def tree_sample(problem: Problem, shape: Shape, groups: int, seed: int = 0) -> Sample:
    """Play a problem as trees and lay out what the schemes see and what is true.

    Args:
        problem: what to play.
        shape: of every group.
        groups: how many.
        seed: of all draws.
    """
    draw = np.random.default_rng([seed, groups, shape.trees])
    first = (np.arange(groups)[:, None] * shape.episodes + np.arange(shape.trees)).ravel()
    start = np.full(len(first), problem.process.start)
    numbers = groups * shape.episodes
    played = _numbered(play_from(problem, solve(problem.process), start, np.zeros_like(start), draw), first)
    grown = _Grown(played, np.full(numbers, -1), np.zeros(numbers, dtype=np.int64), np.arange(numbers))
    for number in range(shape.rounds):
        grown = _branched(grown, shape, number, draw)
    sample = with_truth(grown.played, shape.episodes, *_courses(grown, shape))
    return replace(sample, name=f"{problem.name}, {shape}")


def _branched(grown: _Grown, shape: Shape, number: int, draw: np.random.Generator) -> _Grown:
    """Let every tree branch before its steps with the highest scores, and before none twice."""
    played, parent, fork, tree = grown.played, grown.parent.copy(), grown.fork.copy(), grown.tree.copy()
    forked = np.zeros((len(parent), played.problem.process.horizon), dtype=np.bool_)
    forked[parent[parent >= 0], fork[parent >= 0]] = True
    free = np.flatnonzero(~forked[played.episode, played.step])
    order = free[np.lexsort((-_scores(grown, shape, draw)[free], tree[played.episode[free]]))]
    rank = pd.Series(order).groupby(tree[played.episode[order]]).cumcount().to_numpy()
    rows, rank = order[rank < shape.forks], rank[rank < shape.forks]
    if not len(rows):
        return grown
    of, step = played.episode[rows], played.step[rows]
    place = shape.trees * (1 + number * shape.forks) + (tree[of] % shape.episodes) * shape.forks + rank
    new = of // shape.episodes * shape.episodes + place
    parent[new], fork[new], tree[new] = of, step, tree[of]
    branches = play_from(played.problem, played.solution, played.state[rows], step, draw)
    return _Grown(_joined(played, _numbered(branches, new)), parent, fork, tree)


def _scores(grown: _Grown, shape: Shape, draw: np.random.Generator) -> FloatArray:
    played = grown.played
    # Before the first step of a course a branch would share nothing: it comes last.
    chance: FloatArray = draw.random(len(played.step)) - (played.step == 0)
    if shape.choice == "uniform":
        return chance
    table, own = _courses(grown, shape)
    worst = -np.concatenate([advantages(shape.pivot_by, part) for part in cut(table)])[own]
    return np.asarray(worst + _TIE * chance)


def _courses(grown: _Grown, shape: Shape) -> tuple[pd.DataFrame, BoolArray]:
    """The whole course of every episode, what it shares with its parent too, and which rows it played itself."""
    played = grown.played
    table = scheme_table(played, shape.episodes)
    courses: dict[int, IntArray] = {}
    for episode, rows in zip(*_rows_of(played.episode), strict=True):  # a parent stands before its branches
        parent = int(grown.parent[episode])
        courses[episode] = np.append(courses[parent][: grown.fork[episode]], rows) if parent >= 0 else rows
    node = np.concatenate(list(courses.values()))
    leaf = np.repeat(list(courses), [len(course) for course in courses.values()])
    own = played.episode[node] == leaf
    whole = table.iloc[node].assign(episode=leaf, node=node, own=own)
    return whole.reset_index(drop=True), own


def _rows_of(episode: IntArray) -> tuple[list[int], list[IntArray]]:
    """The numbers of episodes, whose rows are neighbours, and the rows of each."""
    begins = np.flatnonzero(np.diff(episode, prepend=-1))
    return episode[begins].tolist(), np.split(np.arange(len(episode)), begins[1:])


def _numbered(played: TabularEpisodes, numbers: IntArray) -> TabularEpisodes:
    return replace(played, episode=numbers[played.episode])


def _joined(one: TabularEpisodes, two: TabularEpisodes) -> TabularEpisodes:
    """Lay the steps of both in one table, by episode and step."""
    order = np.lexsort((np.append(one.step, two.step), np.append(one.episode, two.episode)))
    names = [each.name for each in fields(TabularEpisodes) if each.name not in ("problem", "solution")]
    columns: dict[str, Any] = {name: np.append(getattr(one, name), getattr(two, name))[order] for name in names}
    return replace(one, **columns)
