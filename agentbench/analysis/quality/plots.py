"""Pictures of the quality table: every scheme at one setting, and chosen schemes along the sweeps."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from envs.base.files import replaced
from envs.base.safe_text import printable

PANELS = {"pearson": "correlation with the truth, all steps", "cosine": "cosine of the expected gradient",
          "cosine_group": "cosine of one group's gradient"}  # fmt: skip
LINES = ("exact", "grpo", "gigpo", "hgpo", "salt", "mapo", "graph_value", "turn_ppo")
"""Rows that are drawn along the sweeps."""
SAMPLE_COLOURS = ("#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#e08214", "#17becf", "#8c564b", "#777777")
COLOURS = ("#000000", "#777777", "#1f77b4", "#2ca02c", "#d62728", "#9467bd", "#e08214", "#17becf")


def draw_quality(frame: pd.DataFrame, path: Path) -> None:
    """Draw every scheme of each sample, with intervals.

    Args:
        frame: the quality table without sweeps, one group size.
        path: a picture to write (.png, .svg, .pdf).
    """
    samples, schemes = list(dict.fromkeys(frame["sample"])), list(dict.fromkeys(frame["scheme"]))
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 0.34 * len(schemes) + 1.8), sharey=True)
    offsets = np.linspace(0.28, -0.28, len(samples)) if len(samples) > 1 else [0.0]
    for axis, (name, title) in zip(axes, PANELS.items(), strict=True):
        for sample, offset, colour in zip(samples, offsets, SAMPLE_COLOURS * len(samples), strict=False):
            part = frame[frame["sample"] == sample].set_index("scheme").reindex(schemes)
            places = len(schemes) - 1 - np.arange(len(schemes)) + offset
            middle = part[name].to_numpy(dtype=float)
            ends = part[[f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
            axis.plot(middle, places, "o", color=colour, markersize=3.5, label=printable(sample).replace("$", r"\$"))
            axis.hlines(places, ends[:, 0], ends[:, 1], color=colour, linewidth=1.2)
        axis.set_title(title, fontsize=10)
        axis.axvline(0, color="#bbbbbb", linewidth=0.8)
        axis.grid(axis="x", color="#eeeeee")
        axis.set_ylim(-0.7, len(schemes) - 0.3)
        axis.spines[["top", "right"]].set_visible(False)
        for place in range(1, len(schemes), 2):
            axis.axhspan(place - 0.5, place + 0.5, color="#f6f6f6", zorder=0)
    axes[0].set_yticks(range(len(schemes)), reversed(schemes), fontsize=8.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(samples), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    _save(figure, path)


def draw_sweeps(frame: pd.DataFrame, path: Path, measure: str = "cosine_group") -> None:
    """Draw one measure of :data:`LINES` along every sweep, with intervals.

    Args:
        frame: the rows of the quality table that have a ``setting``.
        path: a picture to write.
        measure: which one.
    """
    names = list(dict.fromkeys(frame["setting"]))
    columns = min(4, len(names) + 1)
    rows = -(-(len(names) + 1) // columns)  # one place is for the legend
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 3 * rows), sharey=True, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        _draw_sweep(axis, frame[frame["setting"] == name], measure)
        axis.set_title(name, fontsize=10)
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for row in axes:
        row[0].set_ylabel(PANELS.get(measure, measure), fontsize=8.5)
    axes.flat[len(names)].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", frameon=False, fontsize=9)
    figure.tight_layout()
    _save(figure, path)


def _draw_sweep(axis: Axes, part: pd.DataFrame, measure: str) -> None:
    values = list(dict.fromkeys(part["value"]))
    places = range(len(values))
    for scheme, colour in zip(LINES, COLOURS, strict=True):
        line = part[part["scheme"] == scheme].set_index("value").reindex(values)
        if line[measure].notna().any():
            axis.plot(places, line[measure], "o-", color=colour, markersize=3, linewidth=1.3, label=scheme)
            low, high = (line[f"{measure}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
            axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.set_xticks(places, [_SHORT.get(value, value) if isinstance(value, str) else f"{value:g}" for value in values])
    axis.grid(color="#eeeeee")
    axis.spines[["top", "right"]].set_visible(False)


_SHORT = {"observation": "text", "similarity": "similar", "merged-2": "by 2", "merged-4": "by 4"}
"""Names of anchors, where they are long."""


def _save(figure: Figure, path: Path) -> None:
    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=130, format=path.suffix[1:])
    plt.close(figure)
