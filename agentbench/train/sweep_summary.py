"""What a sweep found: success of each scheme over seeds, and what can be said of their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agentbench.evaluation.compare_runs import Measure, compare_with_baseline
from agentbench.statistics import holm, paired_interval, sign_flip_test
from agentbench.statistics.robust import interquartile_mean_interval
from agentbench.train.curve import draw_curve
from agentbench.train.outcomes import read_outcomes
from agentbench.train.sweep import SweepRun
from agentbench.train.trainer import Metrics
from envs.base.files import replaced

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """The tables of a sweep; only finished runs are in them.

    Attributes:
        measure: what is summed up, ``success`` or ``score``; columns are named after it.
        runs: one row a run: ``scheme, seed, start, success, success_at_equal_steps, environment_steps, seconds``.
            Success is that on the held-out tasks, 0 to 1: before training, at the end, and where the run had
            used as many environment steps as the shortest of all runs (on the line between its evaluations).
        schemes: one row a scheme: number of seeds, interquartile mean over seeds with its 95 % bootstrap interval
            for ``success``, and the interquartile mean of ``success_at_equal_steps``.
        comparisons: one row a scheme but the first, against the first: see :func:`compare_schemes`.
    """

    measure: Measure
    runs: pd.DataFrame
    schemes: pd.DataFrame
    comparisons: pd.DataFrame


def summarise_sweep(runs: Sequence[SweepRun], measure: Measure = "success") -> SweepSummary:
    """Sum up the finished runs of a sweep by success or score; without any the tables are empty."""
    finished = [run for run in runs if run.is_finished]
    metrics = [run.metrics for run in finished]
    budget = min((_steps_used(rows)[-1] for rows in metrics), default=0)
    table = pd.DataFrame([_run_row(run, rows, budget, measure) for run, rows in zip(finished, metrics, strict=True)])
    if table.empty:
        return SweepSummary(measure, table, pd.DataFrame(), pd.DataFrame())
    rows = []
    for scheme, part in table.groupby("scheme", sort=False):
        band = interquartile_mean_interval(part[measure].to_numpy())
        equal = interquartile_mean_interval(part[f"{measure}_at_equal_steps"].to_numpy())
        rows.append(
            {
                "scheme": scheme,
                "seeds": len(part),
                "start": part["start"].mean(),
                measure: band.estimate,
                "low": band.low,
                "high": band.high,
                f"{measure}_at_equal_steps": equal.estimate,
                "environment_steps": part["environment_steps"].mean(),
                "seconds": part["seconds"].mean(),
            }
        )
    return SweepSummary(measure, table, pd.DataFrame(rows), compare_schemes(finished, table, measure))


def compare_schemes(runs: Sequence[SweepRun], table: pd.DataFrame, measure: Measure = "success") -> pd.DataFrame:
    """Compare every scheme with the first, on the seeds that both finished.

    Two questions are asked. Would another seed say the same: the difference of each seed's pair of runs, with a
    Student interval over seeds and an exact sign-flip test (with 5 seeds its p-value cannot be below 0.0625).
    And do these very policies differ on the held-out tasks: paired by task over the pooled seeds, an exact
    sign-flip test. Both are corrected by Holm's method for the number of schemes. The verdict is "tie" unless the
    interval over seeds leaves out 0 *and* the corrected test over tasks is below 0.05.

    Returns:
        columns ``scheme, against, seeds, difference, low, high, p_seeds, p_tasks, verdict``; ``p_tasks`` is NaN
        where the outcomes of the tasks are not stored.
    """
    names = list(dict.fromkeys(run.config.scheme for run in runs))
    rows = []
    for name in names[1:]:
        pair = table[table["scheme"].isin((names[0], name))].pivot(index="seed", columns="scheme", values=measure)
        differences = (pair[name] - pair[names[0]]).dropna()
        if differences.empty:
            continue
        interval = paired_interval(differences, trials=None)
        low, high = (interval.low, interval.high) if len(differences) > 1 else (np.nan, np.nan)
        rows.append(
            {
                "scheme": name,
                "against": names[0],
                "seeds": len(differences),
                "difference": interval.estimate,
                "low": low,
                "high": high,
                "p_seeds": sign_flip_test(differences.to_numpy(np.float64)).p_value,
                "p_tasks": _p_over_tasks(runs, names[0], name, set(differences.index), measure),
            }
        )
    found = pd.DataFrame(rows)
    if found.empty:
        return found
    found["p_seeds"] = holm(found["p_seeds"])
    if found["p_tasks"].notna().all():
        found["p_tasks"] = holm(found["p_tasks"])
    differs = ((found["low"] > 0) | (found["high"] < 0)) & (found["p_tasks"] < 0.05)
    found["verdict"] = np.where(~differs, "tie", np.where(found["difference"] > 0, "better", "worse"))
    return found


def write_summary(runs: Sequence[SweepRun], summary: SweepSummary, out: Path) -> list[Path]:
    """Write ``runs.csv``, ``schemes.csv``, ``comparisons.csv`` and ``curve.png`` to ``out``; return their paths.

    Those of the score have ``-score`` in their names.
    """
    ending = "" if summary.measure == "success" else f"-{summary.measure}"
    paths = []
    for name in ("runs", "schemes", "comparisons"):
        path = out / f"{name}{ending}.csv"
        with replaced(path) as temporary:
            getattr(summary, name).to_csv(temporary, index=False, float_format="%.6g")
        paths.append(path)
    curves: dict[str, list[list[Metrics]]] = {}
    for run in runs:
        if run.is_finished:
            curves.setdefault(run.config.scheme, []).append(run.metrics)
    draw_curve(curves, out / f"curve{ending}.png", summary.measure)
    return [*paths, out / f"curve{ending}.png"]


def render_summary(summary: SweepSummary) -> list[Table]:
    """Return the tables for the terminal."""
    from rich.table import Table

    measure = summary.measure
    title = f"held-out {measure}: interquartile mean over seeds [95 %]"
    schemes = Table(title=title, title_justify="left", box=None)
    for column in ("scheme", "seeds", "start", f"{measure} %", "at equal env. steps", "env. steps", "minutes"):
        schemes.add_column(column, justify="left" if column == "scheme" else "right")
    for row in summary.schemes.to_dict("records"):
        schemes.add_row(
            row["scheme"],
            str(row["seeds"]),
            f"{100 * row['start']:.1f}",
            _with_interval(row, measure, ".1f"),
            f"{100 * row[f'{measure}_at_equal_steps']:.1f}",
            f"{row['environment_steps']:,.0f}",
            f"{row['seconds'] / 60:.1f}",
        )
    if summary.comparisons.empty:
        return [schemes]
    first = summary.comparisons["against"].iloc[0]
    pairs = Table(title=f"difference from {first}, paired (p by Holm)", title_justify="left", box=None)
    for column in ("scheme", "seeds", "points [95 % over seeds]", "p over seeds", "p over tasks", "verdict"):
        pairs.add_column(column, justify="left" if column in ("scheme", "verdict") else "right")
    for row in summary.comparisons.to_dict("records"):
        pairs.add_row(
            row["scheme"],
            str(row["seeds"]),
            _with_interval(row, "difference", "+.1f"),
            f"{row['p_seeds']:.3g}",
            f"{row['p_tasks']:.3g}",
            row["verdict"],
        )
    return [schemes, pairs]


def _with_interval(row: Mapping[Any, Any], name: str, form: str) -> str:
    """Format a share and its interval in percent; one seed has no interval."""
    if row["seeds"] < 2:
        return f"{100 * row[name]:{form}} (one seed)"
    return f"{100 * row[name]:{form}} [{100 * row['low']:{form}}, {100 * row['high']:{form}}]"


def _run_row(run: SweepRun, metrics: Sequence[Metrics], budget: int, measure: Measure) -> dict[str, Any]:
    used, key = _steps_used(metrics), f"eval/{measure}"
    measured = [(steps, row[key]) for steps, row in zip(used, metrics, strict=True) if key in row]
    places, found = zip(*measured, strict=True)
    return {
        "scheme": run.config.scheme,
        "seed": run.config.seed,
        "start": found[0],
        measure: found[-1],
        f"{measure}_at_equal_steps": float(np.interp(budget, places, found)),
        "environment_steps": used[-1],
        "seconds": float(sum(row.get("seconds", 0.0) for row in metrics)),
    }


def _steps_used(metrics: Sequence[Metrics]) -> list[int]:
    """Return the environment steps of training up to each row, evaluations not counted."""
    return [int(each) for each in np.cumsum([row.get("environment_steps", 0) for row in metrics])]


def _p_over_tasks(runs: Sequence[SweepRun], first: str, other: str, seeds: set[int], measure: Measure) -> float:
    """Test the pooled seeds of two schemes on the same tasks; a seed counts as a trial. NaN without the outcomes."""
    frames = {}
    for scheme in (first, other):
        parts = []
        for run in runs:
            if run.config.scheme == scheme and run.config.seed in seeds:
                part = read_outcomes(run.folder, run.config.steps)
                if part is None:
                    return float("nan")
                parts.append(part.assign(trial=run.config.seed))
        frames[scheme] = pd.concat(parts, ignore_index=True)
    return compare_with_baseline((first, frames[first]), {other: frames[other]}, measure=measure)[0].p_value
