"""Show summaries of runs: as tables in the terminal, and as a picture of the success rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.base.errors import UserError
from envs.base.safe_text import printable
from envs.base.terminal import make_table, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Group
    from rich.table import Table

    from agentbench.evaluation.answers import Answers
    from agentbench.evaluation.summary import Summary

# Okabe and Ito's colours, which stay apart for the colour-blind; the markers distinguish runs without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_REASONS = 10  # shown by name, the commonest first
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")


def render(summary: Summary, *, title: str = "", answers: Answers | None = None) -> Group:
    """Return a summary as tables for ``rich.print``: rates in percent, with intervals.

    Scores have a column of their own where they say something else than the successes do. Runs of several trials a
    task get a second table, pass@k and pass^k of all tasks together.

    Args:
        summary: of one run.
        title: shown above the first table.
        answers: of the same run: a column for answers that broke the format beside the actions that the environment
            did not understand, a table of the reasons, and lines on loops and tokens.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [_rates_table(summary, title, answers), ""]
    if summary.pass_rows:
        parts += [_passes_table(summary), ""]
    overall = summary.rows[0]
    if overall["errors"]:
        note = (
            f"{overall['errors']} of {overall['episodes']} episodes ended in an error of the infrastructure and are "
            f"not scored: the success rate would be {overall['worst_rate']:.1%} were they all failures, "
            f"{overall['best_rate']:.1%} were they all successes."
        )
        parts.append(Text(note, style="yellow"))
    if answers is not None:
        parts += _answer_parts(answers)
    return Group(*parts)


def _rates_table(summary: Summary, title: str, answers: Answers | None) -> Table:
    scores = any(abs(row["mean_score"] - row["success_rate"]) > 1e-12 for row in summary.rows)
    level = f"[{summary.confidence * 100:g} %]"
    headings = ["tasks", "errors", f"success % {level}"]
    headings += [f"score % {level}"] if scores else []
    tallies = answers.by_type if answers is not None and answers.overall.answers else {}
    headings += ["steps", "invalid", *(["broke format"] if tallies else [])]
    table = make_table(["task type"], headings, title=title)
    for index, row in enumerate(summary.rows):
        cells = [str(row["task_type"]), str(row["tasks"]), str(row["errors"])]
        cells.append(_with_interval(row, "success_rate", "success"))
        cells += [_with_interval(row, "mean_score", "score")] if scores else []
        cells += [_number(row["mean_steps"], "{:.1f}"), _number(row["invalid_action_share"], "{:.1%}")]
        if tallies:
            tally = tallies.get(str(row["task_type"]))
            cells.append(f"{tally.invalid / tally.answers:.1%}" if tally and tally.answers else "–")
        _add(table, cells, bold=index == 0)
    return table


def _answer_parts(answers: Answers) -> list[Any]:
    """The reasons why answers broke the format, and what else the answers were like."""
    tally, parts = answers.overall, []
    if answers.reasons:
        table = make_table(["why answers broke the format"], ["answers", "share"])
        shown = answers.reasons.most_common(_REASONS)
        for reason, count in shown:
            _add(table, [reason, str(count), f"{count / tally.answers:.1%}"], bold=False)
        if others := answers.reasons.total() - sum(count for _, count in shown):
            _add(table, ["other reasons", str(others), f"{others / tally.answers:.1%}"], bold=False)
        parts += [table, ""]
    if tally.loops:
        share = f"loops: {tally.loops} of {tally.episodes} episodes ({tally.loops / tally.episodes:.1%})"
        parts.append(plain(f"{share} repeat one action on the same observation three times or more"))
    if tally.cut:
        parts.append(plain(f"cut: {tally.cut} of {tally.answers} answers ran into the longest length"))
    if answers.tokens.total():
        said = f"tokens: {answers.tokens['prompt_tokens']:,} of prompts"
        said += f" ({cached:,} from the cache)" if (cached := answers.tokens["cached_tokens"]) else ""
        parts.append(plain(f"{said}, {answers.tokens['answer_tokens']:,} of answers"))
    if answers.models:
        names = ", ".join(f"{name} ({count})" for name, count in answers.models.most_common(3))
        parts.append(plain(f"answered by: {names}"))
    return parts


def _passes_table(summary: Summary) -> Table:
    """All tasks together; at most the powers of two and the largest k."""
    level = f"[{summary.confidence * 100:g} %]"
    table = make_table(["k"], ["tasks", f"pass@k: one of k succeeds % {level}", f"pass^k: all k succeed % {level}"])
    overall = [row for row in summary.pass_rows if row["task_type"] == summary.rows[0]["task_type"]]
    most = max(row["k"] for row in overall)
    for row in overall:
        k = row["k"]
        if most <= 8 or k == most or k & (k - 1) == 0:
            ends = [_with_interval(row, name, name) for name in ("pass_at_k", "pass_hat_k")]
            _add(table, [str(k), str(row["tasks"]), *ends], bold=False)
    return table


