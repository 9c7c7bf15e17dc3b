"""Draw the README's picture from the published table: ``python docs/site/truth_picture.py``.

Chosen schemes against the true advantages of every step, on small ALFWorld houses where these are known exactly: how
far a scheme's numbers correlate with the truth, and how near its expected gradient is to the exact one, with 95 %
intervals.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from credit import SCHEMES

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
PATH = PUBLISHED / "schemes-against-truth.png"
SAMPLE, GROUP_SIZE = "alfworld-exact", 8
SHOWN = (
    *(
        "grpo",
        "rloo",
        "reinforce_plus_plus",
        "mapo",
        "gigpo",
        "hgpo",
        "salt",
        "rtmc",
        "tempo",
        "graphgpo",
        "graph_value",
    ),
    *("gae", "turn_ppo", "hiper", "exact", "random"),
)
COLOURS = {"rewards": "#8c6d1f", "rewards and states": "#1f6f8b", "an exact critic": "#b5483a", "reference": "#666666"}
PANELS = {
    "pearson": "correlation with the true advantage of each step",
    "cosine": "cosine of expected and exact gradient",
}


def reads(name: str) -> str:
    """Return what a scheme reads, as the legend has it."""
    if name not in SCHEMES:
        return "reference"
    needs = SCHEMES[name].needs
    if any(column.startswith("value") for column in needs):
        return "an exact critic"
    return "rewards and states" if needs else "rewards"


def main() -> None:
    """Write the picture beside the table."""
    table = pd.read_csv(PUBLISHED / "estimator-quality.csv")
    rows = table[(table["sample"] == SAMPLE) & (table["group_size"] == GROUP_SIZE) & table["setting"].isna()]
    rows = rows.set_index("scheme").loc[list(SHOWN)].sort_values("pearson")
    places, hues = np.arange(len(rows)), [COLOURS[reads(name)] for name in rows.index]
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    for axis, (measure, title) in zip(axes, PANELS.items(), strict=True):
        axis.hlines(places, rows[f"{measure}_low"], rows[f"{measure}_high"], colors=hues, linewidth=2)
        axis.scatter(rows[measure], places, c=hues, s=24, zorder=3)
        axis.set_title(title, fontsize=10)
        axis.axvline(0, color="#bbbbbb", linewidth=0.8)
        axis.grid(axis="x", color="#eeeeee")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(left=False)
        axis.set_xlim(-0.15, 1.05)
    axes[0].set_yticks(places, rows.index, fontsize=9)
    marks = [plt.Line2D([], [], color=hue, marker="o", markersize=4, label=name) for name, hue in COLOURS.items()]
    figure.legend(
        handles=marks, title="the scheme reads", loc="lower center", ncols=len(marks), frameon=False, fontsize=9
    )
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(PATH, dpi=110, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
