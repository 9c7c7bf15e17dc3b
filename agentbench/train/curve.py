"""Learning curves: success on held-out tasks over training steps, one band a group of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agentbench.statistics.robust import interquartile_mean_interval
from envs.base.files import replaced


def draw_curve(runs: Mapping[str, Sequence[Sequence[dict[str, Any]]]], path: Path, measure: str = "success") -> None:
    """Draw the success rate, or the score, of each run's metrics; several runs under one name become a mean and a band.

    The line is the interquartile mean over seeds, the band its 95 % bootstrap interval (Agarwal et al. 2021); a
    single run is drawn as it is, held-out points only, and the label says how many seeds there are.

    Args:
        runs: for each name the metrics of its runs, a list of dictionaries a run.
        path: PNG, SVG or PDF.
        measure: ``success`` or ``score``.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for number, (name, seeds) in enumerate(runs.items()):
        held_out = f"eval/{measure}"
        key = held_out if any(held_out in row for rows in seeds for row in rows) else measure
        series = [{row["step"]: row[key] for row in rows if key in row} for rows in seeds]
        steps = sorted(set.intersection(*(set(each) for each in series))) if series else []
        if not steps:
            continue
        values = np.array([[each[step] for step in steps] for each in series])
        colour = colours[number % len(colours)]
        if len(series) == 1:
            axes.plot(steps, values[0], color=colour, marker=".", label=f"{name} (1 seed)")
            continue
        bands = [interquartile_mean_interval(values[:, place]) for place in range(len(steps))]
        axes.plot(steps, [band.estimate for band in bands], color=colour, label=f"{name} ({len(series)} seeds)")
        low, high = [band.low for band in bands], [band.high for band in bands]
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("training step")
    axes.set_ylabel("success rate" if measure == "success" else f"mean {measure}")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False, loc="best")
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=130, format=path.suffix.lstrip(".") or "png")
    plt.close(figure)
