"""What a sweep found: success of each scheme over seeds, and what can be said of their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agentbench.evaluation.compare_runs import Measure
from agentbench.statistics.robust import (
    chance_of_improvement,
    interquartile_mean_interval,
    mean_of_curve,
    performance_profile,
)
from agentbench.statistics.seeds import MARGIN, compare_seeds
from agentbench.train.curve import draw_curve, draw_profiles
from agentbench.train.sweep import SweepRun
from agentbench.train.trainer import Metrics
from envs.base.files import replaced
from envs.base.terminal import make_table

if TYPE_CHECKING:
    from rich.table import Table

AREA = "area"
"""The other primary measure beside the final one: the mean of the learning curve over environment steps."""
CURVES_FILE = "curves.parquet"
LEVELS = np.round(np.linspace(0.0, 1.0, 101), 2)
"""Where the performance profiles are taken."""


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """The tables of a sweep; only finished runs are in them.

    Attributes:
        measure: what is summed up, ``success`` or ``score``; columns are named after it.
        runs: one row a run: ``scheme, seed, policy, start, success, area, success_at_equal_steps, environment_steps,
            seconds``; the policy is what it began from.
            Success is that on the held-out tasks, 0 to 1: before training, at the end, and where the run had
            used as many environment steps as the shortest of all runs (on the line between its evaluations). The area
            is that under this line from 0 to there, over its length: the mean success while learning, 0 to 1.
        schemes: one row a scheme: number of seeds, interquartile mean over seeds with its 95 % interval for
            ``success`` (``low, high``) and for ``area`` (``area_low, area_high``), and the interquartile mean of
            ``success_at_equal_steps``.
        comparisons: one row a primary measure and scheme but the first, against the first: see
            :func:`compare_schemes`.
        profiles: performance profiles: ``scheme, level, share, low, high``, the share of runs whose final success
            reaches the level.
    """

    measure: Measure
    runs: pd.DataFrame
    schemes: pd.DataFrame
    comparisons: pd.DataFrame
    profiles: pd.DataFrame


def summarise_sweep(
    runs: Sequence[SweepRun], measure: Measure = "success", margin: float = MARGIN, planned: int = 0
) -> SweepSummary:
    """Sum up the finished runs of a sweep by success or score; without any the tables are empty.

    Args:
        runs: all that were planned; the first one's scheme is the one compared with.
        measure: of the held-out evaluations.
        margin: difference below which two schemes count as equal, 0 to 1.
        planned: number of runs without which there is no verdict, if that is more than are in ``runs``.
    """
    table, finished = run_table(runs, measure)
    if table.empty:
        return SweepSummary(measure, table, pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    schemes = pd.DataFrame(
        [_scheme_row(str(name), part, measure) for name, part in table.groupby("scheme", sort=False)]
    )
    profiles = [_profile(str(name), part, measure) for name, part in table.groupby("scheme", sort=False)]
    comparisons = compare_schemes(table, runs[0].config.scheme, measure, margin)
    if len(finished) < max(planned, len(runs)) and not comparisons.empty:
        comparisons["verdict"] = "not finished"
    return SweepSummary(measure, table, schemes, comparisons, pd.concat(profiles, ignore_index=True))


def run_table(runs: Sequence[SweepRun], measure: Measure = "success") -> tuple[pd.DataFrame, list[SweepRun]]:
    """Return :attr:`SweepSummary.runs` of the finished runs among some, and these runs."""
    finished = [run for run in runs if run.is_finished]
    metrics = [_metrics(run) for run in finished]
    budget = min((_steps_used(rows)[-1] for rows in metrics), default=0)
    rows = [_run_row(run, own, budget, measure) for run, own in zip(finished, metrics, strict=True)]
    return pd.DataFrame(rows), finished


def compare_schemes(
    table: pd.DataFrame, baseline: str, measure: Measure = "success", margin: float = MARGIN
) -> pd.DataFrame:
    """Compare every scheme with the baseline, for each of the two primary measures: the final one and the area.

    Seeds are the unit, and the tests are corrected over schemes: see :mod:`agentbench.statistics.seeds`. Each of the
    two measures is a question of its own, with its own 5 % of false alarms.

    Args:
        table: one row a run: ``scheme, seed``, the measure and ``area``, and ``policy`` where runs began from several.
        baseline: name of a scheme.
        measure: name of the final measure's column.
        margin: difference below which two schemes count as equal.

    Returns:
        columns ``measure, scheme, against, seeds, clones, difference, low, high, p_differs, p_equal, verdict,
        improvement, improvement_low, improvement_high, spread, correlation, paired, margin``; empty without a run of
        the baseline or of another. ``improvement`` is the chance that a run does better than one of the baseline,
        ``clones`` the number of policies that runs began from.
    """
    rows: list[dict[str, Any]] = []
    for name in (measure, AREA):
        seeds = table.pivot(index="seed", columns="scheme", values=name)
        others = [scheme for scheme in dict.fromkeys(table["scheme"]) if scheme != baseline]
        if baseline not in seeds or not others:
            return pd.DataFrame()
        found = compare_seeds(seeds[[baseline, *others]].to_numpy(), margin=margin)
        for place, scheme in enumerate(others):
            own = seeds[scheme].dropna().to_numpy()
            chance = chance_of_improvement(own, seeds[baseline].dropna().to_numpy())
            rows.append(
                {
                    "measure": name,
                    "scheme": scheme,
                    "against": baseline,
                    "seeds": len(own),
                    "clones": int(table["policy"].nunique()) if "policy" in table else 1,
                    **{column: float(getattr(found, column)[place]) for column in _BY_SCHEME},
                    "verdict": found.verdict[place],
                    "improvement": chance.estimate,
                    "improvement_low": chance.low,
                    "improvement_high": chance.high,
                    "spread": found.spread,
                    "correlation": found.correlation,
                    "paired": found.paired,
                    "margin": margin,
                }
            )
    return pd.DataFrame(rows)


_BY_SCHEME = ("difference", "low", "high", "p_differs", "p_equal")


def write_summary(runs: Sequence[SweepRun], summary: SweepSummary, out: Path) -> list[Path]:
    """Write the tables as CSV files, the curves of the runs, and two pictures, to ``out``; return their paths.

    Those of the score have ``-score`` in their names; ``curves.parquet`` has both measures (:func:`curve_table`).
    """
    ending = "" if summary.measure == "success" else f"-{summary.measure}"
    paths = []
    for name in ("runs", "schemes", "comparisons", "profiles"):
        path = out / f"{name}{ending}.csv"
        with replaced(path) as temporary:
            getattr(summary, name).to_csv(temporary, index=False, float_format="%.6g")
        paths.append(path)
    paths.append(out / CURVES_FILE)
    with replaced(paths[-1]) as temporary:
        curve_table(runs).to_parquet(temporary, index=False)
    curves: dict[str, list[list[Metrics]]] = {}
    for run in runs:
        if run.is_finished:
            curves.setdefault(run.config.scheme, []).append(_metrics(run))
    draw_curve(curves, out / f"curve{ending}.png", summary.measure, _steps_used)
    draw_profiles(summary.profiles, out / f"profile{ending}.png", summary.measure)
    return [*paths, out / f"curve{ending}.png", out / f"profile{ending}.png"]


def curve_table(runs: Sequence[SweepRun]) -> pd.DataFrame:
    """Return the held-out curve of every finished run, one row an evaluation.

    Returns:
        columns ``environment, scheme`` (text), ``seed, environment_steps`` (whole numbers; the steps that training had
        used by then, measuring branches among them but for controls) and ``success, score`` (0 to 1; NaN where not
        measured).
    """
    rows: list[dict[str, Any]] = []
    for run in runs:
        metrics = _metrics(run) if run.is_finished else []
        facts = {"environment": run.config.env, "scheme": run.config.scheme, "seed": run.config.seed}
        for used, row in zip(_steps_used(metrics), metrics, strict=True):
            if "eval/success" in row:
                found = {name: row.get(f"eval/{name}", np.nan) for name in ("success", "score")}
                rows.append({**facts, "environment_steps": used, **found})
    table = pd.DataFrame(rows, columns=["environment", "scheme", "seed", "environment_steps", "success", "score"])
    kinds = {"environment": str, "scheme": str, "seed": np.int64, "environment_steps": np.int64}
    return table.astype({**kinds, "success": np.float64, "score": np.float64})


def render_summary(summary: SweepSummary) -> list[Table]:
    """Return the tables for the terminal: the schemes, then the differences by each primary measure."""
    measure = summary.measure
    title = f"held-out {measure}: interquartile mean over seeds [95 %]"
    numbers = ["seeds", "start", f"{measure} %", "area", "equal steps", "env steps", "min"]
    schemes = make_table(["scheme"], numbers, title=title)
    for row in summary.schemes.to_dict("records"):
        schemes.add_row(
            row["scheme"],
            str(row["seeds"]),
            f"{100 * row['start']:.1f}",
            _with_interval(row, measure, ".1f"),
            f"{100 * row[AREA]:.1f}",
            f"{100 * row[f'{measure}_at_equal_steps']:.1f}",
            f"{row['environment_steps']:,.0f}",
            f"{row['seconds'] / 60:.1f}",
        )
    if summary.comparisons.empty:
        return [schemes]
    return [schemes, *(_difference_table(str(name), part) for name, part in _by_measure(summary.comparisons))]


def _by_measure(comparisons: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    return list(comparisons.groupby("measure", sort=False))


def _difference_table(name: str, part: pd.DataFrame) -> Table:
    first = part.iloc[0]
    what = "area under the learning curve" if name == AREA else f"final {name}"
    how = ("paired by seed" if first["paired"] else "seeds pooled") + (
        f" over {first['clones']} clones" if first["clones"] > 1 else ""
    )
    title = (
        f"{what}: difference from {first['against']} ({how}; corrected over schemes; "
        f"a tie is within {100 * first['margin']:g} points)"
    )
    numbers = ["seeds", "points [95 % for all]", "p", "p tie", "better %"]
    table = make_table(["scheme", "verdict"], numbers, title=title)
    for row in part.to_dict("records"):
        table.add_row(
            row["scheme"],
            row["verdict"],
            str(row["seeds"]),
            _with_interval(row, "difference", "+.1f"),
            _number(row["p_differs"]),
            _number(row["p_equal"]),
            f"{100 * row['improvement']:.0f}",
        )
    return table


def _number(value: float) -> str:
    if np.isnan(value):
        return "·"
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _with_interval(row: Mapping[Any, Any], name: str, form: str) -> str:
    """Format a share and its interval in percent; one without a spread has none."""
    low, high = row["low"], row["high"]
    if row["seeds"] < 2 or np.isnan(low):
        return f"{100 * row[name]:{form}} ({'one seed' if row['seeds'] < 2 else 'no spread'})"
    return f"{100 * row[name]:{form}} [{100 * low:{form}}, {100 * high:{form}}]"


def _scheme_row(name: str, part: pd.DataFrame, measure: Measure) -> dict[str, Any]:
    band = interquartile_mean_interval(part[measure].to_numpy())
    area = interquartile_mean_interval(part[AREA].to_numpy())
    equal = interquartile_mean_interval(part[f"{measure}_at_equal_steps"].to_numpy())
    return {
        "scheme": name,
        "seeds": len(part),
        "start": part["start"].mean(),
        measure: band.estimate,
        "low": max(band.low, 0.0),
        "high": min(band.high, 1.0),
        AREA: area.estimate,
        "area_low": max(area.low, 0.0),
        "area_high": min(area.high, 1.0),
        f"{measure}_at_equal_steps": equal.estimate,
        "environment_steps": part["environment_steps"].mean(),
        "seconds": part["seconds"].mean(),
    }


def _profile(name: str, part: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    found = performance_profile(part[measure].to_numpy(), LEVELS)
    return pd.DataFrame(found, columns=["share", "low", "high"]).assign(scheme=name, level=LEVELS)[
        ["scheme", "level", "share", "low", "high"]
    ]


def _run_row(run: SweepRun, metrics: Sequence[Metrics], budget: int, measure: Measure) -> dict[str, Any]:
    used, key = _steps_used(metrics), f"eval/{measure}"
    measured = [(steps, row[key]) for steps, row in zip(used, metrics, strict=True) if key in row]
    places, found = zip(*measured, strict=True)
    return {
        "scheme": run.config.scheme,
        "seed": run.config.seed,
        "policy": run.config.policy,
        "start": found[0],
        measure: found[-1],
        AREA: mean_of_curve(places, found, budget),
        f"{measure}_at_equal_steps": float(np.interp(budget, places, found)),
        "environment_steps": used[-1],
        "seconds": float(sum(row.get("seconds", 0.0) for row in metrics)),
    }


def _metrics(run: SweepRun) -> list[Metrics]:
    """Return the metrics of a run; those of a control say nothing of the branches that measure."""
    rows = run.metrics
    return [{name: row[name] for name in row if name != "branch_steps"} for row in rows] if run.is_control else rows


def _steps_used(metrics: Sequence[Metrics]) -> list[int]:
    """Return the environment steps of training up to each row; branches that measure count too, evaluations do not."""
    counted = ("environment_steps", "branch_steps")
    return [int(each) for each in np.cumsum([sum(row.get(name, 0) for name in counted) for row in metrics])]
