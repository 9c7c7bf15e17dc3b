"""Compare runs on the same tasks: the difference task by task, its interval, a test, and which tasks flipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from agentbench.runs.episodes import is_judged
from agentbench.runs.frame import check_episodes
from agentbench.statistics import (
    clustered_standard_error,
    holm,
    noise_of_trials,
    paired_interval,
    paired_student_test,
    sign_flip_test,
)
from envs.base.errors import UserError

Measure = Literal["success", "score"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One run against the baseline, on the tasks that neither lost to an error.

    Attributes:
        baseline: name of the run that is compared with.
        other: name of the run that is compared.
        measure: what is compared: successes or scores.
        baseline_mean: mean over tasks of the baseline's per-task means, 0 to 1.
        other_mean: the same of the other run.
        difference: other minus baseline, -1 to 1.
        standard_error: of the difference, paired by task and clustered; NaN for a single task or cluster.
        low: lower end of the difference's confidence interval.
        high: upper end.
        confidence: of the interval.
        p_value: of the test that the runs do not differ, in (0, 1].
        p_adjusted: the same, corrected by Holm's method for all runs compared at once.
        test: how the p-value was computed.
        clusters: number of families of tasks that the interval and the test are over; None: tasks are on their own.
        dropped: tasks left out because an episode ended in an error in one of the runs, sorted.
        tasks: one row a compared task: ``task_id, task_type, baseline_trials, other_trials, baseline, other,
            difference``, largest change first (and ``task_name`` where the episodes have it).
    """

    baseline: str
    other: str
    measure: Measure
    baseline_mean: float
    other_mean: float
    difference: float
    standard_error: float
    low: float
    high: float
    confidence: float
    p_value: float
    p_adjusted: float
    test: str
    clusters: int | None
    dropped: list[str]
    tasks: pd.DataFrame

    @property
    def flips(self) -> pd.DataFrame:
        """The rows of ``tasks`` that differ: at one trial a task, success against failure."""
        return self.tasks[self.tasks["difference"] != 0]

    @property
    def better(self) -> int:
        """Number of tasks where the other run did better than the baseline."""
        return int((self.tasks["difference"] > 0).sum())

    @property
    def worse(self) -> int:
        """Number of tasks where the other run did worse than the baseline."""
        return int((self.tasks["difference"] < 0).sum())


def compare(
    frame_a: pd.DataFrame,
    frame_b: pd.DataFrame,
    *,
    names: tuple[str, str] = ("a", "b"),
    measure: Measure = "success",
    confidence: float = 0.95,
    cluster: str = "task_id",
    seed: int = 0,
) -> Comparison:
    """Compare run B with run A, the baseline, on the same tasks.

    A task's trials are averaged first, so that the runs may have different numbers of them; then the test is Student's
    and not the exact one, which takes differences for symmetric. Tasks with an episode that ended in an error in either
    run are left out and listed.

    Args:
        frame_a: episodes of the baseline, see :func:`agentbench.runs.frame.check_episodes`.
        frame_b: episodes of the other run.
        names: of the two runs.
        measure: "success" or "score".
        confidence: of the interval.
        cluster: column that says which tasks come in families (AppWorld's scenarios).
        seed: of the random draws, where the test is not exact.

    Raises:
        UserError: the runs were played on different tasks, no task is left, or there is no column ``cluster``.
    """
    if measure not in ("success", "score"):
        raise UserError(f"runs cannot be compared by {measure!r}: success or score")
    a, b, dropped = _on_the_same_tasks(frame_a, frame_b, names)
    clusters = _clusters(a, cluster, names[0])
    tasks, whole, noise = _per_task(a, b, measure)
    n, m = tasks["baseline_trials"], tasks["other_trials"]
    is_equal = bool((n == m).all())
    trials = None if measure == "score" and is_equal else float(1.0 / (0.5 / n + 0.5 / m).mean())
    differences = tasks["difference"].to_numpy()
    noise = 0.0 if is_equal else noise
    interval = paired_interval(differences, trials=trials, noise=noise, clusters=clusters, confidence=confidence)
    if is_equal:
        test = sign_flip_test(differences if whole is None else whole, clusters=clusters, seed=seed)
    else:
        test = paired_student_test(differences, trials=trials, noise=noise, clusters=clusters)
    order = np.argsort(-np.abs(differences), kind="stable")
    return Comparison(
        baseline=names[0],
        other=names[1],
        measure=measure,
        baseline_mean=float(tasks["baseline"].mean()),
        other_mean=float(tasks["other"].mean()),
        difference=interval.estimate,
        standard_error=clustered_standard_error(differences, clusters),
        low=interval.low,
        high=interval.high,
        confidence=confidence,
        p_value=test.p_value,
        p_adjusted=test.p_value,
        test=test.method,
        clusters=None if clusters is None else len(np.unique(clusters)),
        dropped=dropped,
        tasks=tasks.iloc[order].reset_index(drop=True),
    )