def _add(table: Table, cells: list[str], *, bold: bool) -> None:
    table.add_row(*map(plain, cells), style="bold" if bold else None)


def _with_interval(row: Mapping[Any, Any], estimate: str, ends: str) -> str:
    low, high = (f"{100 * row[f'{ends}_{end}']:.1f}" for end in ("low", "high"))
    return f"{_number(100 * row[estimate], '{:.1f}')} [{low}, {high}]"


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else form.format(value)


def plot_summaries(summaries: Mapping[str, Summary], path: str | Path) -> None:
    """Draw the success rates with their intervals, a row a task type, runs side by side.

    Args:
        summaries: the runs by the name to show; 1 to 7.
        path: picture to write, PNG, SVG or PDF by its suffix; an existing one is replaced.

    Raises:
        UserError: no run or more than 7, or a kind of picture that cannot be written.
    """
    import matplotlib as mpl

    if not 1 <= len(summaries) <= len(COLOURS):
        raise UserError(f"a picture shows 1 to {len(COLOURS)} runs, not {len(summaries)}")
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(f"cannot draw to {path.name}: the name must end in .png, .svg or .pdf")
    with mpl.rc_context({"text.parse_math": False}):  # a name with a dollar sign is no formula
        _draw({printable(name): summary for name, summary in summaries.items()}, path)


def _draw(summaries: Mapping[str, Summary], path: Path) -> None:
    from matplotlib.figure import Figure

    rows = _row_labels(summaries)
    step = 0.6 / len(summaries)
    height = 0.9 + len(rows) * max(0.34, 0.2 * len(summaries)) + 0.22 * (len(summaries) > 1)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.subplots()
    for number, summary in enumerate(summaries.values()):
        offset = (number - (len(summaries) - 1) / 2) * step
        _draw_run(axes, summary, list(rows), offset, number)
    _dress(axes, rows, summaries)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _row_labels(summaries: Mapping[str, Summary]) -> dict[str, str]:
    """Return the label of each task type, overall first; the number of tasks where all runs agree on it."""
    tables = [summary.rates.set_index("task_type")["tasks"] for summary in summaries.values()]
    first = tables[0].index[0]
    others = sorted({kind for table in tables for kind in table.index[1:]})
    labels = {}
    for kind in [first] if len(others) <= 1 else [first, *others]:
        counts = {int(table[kind]) for table in tables if kind in table.index}
        labels[kind] = f"{kind} ({counts.pop()})" if len(counts) == 1 else kind
    return labels


def _draw_run(axes: Axes, summary: Summary, rows: list[str], offset: float, number: int) -> None:
    rates = summary.rates[summary.rates["task_type"].isin(rows)].dropna(subset="success_rate")
    places = [rows.index(kind) + offset for kind in rates["task_type"]]
    rate, low, high = (100 * rates[f"success_{part}"].to_numpy() for part in ("rate", "low", "high"))
    axes.errorbar(
        rate, places, xerr=[rate - low, high - rate], color=COLOURS[number], marker=_MARKERS[number],
        linestyle="none", markersize=5.5, elinewidth=1.6, capsize=0, clip_on=False,
    )  # fmt: skip
    for place, value in zip(places, rate, strict=True):
        # In the margin, where no interval can run through it.
        axes.annotate(
            f"{value:.1f} %", (1.0, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=8, color=COLOURS[number], annotation_clip=False,
        )  # fmt: skip


def _dress(axes: Axes, rows: Mapping[str, str], summaries: Mapping[str, Summary]) -> None:
    axes.set_yticks(range(len(rows)), [printable(label) for label in rows.values()], fontsize=9)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    confidence = {f"{summary.confidence * 100:g} %" for summary in summaries.values()}
    axes.set_xlabel(f"success rate in %, with {' or '.join(sorted(confidence))} interval", fontsize=9)
    axes.tick_params(axis="x", labelsize=9)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    if len(rows) > 1:
        axes.axhline(0.5, color="0.75", linewidth=0.8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if len(summaries) > 1:
        names = list(summaries)
        axes.legend(
            axes.containers, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(3, len(names)),
            frameon=False, fontsize=9, borderaxespad=0.2, handletextpad=0.3,
        )  # fmt: skip
    else:
        axes.set_title(next(iter(summaries)), fontsize=10, loc="left")
