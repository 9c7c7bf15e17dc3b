"""Sum a run up: success rate with interval, scores, steps, pass@k and pass^k, overall and per task type."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agentbench.runs.episodes import is_judged
from agentbench.runs.frame import Columns, checked_columns
from agentbench.statistics import mean_interval, pass_at_k, pass_hat_k, pass_interval, rate_interval
from agentbench.statistics.intervals import check_confidence
from envs.base.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OVERALL", "Summary", "summarise"]

OVERALL = "overall"
_PASS_COLUMNS = (
    "task_type", "k", "tasks", "pass_at_k", "pass_at_k_low", "pass_at_k_high",
    "pass_hat_k", "pass_hat_k_low", "pass_hat_k_high",
)  # fmt: skip


Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run amounts to.

    Attributes:
        rows: of ``rates``, as plain values: so nobody needs pandas for them, which takes 0.3 s to import.
        pass_rows: of ``passes``.
        confidence: of all intervals.
    """

    rows: list[Row]
    pass_rows: list[Row]
    confidence: float

    @property
    def rates(self) -> pd.DataFrame:
        """One row a task type, the first for all (``task_type`` "overall").

        Columns: ``task_type, tasks, tasks_scored`` (with at least one episode that did not end in an error)
        ``, episodes, errors, success_rate, success_low, success_high, mean_score, score_low, score_high, mean_steps,
        invalid_action_share, worst_rate, best_rate`` (the success rate if every error were a failure, or a success).
        Rates are means over tasks, 0 to 1; steps and the share of invalid actions are over all episodes without an
        error. NaN where there is nothing to average.
        """
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def passes(self) -> pd.DataFrame:
        """One row a task type and k, where a task has several trials.

        Columns: ``task_type, k, tasks`` (with at least k trials) ``, pass_at_k, pass_at_k_low, pass_at_k_high,
        pass_hat_k, pass_hat_k_low, pass_hat_k_high``.
        """
        import pandas as pd

        return pd.DataFrame(self.pass_rows, columns=list(_PASS_COLUMNS))

    @property
    def overall(self) -> pd.Series:
        """The row of ``rates`` for all tasks."""
        return self.rates.iloc[0]


def summarise(frame: pd.DataFrame | Columns, *, confidence: float = 0.95, cluster: str = "task_id") -> Summary:
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
    if cluster not in frame:
        checked_columns(frame)  # what is no table of episodes says so first
        raise UserError(f"the run has no column {cluster!r} to cluster by")
    tasks = _Tasks.of(checked_columns(frame, cluster), cluster)
    parts = [(label, tasks.part(chosen)) for label, chosen in _parts(tasks)]
    return Summary(
        rows=[_rates(label, part, confidence) for label, part in parts],
        pass_rows=[row for label, part in parts for row in _passes(label, part, confidence)],
        confidence=confidence,
    )


@dataclass(frozen=True, slots=True)
class _Tasks:
    """The tasks of a run, sorted by id; every array of shape (tasks,).

    Attributes:
        kind: task type.
        cluster: which tasks belong together.
        episodes, trials: number of episodes, and of those without an error of the infrastructure.
        successes, score: number of successes, and mean score, of those; NaN where there are none.
        steps, invalid: sums over those.
    """

    kind: npt.NDArray[Any]
    cluster: npt.NDArray[Any]
    episodes: npt.NDArray[np.int64]
    trials: npt.NDArray[np.int64]
    successes: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]
    invalid: npt.NDArray[np.int64]

    @classmethod
    def of(cls, episodes: Columns, cluster: str) -> _Tasks:
        """Sum up the episodes of each task; they come sorted by task."""
        _, first, task = np.unique(episodes["task_id"], return_index=True, return_inverse=True)
        clusters = episodes[cluster]
        if any(one != other for one, other in zip(clusters.tolist(), clusters[first][task].tolist(), strict=True)):
            raise UserError(f"column {cluster!r} cannot cluster the run: a task lies in several of its groups")
        judged = is_judged(episodes["outcome"])

        def total(rows: npt.NDArray[np.bool_], values: Any = None) -> npt.NDArray[Any]:
            weights = None if values is None else np.asarray(values[rows], dtype=np.float64)
            return np.bincount(task[rows], weights=weights, minlength=len(first))

        trials = total(judged)
        with np.errstate(invalid="ignore"):
            score = total(judged, episodes["score"]) / trials
        return cls(
            kind=episodes["task_type"][first],
            cluster=clusters[first],
            episodes=np.bincount(task),
            trials=trials,
            successes=total(episodes["outcome"] == "success"),
            score=score,
            steps=total(judged, episodes["steps"]).astype(np.int64),
            invalid=total(judged, episodes["invalid_actions"]).astype(np.int64),
        )

    def part(self, chosen: npt.NDArray[np.bool_]) -> _Tasks:
        """Return some of the tasks."""
        return _Tasks(*(getattr(self, name)[chosen] for name in self.__slots__))


def _parts(tasks: _Tasks) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield the label and the tasks of all, and of each task type."""
    yield OVERALL, np.ones(len(tasks.kind), dtype=np.bool_)
    kinds = np.array([str(kind) for kind in tasks.kind.tolist()], dtype=object)
    for kind in sorted(set(kinds.tolist())):
        yield kind, kinds == kind


def _rates(label: str, tasks: _Tasks, confidence: float) -> Row:
    scored = tasks.part(tasks.trials > 0)
    rates, trials, clusters = scored.successes / scored.trials, scored.trials, scored.cluster
    success = rate_interval(rates, trials, clusters=clusters, confidence=confidence)
    score = mean_interval(scored.score, clusters=clusters, confidence=confidence)
    episodes, judged, actions = int(tasks.episodes.sum()), int(trials.sum()), int(scored.steps.sum())
    return {
        "task_type": label,
        "tasks": len(tasks.kind),
        "tasks_scored": len(scored.kind),
        "episodes": episodes,
        "errors": episodes - judged,
        "success_rate": success.estimate,
        "success_low": success.low,
        "success_high": success.high,
        "mean_score": score.estimate,
        "score_low": score.low,
        "score_high": score.high,
        "mean_steps": actions / judged if judged else math.nan,
        "invalid_action_share": int(scored.invalid.sum()) / actions if actions else math.nan,
        "worst_rate": float(np.mean(tasks.successes / tasks.episodes)),
        "best_rate": float(np.mean((tasks.successes + tasks.episodes - tasks.trials) / tasks.episodes)),
    }


def _passes(label: str, tasks: _Tasks, confidence: float) -> Iterator[Row]:
    most = int(tasks.trials.max())
    for k in range(1, most + 1) if most > 1 else ():
        enough = tasks.part(tasks.trials >= k)
        row: Row = {"task_type": label, "k": k, "tasks": len(enough.kind)}
        for name, estimate in (("pass_at_k", pass_at_k), ("pass_hat_k", pass_hat_k)):
            chances = estimate(enough.trials, enough.successes, k)
            interval = pass_interval(chances, enough.trials, k, clusters=enough.cluster, confidence=confidence)
            row |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
        yield row