def compare_with_baseline(
    baseline: tuple[str, pd.DataFrame],
    others: Mapping[str, pd.DataFrame],
    *,
    measure: Measure = "success",
    confidence: float = 0.95,
    cluster: str = "task_id",
    seed: int = 0,
) -> list[Comparison]:
    """Compare several runs with one baseline; ``p_adjusted`` is corrected by Holm's method for their number.

    Args:
        baseline: name and episodes of the run to compare with.
        others: the other runs' episodes by name; compared in this order.
        measure: as for :func:`compare`.
        confidence: of each interval by itself.
        cluster: as for :func:`compare`.
        seed: as for :func:`compare`.
    """
    name, frame = baseline
    results = [
        compare(frame, other, names=(name, label), measure=measure, confidence=confidence, cluster=cluster, seed=seed)
        for label, other in others.items()
    ]
    adjusted = holm([result.p_value for result in results])
    return [replace(result, p_adjusted=float(p)) for result, p in zip(results, adjusted, strict=True)]


def comparison_table(comparisons: list[Comparison]) -> pd.DataFrame:
    """Return one row a comparison, to be written to a file: rates, difference, interval, p-values, counts."""
    columns = (
        "baseline", "other", "measure", "baseline_mean", "other_mean", "difference", "standard_error",
        "low", "high", "confidence", "p_value", "p_adjusted", "test", "better", "worse",
    )  # fmt: skip
    rows = [
        {column: getattr(one, column) for column in columns}
        | {"tasks": len(one.tasks), "tasks_dropped": len(one.dropped), "clusters": one.clusters}
        for one in comparisons
    ]
    return pd.DataFrame(rows)


def task_table(comparisons: list[Comparison]) -> pd.DataFrame:
    """Return one row a task and comparison, with the names of the two runs."""
    parts = [one.tasks.assign(baseline_run=one.baseline, other_run=one.other) for one in comparisons]
    return pd.concat(parts, ignore_index=True)


def _on_the_same_tasks(
    frame_a: pd.DataFrame, frame_b: pd.DataFrame, names: tuple[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return both runs without the tasks that either lost to an error, and these tasks."""
    a, b = check_episodes(frame_a, f"run {names[0]}"), check_episodes(frame_b, f"run {names[1]}")
    _check_panels(set(a["task_id"]), set(b["task_id"]), names)
    failed = pd.concat([frame.loc[~is_judged(frame["outcome"]), "task_id"] for frame in (a, b)])
    dropped = sorted(set(failed))
    if len(dropped) == a["task_id"].nunique():
        raise UserError(f"no task is left to compare {names[0]} and {names[1]}: each has an error in one of them")
    return a[~a["task_id"].isin(dropped)], b[~b["task_id"].isin(dropped)], dropped


def _check_panels(a: set[str], b: set[str], names: tuple[str, str]) -> None:
    if a == b:
        return
    parts = []
    for name, only in ((names[0], sorted(a - b)), (names[1], sorted(b - a))):
        examples = ", ".join(only[:3]) + (", …" if len(only) > 3 else "")
        parts.append(f"{len(only)} only in {name}" + (f" ({examples})" if only else ""))
    raise UserError(
        f"{names[0]} and {names[1]} were played on different tasks: {', '.join(parts)}, {len(a & b)} in both; "
        "compare runs of the same split and tasks"
    )


def _clusters(frame: pd.DataFrame, cluster: str, name: str) -> npt.NDArray[np.object_] | None:
    """Return the family of each task, in the order of the tasks' ids; None where each task is its own."""
    if cluster == "task_id":
        return None
    if cluster not in frame.columns:
        raise UserError(f"run {name} has no column {cluster!r} to cluster by")
    return frame.drop_duplicates("task_id")[cluster].to_numpy(dtype=object)


def _per_task(
    a: pd.DataFrame, b: pd.DataFrame, measure: Measure
) -> tuple[pd.DataFrame, npt.NDArray[np.int64] | None, float]:
    """Return the table of tasks, for successes their differences as whole numbers in a common unit, and the noise.

    The noise is the variance that trials alone give the mean difference, with each task's trials of both runs together.
    """
    described = ["task_id", *(["task_name"] if "task_name" in a.columns else []), "task_type"]
    tasks = a.drop_duplicates("task_id")[described].reset_index(drop=True)
    parts = []
    for label, frame in (("baseline", a), ("other", b)):
        value = (frame["outcome"] == "success").astype(int) if measure == "success" else frame["score"]
        part = pd.DataFrame({"task": frame["task_id"].to_numpy(), "value": value.to_numpy()})
        grouped = part.groupby("task", sort=True)["value"]
        tasks[f"{label}_trials"] = grouped.size().to_numpy()
        parts.append((part, grouped.sum().to_numpy()))
    n_a, n_b = tasks["baseline_trials"].to_numpy(), tasks["other_trials"].to_numpy()
    (part_a, sum_a), (part_b, sum_b) = parts
    tasks["baseline"], tasks["other"] = sum_a / n_a, sum_b / n_b
    tasks["difference"] = tasks["other"] - tasks["baseline"]
    variances = pd.concat([part_a, part_b]).groupby("task", sort=True)["value"].var(ddof=1)
    noise = noise_of_trials(variances.to_numpy(), n_a, n_b)
    if measure == "score":
        return tasks, None, noise
    unit = np.lcm.reduce(np.concatenate([n_a, n_b]))
    return tasks, (sum_b * (unit // n_b) - sum_a * (unit // n_a)).astype(np.int64), noise
