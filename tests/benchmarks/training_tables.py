"""The tables and the picture of ``results/published/training.md``, from the published runs.

    python tests/benchmarks/training_tables.py                    # again from the published runs
    python tests/benchmarks/training_tables.py --add official results/official/curves.parquet

Every sweep of :data:`SWEEPS` that ``training-curves.parquet`` has becomes the table between the marks of its name on
the page, and a panel of the picture. ``--add NAME CURVES`` takes a sweep's curves in under that name, or in place of
those of that name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from marked_pages import put_between

from agentbench.analysis.prediction import read_outcomes
from agentbench.statistics.robust import interquartile_mean_interval
from agentbench.statistics.seeds import MARGIN, SeedTests, compare_seeds
from envs.base.files import replaced

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
CURVES = PUBLISHED / "training-curves.parquet"
BASELINE = "grpo"
SWEEPS = {"schemes": "small generated houses", "official": "official ALFWorld", "shop": "WebShop"}
"""The title of each sweep's panel, by the name that its marks and its rows have."""


def main() -> None:
    """Take in curves, if there are any to add; write the tables into the page, and draw the picture."""
    parser = argparse.ArgumentParser(description="the tables and the picture of training.md")
    parser.add_argument("--add", nargs=2, action="append", default=[], metavar=("NAME", "CURVES"))
    for name, path in parser.parse_args().add:
        add(name, Path(path))
    panels = []
    for name in published():
        runs = read_runs(name)
        final, area = compared(runs, "success"), compared(runs, "area")
        put_between(PUBLISHED / "training.md", name, table(runs, final, area))
        panels.append((SWEEPS[name], list(dict.fromkeys(runs["scheme"]))[1:], final, area))
    draw(panels, PUBLISHED / "training.png")


def add(name: str, path: Path) -> None:
    """Take in a sweep's curves under a name of :data:`SWEEPS`."""
    curves = pd.read_parquet(path).assign(environment=name)
    if CURVES.exists():
        former = pd.read_parquet(CURVES)
        curves = pd.concat([former[former["environment"] != name], curves], ignore_index=True)
    with replaced(CURVES) as temporary:
        curves.to_parquet(temporary, index=False)


def published() -> list[str]:
    """Return the names of the sweeps that the file has, in the page's order."""
    found = set(pd.read_parquet(CURVES, columns=["environment"])["environment"])
    return [name for name in SWEEPS if name in found]


def read_runs(name: str) -> pd.DataFrame:
    """Return one row a run: ``scheme, seed, success, area``; the baseline's first."""
    runs = read_outcomes(CURVES, name)
    return pd.concat([runs[runs["scheme"] == BASELINE], runs[runs["scheme"] != BASELINE]])


def compared(runs: pd.DataFrame, measure: str) -> SeedTests:
    """Every scheme against the baseline, seeds as the unit."""
    names = list(dict.fromkeys(runs["scheme"]))
    return compare_seeds(runs.pivot(index="seed", columns="scheme", values=measure)[names].to_numpy())


def table(runs: pd.DataFrame, final: SeedTests, area: SeedTests) -> str:
    """The table of a sweep in Markdown, and how its seeds spread."""
    heading = ["scheme", "final % [95 %]", "seeds", "points [95 % for all]", "p", "p tie", "verdict"]
    heading += ["area %", "points [95 % for all]", "verdict"]
    lines = [f"| {' | '.join(heading)} |", "|:--|--:|:--|--:|--:|--:|:--|--:|--:|:--|"]
    for place, (scheme, part) in enumerate(runs.groupby("scheme", sort=False)):
        band = interquartile_mean_interval(part["success"].to_numpy())
        low, high = max(band.low, 0.0), min(band.high, 1.0)
        values = 100 * part["success"]
        each = f"{len(values)}: {values.min():.1f} to {values.max():.1f}"
        cells = [f"`{scheme}`", f"{100 * band.estimate:.1f} [{100 * low:.1f}, {100 * high:.1f}]", each]
        middle = f"{100 * interquartile_mean_interval(part['area'].to_numpy()).estimate:.1f}"
        if place:
            cells += [_points(final, place - 1), _p(final.p_differs[place - 1]), _p(final.p_equal[place - 1])]
            cells += [final.verdict[place - 1], middle, _points(area, place - 1), area.verdict[place - 1]]
        else:
            cells += ["", "", "", "", middle, "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    spread = f"Seeds spread by {100 * final.spread:.1f} points (final) and {100 * area.spread:.1f} (area)"
    pairs = [name for name, test in (("final", final), ("area", area)) if test.paired]
    return "\n".join(lines) + f"\n\n{spread}{'; paired by seed: ' + ', '.join(pairs) if pairs else ''}.\n"


def _points(tests: SeedTests, place: int) -> str:
    low, high = 100 * tests.low[place], 100 * tests.high[place]
    return f"{100 * tests.difference[place]:+.1f} [{low:+.1f}, {high:+.1f}]"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def draw(panels: list[tuple[str, list[str], SeedTests, SeedTests]], path: Path) -> None:
    """Draw the differences from the baseline with their intervals, a panel a sweep, and the margin as a band."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    most = max(len(schemes) for _, schemes, _, _ in panels)
    figure, axes = plt.subplots(1, len(panels), figsize=(4.3 * len(panels), 0.5 * most + 1.6), squeeze=False)
    for axis, (title, schemes, final, area) in zip(axes[0], panels, strict=True):
        axis.axvspan(-100 * MARGIN, 100 * MARGIN, color="#eeeeee", zorder=0)
        axis.axvline(0, color="#999999", linewidth=0.8)
        for tests, offset, colour, label in (
            (final, 0.13, "C0", "final success"),
            (area, -0.13, "C1", "area under the curve"),
        ):
            places = len(schemes) - 1 - np.arange(len(schemes)) + offset
            axis.hlines(places, 100 * tests.low, 100 * tests.high, color=colour, linewidth=1.4)
            axis.plot(100 * tests.difference, places, "o", color=colour, markersize=4, label=label)
        axis.set_yticks(range(len(schemes)), schemes[::-1])
        axis.set_ylim(-0.6, len(schemes) - 0.4)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"points from {BASELINE}")
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
