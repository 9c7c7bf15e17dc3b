"""Does a scheme's quality at the policy where training begins predict what it learns?

A cell is a scheme in an environment. Its quality is a row of the table that ``agentbench quality`` writes, measured
with the policy that the sweep started from; its outcome is that of the sweep's runs: the area under the curve over
environment steps, and the final success. Both are known for few cells, and environments differ in level: so cells are
aligned within environments before they are ranked (:mod:`agentbench.statistics.ranks`), and the p values are corrected
for there being several measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agentbench.analysis.quality.sample import CONTROLS
from agentbench.statistics.paired import holm
from agentbench.statistics.ranks import aligned_rank_correlation
from agentbench.statistics.robust import mean_of_curve
from agentbench.statistics.special import stdtrit
from envs.base.errors import UserError
from envs.base.files import replaced

MEASURES = {
    "pearson": "correlation with the truth",
    "sign": "share of signs that are right",
    "cosine_mean": "cosine of the mean gradient",
    "cosine_group": "cosine of one group's gradient",
    "snr": "signal to noise of a group's gradient",
}
"""Measures of quality that are asked, and what each is called; more of them make each harder to show. ``cosine``, which
has the scheme's own noise taken off, is open for policies that seldom win, where most of a gradient is noise."""
NAMED = 5.0
"""Cells at least so many points from their environment's mean have their names in the picture."""
OUTCOMES = {"area": "area under the curve", "success": "final success"}
"""What they are asked about, both 0 to 1."""


def read_outcomes(path: Path, environment: str) -> pd.DataFrame:
    """Read what the runs of a sweep reached, one row a run.

    Args:
        path: a sweep's ``curves.parquet`` (columns ``scheme, seed, environment_steps, success``), or a CSV file with a
            row a run: ``scheme, seed, success`` and where known ``area`` (a sweep's ``runs.csv``).
        environment: where the file has a column ``environment`` or ``benchmark`` that names several, the one whose rows
            are taken.

    Returns:
        columns ``scheme, seed, success, area``, 0 to 1; the area as in a sweep's tables, up to the environment steps of
        the shortest run, and NaN where only ends are known.

    Raises:
        UserError: the file cannot be read, lacks a column, has no run, or has several environments and not this one.
    """
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): name a sweep's curves.parquet or runs.csv") from None
    if missing := [name for name in ("scheme", "seed", "success") if name not in table]:
        raise UserError(f"{path} has no column {missing[0]!r}: name a sweep's curves.parquet or runs.csv")
    for name in ("environment", "benchmark"):
        found = list(table[name].unique()) if name in table else []
        if environment in found:
            table = table[table[name] == environment]
        elif len(found) > 1:
            raise UserError(f"{path} has runs in {', '.join(map(str, found))}: name the cells after one of them")
    if table.empty:
        raise UserError(f"{path} has no finished run")
    if not table.duplicated(["scheme", "seed"]).any():
        return table.assign(area=table.get("area", np.nan))[["scheme", "seed", "success", "area"]]
    if "environment_steps" not in table:
        raise UserError(f"{path} has several rows of one scheme and seed, and no column 'environment_steps'")
    runs = [(key, part.sort_values("environment_steps")) for key, part in table.groupby(["scheme", "seed"], sort=False)]
    budget = min(int(part["environment_steps"].iloc[-1]) for _, part in runs)
    rows = [
        (*key, part["success"].iloc[-1], mean_of_curve(part["environment_steps"], part["success"], budget))
        for key, part in runs
    ]
    return pd.DataFrame(rows, columns=["scheme", "seed", "success", "area"])


