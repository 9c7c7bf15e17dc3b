"""What the credit commands print: tables as aligned text or as Markdown, made of the same rows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from agentbench.analysis.advantages import RunCredit
from credit import health
from credit.grouping import Groups
from credit.tools.agreement import Agreement, largest_differences, scaled


@dataclass(frozen=True)
class Sheet:
    """A table to print: its title, its columns, its rows; the first column is aligned left."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """The table as aligned text."""
        lines = [list(map(str, self.columns)), *map(list, self.rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        aligned = [
            "  ".join(
                cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in enumerate(cells)
            )
            for cells in ([*zip(line, widths, strict=True)] for line in lines)
        ]
        return "\n".join([self.title, *(line.rstrip() for line in aligned)])

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [" | ".join(map(str, self.columns)), " | ".join([":--"] + ["--:"] * (len(self.columns) - 1))]
        lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in self.rows]
        return f"**{self.title}**\n\n" + "\n".join(f"| {line} |" for line in lines)


def health_sheet(run: RunCredit) -> Sheet:
    """Health counters of every scheme."""
    rows = []
    for name, values in run.values.items():
        one = health(name, run.steps, values)
        rows.append(
            [
                name, f"{one.zero_share:.1%}", f"{one.singleton_share:.1%}", f"{one.mean_group_size:.1f}",
                f"{one.positive_on_failure:.1%}", f"{one.equal_groups} of {one.groups}", f"{one.largest:.3g}",
            ]
        )  # fmt: skip
    columns = ["scheme", "zero", "alone", "group size", "positive on failure", "equal groups", "largest"]
    return Sheet("health (shares of the steps)", columns, rows)


def no_credit_note(run: RunCredit) -> str:
    """Say which schemes give no credit at all and why, and how many tasks have nothing to compare; else empty."""
    silent = [name for name, values in run.values.items() if not values.any()]
    earned = run.table.assign(reward=run.steps.reward).groupby(["group", "episode"])["reward"].sum().groupby("group")
    alone, tasks = int((earned.size() == 1).sum()), earned.ngroups
    if silent:
        who = "No scheme gives" if len(silent) == len(run.values) else f"{', '.join(silent)}: gives no step"
        if alone == tasks:
            return (
                f"{who} any credit: schemes compare the episodes of one task, and every task has one episode. "
                "Play several (eval --trials 8), or import logs with several."
            )
        if earned.nunique().max() == 1:
            return f"{who} any credit: the episodes of a task all earned the same."
    if alone and run.values:
        return (
            f"{alone} of {tasks} tasks have one episode: schemes that compare the episodes of one task have nothing to "
            "compare there. Play several (eval --trials 8), or import logs with several."
        )
    return ""


def agreement_sheets(found: Agreement) -> list[Sheet]:
    """Facts of each scheme, and the agreement of every two, in percent."""
    numbers = [str(place + 1) for place in range(len(found.names))]
    facts = [
        [f"{number} {name}", f"{zero:.1%}", f"{positive:.1%}", f"{spread:.3g}"]
        for number, name, zero, positive, spread in zip(
            numbers, found.names, found.zero_share, found.positive_share, found.spread, strict=True
        )
    ]
    below = np.tril(np.ones_like(found.pearson, dtype=bool), k=-1)
    correlation = np.where(below, found.pearson, found.spearman)
    np.fill_diagonal(correlation, np.nan)
    same_sign = np.where(below, found.same_sign, np.nan)

    def matrix(title: str, values: np.ndarray, dot: str) -> Sheet:
        rows = [
            [f"{number} {name}", *(dot if np.isnan(value) else f"{100 * value:.0f}" for value in line)]
            for number, name, line in zip(numbers, found.names, values, strict=True)
        ]
        return Sheet(title, ["scheme", *numbers], rows)

    return [
        Sheet(
            "share of zero and of positive advantages, and standard deviation", ["scheme", "zero", "> 0", "std"], facts
        ),
        matrix("correlation in %: Pearson below the diagonal, Spearman above", correlation, "·"),
        matrix("equal sign in %, of the steps to which both give credit", same_sign, ""),
    ]


def difference_lines(run: RunCredit, count: int) -> list[str]:
    """Describe the steps on which the schemes differ most: where they are, what was done, and who says what."""
    steps = run.steps
    if len(run.values) < 2 or steps.state is None or steps.action is None:
        return []
    situation = Groups.by(steps.group, steps.state, steps.action).code
    values, names = scaled(run.values), list(run.values)
    lines = []
    for row in largest_differences(run.values, count, distinct=[situation]):
        facts = run.table.iloc[int(row)]
        order = np.argsort(-values[:, row], kind="stable")
        highest = ", ".join(f"{names[place]} {values[place, row]:+.2f}" for place in order[:3])
        lowest = ", ".join(f"{names[place]} {values[place, row]:+.2f}" for place in order[:-4:-1])
        lines += [
            f"{facts['group']}, trial {facts['trial']}, step {facts['step']}: {_short(facts, 'action', 100)}",
            f"    seen: {_short(facts, 'observation', 160)}",
            f"    highest: {highest}   lowest: {lowest}",
        ]
    return lines


def _short(facts: pd.Series, column: str, letters: int) -> str:
    return textwrap.shorten(" ".join(str(facts[column]).split()), letters, placeholder=" …")
