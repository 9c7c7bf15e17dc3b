"""Sum a run up: success rate with interval, scores, steps, pass@k and pass^k, overall and per task type."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from agentbench.runs.episodes import is_judged
from agentbench.runs.frame import check_episodes
from agentbench.statistics import mean_interval, pass_at_k, pass_hat_k, pass_interval, rate_interval
from agentbench.statistics.intervals import check_confidence
from envs.base.errors import UserError

__all__ = ["OVERALL", "Summary", "summarise"]

OVERALL = "overall"
_PASS_COLUMNS = (
    "task_type", "k", "tasks", "pass_at_k", "pass_at_k_low", "pass_at_k_high",
    "pass_hat_k", "pass_hat_k_low", "pass_hat_k_high",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run amounts to.

    Attributes:
        rates: one row a task type, the first for all (``task_type`` "overall"). Columns: ``task_type, tasks,
            tasks_scored`` (with at least one episode that did not end in an error) ``, episodes, errors,
            success_rate, success_low, success_high, mean_score, score_low, score_high, mean_steps,
            invalid_action_share, worst_rate, best_rate`` (the success rate if every error were a failure, or a
            success). Rates are means over tasks, 0 to 1; steps and the share of invalid actions are over all
            episodes without an error. NaN where there is nothing to average.
        passes: one row a task type and k, where a task has several trials: ``task_type, k, tasks`` (with at least k
            trials) ``, pass_at_k, pass_at_k_low, pass_at_k_high, pass_hat_k, pass_hat_k_low, pass_hat_k_high``.
        confidence: of all intervals.
    """

    rates: pd.DataFrame
    passes: pd.DataFrame
    confidence: float

    @property
    def overall(self) -> pd.Series:
        """The row of ``rates`` for all tasks."""
        return self.rates.iloc[0]


def summarise(frame: pd.DataFrame, *, confidence: float = 0.95, cluster: str = "task_id") -> Summary:
    """Sum up a run's episodes.

    Args:
        frame: one row an episode, see :func:`agentbench.runs.frame.check_episodes`.
        confidence: of the intervals.
        cluster: column that says which episodes belong together; a coarser one than the task for tasks that come
            in families (AppWorld's scenarios).

    Raises:
        UserError: the table is not one of episodes, or a task lies in two clusters.
    """
    check_confidence(confidence)
    episodes = check_episodes(frame)
    if cluster not in episodes.columns:
        raise UserError(f"the run has no column {cluster!r} to cluster by")
    if (episodes.groupby("task_id")[cluster].nunique(dropna=False) > 1).any():
        raise UserError(f"column {cluster!r} cannot cluster the run: a task lies in several of its groups")
    episodes = episodes.assign(cluster=episodes[cluster])
    parts = list(_parts(episodes, _per_task(episodes)))
    return Summary(
        rates=pd.DataFrame([_rates(label, part, tasks, confidence) for label, part, tasks in parts]),
        passes=pd.DataFrame(
            [row for label, _, tasks in parts for row in _passes(label, tasks, confidence)], columns=list(_PASS_COLUMNS)
        ),
        confidence=confidence,
    )


def _parts(episodes: pd.DataFrame, tasks: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield the label, the episodes and the rows of :func:`_per_task` of all, and of each task type."""
    yield OVERALL, episodes, tasks
    for task_type, part in episodes.groupby("task_type", sort=True, dropna=False):
        yield str(task_type), part, tasks[tasks.index.isin(part["task_id"])]


def _per_task(episodes: pd.DataFrame) -> pd.DataFrame:
    """One row a task that has a scored episode: cluster, trials, successes, mean score."""
    scored: pd.DataFrame = episodes[is_judged(episodes["outcome"])]
    grouped = scored.assign(success=scored["outcome"] == "success").groupby("task_id", sort=True)
    return grouped.agg(
        cluster=("cluster", "first"), trials=("success", "size"), successes=("success", "sum"), score=("score", "mean")
    )


def _rates(label: str, part: pd.DataFrame, tasks: pd.DataFrame, confidence: float) -> dict[str, object]:
    scored = part[is_judged(part["outcome"])]
    success = rate_interval(
        tasks["successes"] / tasks["trials"], tasks["trials"], clusters=tasks["cluster"], confidence=confidence
    )
    score = mean_interval(tasks["score"], clusters=tasks["cluster"], confidence=confidence)
    actions = int(scored["steps"].sum())
    return {
        "task_type": label,
        "tasks": part["task_id"].nunique(),
        "tasks_scored": len(tasks),
        "episodes": len(part),
        "errors": len(part) - len(scored),
        "success_rate": success.estimate,
        "success_low": success.low,
        "success_high": success.high,
        "mean_score": score.estimate,
        "score_low": score.low,
        "score_high": score.high,
        "mean_steps": float(scored["steps"].mean()),
        "invalid_action_share": float(scored["invalid_actions"].sum()) / actions if actions else math.nan,
        "worst_rate": _rate_where(part, ("success",)),
        "best_rate": _rate_where(part, ("success", "error")),
    }


def _rate_where(part: pd.DataFrame, outcomes: tuple[str, ...]) -> float:
    return float(part["outcome"].isin(outcomes).groupby(part["task_id"]).mean().mean())


def _passes(label: str, tasks: pd.DataFrame, confidence: float) -> Iterator[dict[str, object]]:
    most = int(tasks["trials"].max()) if len(tasks) else 0
    for k in range(1, most + 1) if most > 1 else ():
        enough = tasks[tasks["trials"] >= k]
        trials, successes = enough["trials"].to_numpy(), enough["successes"].to_numpy()
        row: dict[str, object] = {"task_type": label, "k": k, "tasks": len(enough)}
        for name, estimate in (("pass_at_k", pass_at_k), ("pass_hat_k", pass_hat_k)):
            interval = pass_interval(
                estimate(trials, successes, k), trials, k, clusters=enough["cluster"], confidence=confidence
            )
            row |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
        yield row
