"""Sweeps on the tabular problem ``key-door``: one thing is varied, everything else stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from agentbench.analysis.quality.sample import Sample
from agentbench.analysis.quality.tabular import problem_sample
from agentbench.analysis.truth.problems import make_problem

GROUP_SIZE, SUCCESS = 8, 0.5
"""Of every sweep that does not vary them."""

Value = float | str
Maker = Callable[[int, int], Sample]


def sweep(name: str) -> Iterator[tuple[Value, Maker]]:
    """Yield the values of a sweep, each with what makes its sample of a number of groups and a seed."""
    problem = partial(make_problem, "key-door")
    usual = partial(problem_sample, problem(success=SUCCESS), GROUP_SIZE)
    if name == "group size":
        for size in (2, 4, 8, 16, 32):
            yield size, partial(problem_sample, problem(success=SUCCESS), size)
    elif name == "horizon":
        for length in (3, 4, 6, 9, 13):
            long = problem(length=length, horizon=4 * length, success=SUCCESS)
            yield 4 * length, partial(problem_sample, long, GROUP_SIZE)
    elif name == "success":
        for success in (0.1, 0.25, 0.5, 0.75, 0.9):
            yield success, partial(problem_sample, problem(success=success), GROUP_SIZE)
    elif name == "anchor":
        for anchor in ("state", "similarity", "merged-2", "merged-4", "unique"):
            yield anchor, partial(usual, anchor=anchor)
    elif name == "noise":
        for noise in (0.0, 0.1, 0.25, 0.5, 0.9):
            yield noise, partial(usual, noise=noise)
    elif name == "invalid":
        for share in (0.0, 0.1, 0.2, 0.3):
            yield share, partial(problem_sample, problem(invalid=share, success=SUCCESS), GROUP_SIZE)
    elif name == "history":
        for history in (1, 2, 3, 5):
            yield history, partial(usual, history=history)
    else:
        raise ValueError(f"unknown sweep {name!r}")


SWEEPS = {
    "group size": "episodes a group",
    "horizon": "steps until an episode is cut (four times the length of the corridor)",
    "success": "success rate of the policy",
    "anchor": "what counts as the same situation: the state, similar descriptions, 2 or 4 states merged, nothing",
    "noise": "chance that the text of a state is another one",
    "invalid": "share of actions that are not understood",
    "history": "observations that an anchor is made of",
}
"""The sweeps, and what each varies."""
