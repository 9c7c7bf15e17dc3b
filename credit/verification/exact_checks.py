"""Checks against exact values of tabular processes: the solution itself, its rows, and how good the schemes are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from credit.registry import advantages
from credit.steps import CreditError, FloatArray, Steps
from credit.tools.exact import Process, Solution, group_gradient, group_steps, quality, solve

SCORED: Mapping[str, Callable[[Steps], FloatArray]] = {
    "grpo": partial(advantages, "grpo"),
    "gigpo_std": partial(advantages, "gigpo", weighting="rows", normalize="std"),
    "gigpo_mean": partial(advantages, "gigpo", weighting="rows", normalize="mean"),
    "hgpo_k2_std": partial(advantages, "hgpo", drop_exact_zero=True),
}
"""The schemes whose quality is recorded, as they were set."""


def process_deviations(record: Mapping[str, Any], solution: Solution) -> dict[str, float]:
    """Largest deviation of each part of the solution from the recorded one."""
    return {
        part: float(np.abs(np.asarray(found) - np.array(record[name])).max())
        for part, name, found in (
            ("V", "V", solution.V),
            ("Q", "Q", solution.Q),
            ("A", "A", solution.A),
            ("objective", "objective", solution.objective),
            ("gradient", "exact_gradient", solution.gradient),
        )
    }


def row_deviation(group: Mapping[str, Any], solution: Solution) -> float:
    """Largest deviation of the exact advantage of a group's rows from the recorded one."""
    return float(np.abs(_exact(group, solution) - np.array(group["advantage"])).max())


def quality_deviations(
    record: Mapping[str, Any], groups: list[dict[str, Any]], solution: Solution
) -> dict[str, float | CreditError]:
    """Largest deviation of each method's recorded quality, by method; an error where the method is not known."""
    deviations: dict[str, float | CreditError] = {}
    for method, recorded in record.get("metrics", {}).get("methods", {}).items():
        if method != "exact" and method not in SCORED:
            deviations[method] = CreditError("this method is not known")
            continue
        found = scheme_quality(record, groups, solution, SCORED.get(method))
        deviations[method] = max(abs(found[name] - value) for name, value in recorded.items())
    return deviations


def scheme_quality(
    record: Mapping[str, Any],
    groups: list[dict[str, Any]],
    solution: Solution,
    scheme: Callable[[Steps], FloatArray] | None,
) -> dict[str, float]:
    """Measure a scheme on the recorded groups of a process (see :func:`credit.tools.exact.quality`).

    Args:
        record: the process in its JSON form.
        groups: recorded groups of its rows.
        solution: the process, solved.
        scheme: what to measure; None for the exact advantages themselves, the best there can be.
    """
    process = Process.read(record)
    exact = [_exact(group, solution) for group in groups]
    estimates = exact
    if scheme is not None:
        estimates = [scheme(group_steps(group["rows"], process.observation)) for group in groups]
    gradients = []
    for estimate, group in zip(estimates, groups, strict=True):
        rows = group["rows"]
        observation, action = np.array(rows["observation"]), np.array(rows["action"])
        gradients.append(group_gradient(estimate, observation, action, process.policy, len(set(rows["trajectory"]))))
    return quality(estimates, exact, gradients, solution.gradient)


def solved(record: Mapping[str, Any]) -> Solution:
    """Solve a recorded process."""
    return solve(Process.read(record))


def _exact(group: Mapping[str, Any], solution: Solution) -> FloatArray:
    rows = group["rows"]
    return np.asarray(solution.A[rows["step"], rows["state"], rows["action"]])
