"""Learning curves and performance profiles: success on held-out tasks, one band a group of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from agentbench.evaluation.views import COLOURS
from agentbench.statistics.robust import interquartile_mean_interval
from envs.base.files import replaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_COLOURS = (*COLOURS, "#999999")


def draw_curve(
    runs: Mapping[str, Sequence[Sequence[dict[str, Any]]]],
    path: Path,
    measure: str = "success",
    used: Callable[[Sequence[dict[str, Any]]], Sequence[float]] | None = None,
) -> None:
    """Draw the success rate, or the score, of each run's metrics; several runs under one name become a mean and a band.

    The line is the interquartile mean over seeds, the band its 95 % interval (Agarwal et al. 2021); a
    single run is drawn as it is, held-out points only, and the label says how many seeds there are.

    Args:
        runs: for each name the metrics of its runs, a list of dictionaries a run.
        path: PNG, SVG or PDF.
        measure: ``success`` or ``score``.
        used: gives for the rows of a run the environment steps that it had taken by each; the curves are then drawn
            over these, of several seeds over their mean. None: over training steps.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for number, (name, seeds) in enumerate(runs.items()):
        held_out = f"eval/{measure}"
        key = held_out if any(held_out in row for rows in seeds for row in rows) else measure
        series = [{row["step"]: row[key] for row in rows if key in row} for rows in seeds]
        steps = sorted(set.intersection(*(set(each) for each in series))) if series else []
        if not steps:
            continue
        values = np.array([[each[step] for step in steps] for each in series])
        places = steps if used is None else _mean_used(seeds, steps, used)
        colour = _COLOURS[number % len(_COLOURS)]
        if len(series) == 1:
            axes.plot(places, values[0], color=colour, marker=".", label=f"{name} (1 seed)")
            continue
        bands = [interquartile_mean_interval(values[:, place]) for place in range(len(steps))]
        axes.plot(places, [band.estimate for band in bands], color=colour, label=f"{name} ({len(series)} seeds)")
        low, high = [max(band.low, 0.0) for band in bands], [min(band.high, 1.0) for band in bands]
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("training step" if used is None else "environment steps")
    if used is not None:
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("success rate" if measure == "success" else f"mean {measure}")
    axes.set_ylim(0, 1)
    if axes.lines:
        axes.legend(frameon=False, loc="best")
    _save(figure, axes, path)


def _mean_used(
    seeds: Sequence[Sequence[dict[str, Any]]],
    steps: Sequence[int],
    used: Callable[[Sequence[dict[str, Any]]], Sequence[float]],
) -> list[float]:
    """Return the environment steps that the runs had taken on average by each of some training steps."""
    by_step = [dict(zip((row["step"] for row in rows), used(rows), strict=True)) for rows in seeds]
    return [float(np.mean([each[step] for each in by_step])) for step in steps]


def draw_profiles(profiles: pd.DataFrame, path: Path, measure: str = "success") -> None:
    """Draw what share of a scheme's runs reaches each level at the end (Agarwal et al. 2021, section 4.2).

    Args:
        profiles: columns ``scheme, level, share``, levels and shares from 0 to 1.
        path: PNG, SVG or PDF.
        measure: ``success`` or ``score``.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for number, (name, part) in enumerate(profiles.groupby("scheme", sort=False)):
        axes.step(part["level"], part["share"], where="pre", color=_COLOURS[number % len(_COLOURS)], label=str(name))
    axes.set_xlabel(f"final {'success rate' if measure == 'success' else measure}")
    axes.set_ylabel("share of runs that reach it")
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="best")
    _save(figure, axes, path)


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    from matplotlib import pyplot as plt

    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=130, format=path.suffix.lstrip(".") or "png")
    plt.close(figure)