def make_cells(
    environment: str, quality: pd.DataFrame, outcomes: pd.DataFrame, group_sizes: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """Join a quality table with the outcomes of a sweep, one row a scheme that was trained.

    Args:
        environment: what the cells are called.
        quality: of ``quality.csv``; rows of sweeps over settings are left out. Several samples, one for each policy
            that seeds began from, are averaged.
        outcomes: of :func:`read_outcomes`.
        group_sizes: with how many episodes a group a scheme was trained, where that is not the largest in ``quality``.

    Returns:
        columns ``environment, scheme, group_size, samples, seeds``, then for each of :data:`OUTCOMES` its mean over
        seeds and half of that mean's 95 % interval (Student's), ``NAME, NAME_half``, then for each of :data:`MEASURES`
        ``NAME, NAME_low, NAME_high``; NaN where a scheme was trained and its quality is not known, in one of several
        samples. The half of the interval of an average is the root of the sum of squares over the number of samples.

    Raises:
        UserError: the table has not a group size that was asked for.
    """
    own = quality[quality["setting"].isna() | (quality["setting"] == "")]
    samples = own["sample"].nunique()
    rows = []
    for scheme, runs in outcomes.groupby("scheme", sort=False):
        row: dict[str, Any] = {"environment": environment, "scheme": scheme}
        found = own[own["scheme"] == scheme]
        size = (group_sizes or {}).get(str(scheme), found["group_size"].max())
        if len(found) and size not in set(found["group_size"]):
            raise UserError(
                f"{scheme} was not measured with groups of {size}: agentbench quality … --group-sizes {size}"
            )
        found = found[found["group_size"] == size]
        row |= {"group_size": size, "samples": len(found), "seeds": len(runs)}
        for name in OUTCOMES:
            row |= {name: runs[name].mean(), f"{name}_half": _half(runs[name].to_numpy(dtype=np.float64))}
        for name in MEASURES:
            row |= _averaged(name, found, samples)
        rows.append(row)
    return pd.DataFrame(rows).astype({"group_size": "Int64"})


def _averaged(measure: str, found: pd.DataFrame, samples: int) -> dict[str, float]:
    """A measure over samples with its interval; NaN where a sample does not have it."""
    names = [f"{measure}{end}" for end in ("", "_low", "_high")]
    if len(found) < max(samples, 1) or found[measure].isna().any():
        return dict.fromkeys(names, np.nan)
    middle = found[measure].mean()
    below, above = (np.sqrt(((found[name] - found[measure]) ** 2).sum()) / len(found) for name in names[1:])
    return dict(zip(names, (middle, middle - below, middle + above), strict=True))


def _half(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Half of the 95 % interval of the mean; NaN of a single value."""
    if len(values) < 2:
        return float("nan")
    return float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))


def find_links(cells: pd.DataFrame, draws: int = 10_000, seed: int = 0) -> pd.DataFrame:
    """Return how each measure of quality goes with each outcome over the cells.

    Args:
        cells: of :func:`make_cells`, of one or more environments; the controls of a quality table are no cells.
        draws: of the interval and of the test.
        seed: of all draws.

    Returns:
        columns ``outcome, measure, cells, environments, rho, low, high, p, p_holm, plain`` and a column ``in NAME`` for
        each environment, Spearman's correlation within it. ``rho`` is the aligned one, ``plain`` that of the values as
        they are; ``p_holm`` is corrected for the measures of an outcome. NaN where too few cells are known.
    """
    cells = cells[~cells["scheme"].isin(CONTROLS)]
    rows: list[dict[str, Any]] = []
    for outcome in OUTCOMES:
        asked = [_link(cells, outcome, measure, draws, seed) for measure in MEASURES]
        known = [row for row in asked if np.isfinite(row["p"])]
        for row, p in zip(known, holm([row["p"] for row in known]), strict=True):
            row["p_holm"] = p
        rows += asked
    return pd.DataFrame(rows)


def _link(cells: pd.DataFrame, outcome: str, measure: str, draws: int, seed: int) -> dict[str, Any]:
    known = cells[np.isfinite(cells[outcome]) & np.isfinite(cells[measure])]
    known = known[known.groupby("environment")["scheme"].transform("size") > 1]
    found = aligned_rank_correlation(known[measure], known[outcome], known["environment"], draws=draws, seed=seed)
    row = {
        "outcome": outcome, "measure": measure,
        "cells": found.units, "environments": known["environment"].nunique(),
        "rho": found.estimate, "low": found.low, "high": found.high,
        "p": found.p, "p_holm": np.nan, "plain": found.plain,
    }  # fmt: skip
    for name in cells["environment"].unique():
        part = known[known["environment"] == name]
        varies = len(part) > 2 and part[measure].nunique() > 1 and part[outcome].nunique() > 1
        row[f"in {name}"] = part[measure].corr(part[outcome], method="spearman") if varies else np.nan
    return row


def draw_links(cells: pd.DataFrame, links: pd.DataFrame, path: Path) -> None:
    """Draw every cell, a panel a measure and a row of panels an outcome, with intervals over seeds.

    Upright is the outcome in points from the mean of the environment's cells in the panel, so that environments share
    an axis.

    Args:
        cells, links: as above.
        path: a picture to write (.png, .svg, .pdf).
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    outcomes = [name for name in OUTCOMES if links.loc[links["outcome"] == name, "cells"].max() > 0]
    figure, axes = plt.subplots(
        len(outcomes), len(MEASURES), figsize=(3.1 * len(MEASURES), 3.2 * len(outcomes)), squeeze=False, sharey="row"
    )
    colours = {name: f"C{number % 10}" for number, name in enumerate(cells["environment"].unique())}
    for row, outcome in zip(axes, outcomes, strict=True):
        row[0].set_ylabel(f"{OUTCOMES[outcome]}:\npoints from the environment's mean")
        for axis, measure in zip(row, MEASURES, strict=True):
            _draw_panel(axis, cells, outcome, measure, colours)
            link = links[(links["outcome"] == outcome) & (links["measure"] == measure)].iloc[0]
            axis.set_title(_summary(link), fontsize=8.5)
            axis.set_xlabel(MEASURES[measure], fontsize=9)
    handles = [Line2D([], [], marker="o", linestyle="", color=colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="lower center", ncols=len(colours), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=110, format=path.suffix.lstrip(".") or "png", metadata={"Software": None})
    plt.close(figure)


def _draw_panel(axis: Any, cells: pd.DataFrame, outcome: str, measure: str, colours: Mapping[str, Any]) -> None:
    known = cells[np.isfinite(cells[outcome]) & np.isfinite(cells[measure])]
    for name, part in known.groupby("environment", sort=False):
        height = 100 * (part[outcome] - part[outcome].mean())
        places = part[measure].to_numpy(dtype=np.float64)
        axis.errorbar(
            places, height, yerr=100 * part[f"{outcome}_half"].fillna(0.0), fmt="o", color=colours[str(name)],
            markersize=4, elinewidth=0.8, alpha=0.85,
        )  # fmt: skip
        below = (np.argsort(np.argsort(height.to_numpy())) % 2).astype(bool)  # so that neighbours' names part
        for scheme, x, y, is_below in zip(part["scheme"], places, height, below, strict=True):
            if abs(y) < NAMED:
                continue  # where all ended alike, names would hide the points
            axis.annotate(scheme, (x, y), xytext=(4, -8 if is_below else 3), textcoords="offset points", fontsize=7)
    axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axis.grid(color="#eeeeee")
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.2)


def _summary(link: pd.Series) -> str:
    if not np.isfinite(link["rho"]):
        return f"{link['cells']} cells: too few"
    return f"{link['cells']} cells: ρ = {link['rho']:+.2f} [{link['low']:+.2f}, {link['high']:+.2f}]"
