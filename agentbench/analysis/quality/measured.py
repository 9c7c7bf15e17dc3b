"""What is measured for ``agentbench quality``, and all that is written of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from agentbench.analysis.quality.sample import RUN_ANCHORS, run_sample
from agentbench.analysis.quality.sweeps import SWEEPS, sweep
from agentbench.analysis.quality.table import Quality, sheets
from agentbench.analysis.quality.tabular import problem_sample
from agentbench.analysis.quality.trees import Shape, tree_sample
from agentbench.analysis.truth.problems import make_problem
from envs.base.files import write_text


def measure_runs(
    found: Quality,
    folders: Iterable[Path],
    schemes: Sequence[str],
    sizes: Sequence[int],
    columns: Path | None = None,
) -> None:
    """Measure schemes on stored runs with their truth.

    Args:
        found: gets the rows.
        folders: of the runs.
        schemes: names.
        sizes: group sizes; none for the run's own.
        columns: a file whose columns are measured beside the schemes; of one run's steps.
    """
    for folder in folders:
        for size in sizes or (None,):
            found.add(run_sample(folder, size, columns=columns), schemes)


def measure_problems(
    found: Quality, problems: Iterable[str], schemes: Sequence[str], sizes: Sequence[int], groups: int, seed: int
) -> None:
    """Measure schemes on tabular problems.

    Args:
        found: gets the rows.
        problems, schemes: names.
        sizes: group sizes.
        groups: number of groups of each.
        seed: of all draws.
    """
    for name in problems:
        for size in sizes:
            found.add(problem_sample(make_problem(name), size, groups, seed), schemes)


TREES = {
    "tree_grpo": Shape(),
    "spo": Shape(),
    "pivot_retry": Shape(trees=5, rounds=1, choice="pivot"),
}
"""Schemes that read trees, and how their groups grow: for about as many steps as 8 episodes from the start take."""


def measure_trees(found: Quality, problems: Iterable[str], groups: int, seed: int) -> None:
    """Measure the schemes that read trees (:data:`TREES`) on tabular problems that are played so.

    Args:
        found: gets the rows, as the setting ``trees``.
        problems: names.
        groups: number of groups of each.
        seed: of all draws.
    """
    for name in problems:
        for shape in dict.fromkeys(TREES.values()):
            schemes = [scheme for scheme, own in TREES.items() if own == shape]
            found.add(tree_sample(make_problem(name), shape, groups, seed), schemes, setting="trees", value=str(shape))


def measure_anchors(found: Quality, folder: Path, schemes: Sequence[str]) -> None:
    """Measure schemes on a stored run with its truth, under every anchor (:data:`RUN_ANCHORS`)."""
    for anchor in RUN_ANCHORS:
        found.add(run_sample(folder, anchor=anchor), schemes, setting=f"anchor, {folder.name}", value=anchor)


def measure_sweeps(found: Quality, schemes: Sequence[str], groups: int, seed: int) -> None:
    """Measure schemes along every sweep (:data:`agentbench.analysis.quality.sweeps.SWEEPS`)."""
    for name in SWEEPS:
        for value, make in sweep(name):
            found.add(make(groups, seed), schemes, setting=name, value=value)


def write_all(found: Quality, folder: Path) -> None:
    """Write ``quality.csv``, ``quality.json``, ``quality.md`` and the pictures into a folder."""
    from agentbench.analysis.quality.plots import draw_quality, draw_sweeps

    found.write(folder)
    frame, main = found.frame(), found.main()
    if len(main):
        write_text(folder / "quality.md", "\n\n".join(sheet.markdown() for sheet in sheets(main)) + "\n")
        draw_quality(main[main["group_size"] == main["group_size"].max()], folder / "quality.png")
    if len(frame) > len(main):
        draw_sweeps(frame[frame["setting"] != ""], folder / "quality-sweeps.png")
