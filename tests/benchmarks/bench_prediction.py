"""Does a scheme's quality at the start predict what it learns? The published cells, table and picture.

    python tests/benchmarks/bench_prediction.py                        # again from the published cells
    python tests/benchmarks/bench_prediction.py --add NAME QUALITY CURVES [--group-size NAME:vineppo=2]

``--add`` joins a ``quality.csv`` (of ``agentbench truth`` with the policy that the sweep began from, then
``agentbench quality``) with what the sweep reached (its ``curves.parquet``, or a CSV file with a row a run), as the
environment NAME; cells of that name are replaced. Several samples in the table, one for each policy that seeds began
from, are averaged. ``--add`` and ``--group-size``, which says where a scheme was trained with smaller groups than it
was measured with, can be given several times. It writes ``prediction.csv`` (the cells) and ``prediction.png``, and puts
the table between the marks of ``prediction.md``, all in ``--output``. The same cells give the same bytes.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pandas as pd
from marked_pages import put_between

from agentbench.analysis.prediction import MEASURES, OUTCOMES, draw_links, find_links, make_cells, read_outcomes
from agentbench.statistics.ranks import rank_power
from envs.base.errors import UserError
from envs.base.files import replaced

CELLS, PICTURE, PAGE = "prediction.csv", "prediction.png", "prediction.md"
LINKS = (0.5, 0.7, 0.9)
"""Strengths of a link whose chance of being found is said."""
GIVEN_VALUES = ("gae", "vineppo")
"""Schemes that learn from measured values, whose price no measure of quality knows."""


def main() -> None:
    """Add cells, if there are any to add, and write what they say."""
    parser = argparse.ArgumentParser(description="does a scheme's quality at the start predict what it learns?")
    parser.add_argument("--add", nargs=3, action="append", default=[], metavar=("NAME", "QUALITY", "CURVES"))
    parser.add_argument("--group-size", action="append", default=[], metavar="NAME:SCHEME=SIZE")
    parser.add_argument("--remove", action="append", default=[], metavar="NAME", help="an environment's cells")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "results" / "published")
    arguments = parser.parse_args()
    sizes = [re.fullmatch(r"(.+):(\w+)=(\d+)", each) for each in arguments.group_size]
    if None in sizes:
        parser.error("--group-size takes NAME:SCHEME=SIZE, as in houses:vineppo=2")
    path = arguments.output / CELLS
    parts = [pd.read_csv(path)] if path.exists() else []
    for name, quality, curves in arguments.add:
        own = {found[2]: int(found[3]) for found in sizes if found and found[1] == name}
        cells = make_cells(name, pd.read_csv(quality), read_outcomes(Path(curves), name), own)
        parts = [part[part["environment"] != name] for part in parts] + [cells]
    if not parts:
        raise SystemExit(f"{path} is not there: give --add NAME QUALITY CURVES")
    cells = pd.concat([part for part in parts if len(part)], ignore_index=True)
    cells = cells[~cells["environment"].isin(arguments.remove)].astype({"group_size": "Int64"})
    with replaced(path) as temporary:
        cells.to_csv(temporary, index=False, float_format="%.6g")
    cells = pd.read_csv(path)  # so that what is drawn now is what is drawn from the file
    links = find_links(cells)
    draw_links(cells, links, arguments.output / PICTURE)
    text = "\n".join([table(links), power(cells, links), without(cells)])
    print(text)
    put_between(arguments.output / PAGE, "links", text)


def table(links: pd.DataFrame) -> str:
    """The links as a table in Markdown."""
    names = [name for name in links if str(name).startswith("in ")]
    own = " | ".join(map(str, names))
    lines = [
        f"| outcome | measure | cells | ρ [95 %] | p | p, {len(MEASURES)} measures | {own} | not aligned |",
        f"|:--|:--|--:|--:|--:|--:|{'--:|' * len(names)}--:|",
    ]
    for row in links.to_dict("records"):
        if not np.isfinite(row["rho"]):
            lines.append(
                f"| {OUTCOMES[row['outcome']]} | `{row['measure']}` | {row['cells']} |" + " · |" * (4 + len(names))
            )
            continue
        interval = f"{row['rho']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        own = " | ".join(f"{row[name]:+.2f}" if np.isfinite(row[name]) else "·" for name in names)
        lines.append(
            f"| {OUTCOMES[row['outcome']]} | `{row['measure']}` | {row['cells']} | {interval} | {row['p']:.3f} | "
            f"{row['p_holm']:.3f} | {own} | {row['plain']:+.2f} |"
        )
    return "\n".join(lines) + "\n"


def power(cells: pd.DataFrame, links: pd.DataFrame) -> str:
    """How strong a link these cells could have shown, a sentence for each outcome."""
    found = []
    for outcome, name in OUTCOMES.items():
        if not links.loc[links["outcome"] == outcome, "cells"].max():
            continue
        known = cells[np.isfinite(cells[outcome]) & np.isfinite(cells["pearson"])]
        sizes = [int(size) for size in known.groupby("environment", sort=False).size() if size > 1]
        chances = ", ".join(f"{rank_power(link, sizes):.0%} one of {link:g}" for link in LINKS)
        found.append(
            f"- {name[0].upper()}{name[1:]}: {sum(sizes)} cells in {len(sizes)} environments, where the test "
            f"of one measure finds with a chance of {chances}."
        )
    return "\n".join(found)


def without(cells: pd.DataFrame) -> str:
    """The links without the schemes that are given measured values, a line an outcome."""
    links = find_links(cells[~cells["scheme"].isin(GIVEN_VALUES)])
    found = []
    for outcome, part in links[np.isfinite(links["rho"])].groupby("outcome", sort=False):
        each = [f"`{row['measure']}` {row['rho']:+.2f} (p {row['p']:.2f})" for row in part.to_dict("records")]
        names = " and ".join(f"`{name}`" for name in GIVEN_VALUES)
        found.append(f"- Without {names}, {part['cells'].max()} cells, {OUTCOMES[str(outcome)]}: ρ {', '.join(each)}.")
    return "\n".join(found) + "\n"


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
