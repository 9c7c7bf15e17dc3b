"""Collect what the page shows: an index that is small, and the steps in chunks that are read when needed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from agentbench.analysis import SHOWN_SCHEMES
from agentbench.report.curves import METRICS, Row
from agentbench.report.quality import quality_plots
from agentbench.report.runs import ReportRun, read_runs
from agentbench.report.steps import StepBook, deflated, make_book
from agentbench.report.sweeps import Sweep, read_sweeps, run_folders
from agentbench.report.tables import result_tables
from agentbench.runs.notes import expected_episodes, run_notes

if TYPE_CHECKING:
    import pandas as pd

    from agentbench.report.tables import Table

MARGIN_OF_LEVELS = 0.05
"""A performance profile is drawn from this much below the levels that some runs of a scheme miss to this much above."""


@dataclass(frozen=True)
class Report:
    """Everything on a page.

    Attributes:
        index: plain data for JSON: runs with their episodes, tables, curves, notes.
        books: the steps of each run by the number of the run; None for a run without episodes.
    """

    index: dict[str, Any]
    books: list[StepBook | None]

    def chunk_names(self) -> list[tuple[int, int]]:
        """Number of run and chunk, for every chunk."""
        return [(run, chunk) for run, book in enumerate(self.books) if book for chunk in range(book.chunks)]

    def pack(self, run: int, chunk: int) -> str:
        """Return a chunk of a run, packed (see :mod:`agentbench.report.steps`); KeyError if there is none."""
        book = self.books[run] if 0 <= run < len(self.books) else None
        if book is None or not 0 <= chunk < book.chunks:
            raise KeyError((run, chunk))
        return book.pack(chunk)

    def packed(self) -> Iterator[tuple[str, str]]:
        """Yield every chunk under its name (``<run>-<chunk>``), packed; one is deflated while the next is made."""
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[tuple[str, Future[str]]] = deque()
            for run, chunk in self.chunk_names():
                book = self.books[run]
                assert book is not None
                waiting.append((f"{run}-{chunk}", pool.submit(deflated, book.text(chunk))))
                if len(waiting) > 2:
                    name, made = waiting.popleft()
                    yield name, made.result()
            while waiting:
                name, made = waiting.popleft()
                yield name, made.result()


def make_report(folders: Sequence[Path], schemes: Sequence[str] = SHOWN_SCHEMES, title: str = "agentbench") -> Report:
    """Read runs and compute what their page shows.

    Args:
        folders: of runs, finished or not, and of sweeps, which stand for their runs; the first run on a set of tasks is
            what the others are compared with.
        schemes: credit schemes to show beside the steps.
        title: of the page.

    Raises:
        UserError: no run in a folder, or a damaged one.
    """
    sweeps = read_sweeps(folders)
    runs = read_runs(run_folders(folders))
    tables, notes = result_tables(runs)
    books = [make_book(run, schemes) if run.episodes is not None else None for run in runs]
    of_sweep = {sweep.folder: sweep.name for sweep in sweeps}
    curves, quality = (cast(Any, tables.get(name)) for name in ("curves", "quality"))
    index = {
        "title": title,
        "runs": [
            _described(run, book) | {"sweep": of_sweep.get(run.run.folder.resolve().parent)}
            for run, book in zip(runs, books, strict=True)
        ],
        "tables": {name: as_table(table) for name, table in tables.items() if name != "curves"},
        "curves": _curves(curves or []),
        "quality_plots": quality_plots(quality),
        "sweeps": [_compared(sweep) for sweep in sweeps],
        "notes": [*notes, *_stated(runs)],
    }
    return Report(index, books)


def _stated(runs: Sequence[ReportRun]) -> list[str]:
    """What each run's record says that a reader must know; that one is unfinished, the page says by itself."""
    several = len(runs) > 1
    return [
        f"{run.name}: {text}" if several else text
        for run in runs
        for kind, text in run_notes(run.run)
        if kind != "not finished"
    ]


def as_table(table: Table) -> dict[str, Any]:
    """Return a table as ``{"keys": names of columns, "rows": lists of plain values}``; NaN becomes None."""
    if isinstance(table, list):
        keys, rows = list(table[0]), [list(row.values()) for row in table]
    else:
        keys, rows = [str(name) for name in table.columns], table.astype(object).to_numpy().tolist()
    return {"keys": keys, "rows": [[_plain(value) for value in row] for row in rows]}


def _described(run: ReportRun, book: StepBook | None) -> dict[str, Any]:
    identity = run.identity
    facts: dict[str, Any] = {
        "name": run.name,
        "kind": _plain(run.run.config.get("kind", "run")),
        **{name: _plain(identity.get(name)) for name in ("env", "split", "policy", "scheme")},
        "started": _plain(run.run.config.get("started")),
        "settings": sorted([key, _setting(value)] for key, value in identity.items()),
        "versions": sorted([key, _setting(value)] for key, value in run.run.config.get("versions", {}).items()),
        "expected": expected_episodes(run.run),
        "training_steps": run.metrics[-1]["step"] if run.metrics else None,
    }
    return facts | (_played(book) if book else {})


def _played(book: StepBook) -> dict[str, Any]:
    """The episodes of a run column by column, and its tasks."""
    episodes = book.episodes
    first = {task_id: row for row, task_id in reversed(list(enumerate(episodes["task_id"])))}
    rows = sorted(first.values())
    place = {episodes["task_id"][row]: number for number, row in enumerate(rows)}
    about = [episodes[name][rows] for name in ("task_id", "task_name", "task_type", "instruction")]
    columns = ["trial", "outcome", "score", "steps", "total_reward", "invalid_actions"]
    return {
        "schemes": [{"name": name, "scale": _plain(scale)} for name, scale in book.scale.items()],
        "skipped": sorted(book.skipped.items()),
        "tasks": [[_plain(value) for value in row] for row in zip(*about, strict=True)],
        "episodes": {
            "task": [place[task_id] for task_id in episodes["task_id"]],
            "chunk": book.chunk_of.tolist(),
            **{name: [_plain(value) for value in episodes[name]] for name in columns},
        },
    }


def _curves(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One chart a metric: its lines with the training step, estimate, low and high of every point."""
    charts: list[dict[str, Any]] = []
    for metric, title in METRICS.items():
        lines: dict[str, list[Row]] = {}
        for row in rows:
            if row["metric"] == metric:
                lines.setdefault(row["line"], []).append(row)
        if lines:
            drawn = [{"label": line, "seeds": part[0]["seeds"], **_points(part)} for line, part in lines.items()]
            charts.append({"metric": metric, "title": title, "lines": drawn})
    return charts


def _points(part: Sequence[Row]) -> dict[str, list[Any]]:
    return {name: [_plain(row[name]) for row in part] for name in ("step", "estimate", "low", "high")}


def _compared(sweep: Sweep) -> dict[str, Any]:
    """A sweep: what was named first, its tables, and the performance profiles as a chart."""
    record, profiles = sweep.record, sweep.tables.get("profiles")
    return {
        "name": sweep.name,
        "facts": [[key, _setting(value)] for key, value in sweep.plan()],
        "measure": record.measure,
        "primary_measures": record.primary_measures,
        "notes": sweep.notes,
        "tables": {name: as_table(table) for name, table in sweep.tables.items() if name != "profiles"},
        "profile": None if profiles is None else _profile_chart(sweep, profiles),
    }


def _profile_chart(sweep: Sweep, profiles: pd.DataFrame) -> dict[str, Any]:
    """Share of each scheme's runs that reach a level, over the levels."""
    seeds = sweep.tables["runs"]["scheme"].value_counts()
    telling = profiles.loc[profiles["share"].between(0, 1, inclusive="neither"), "level"]
    if len(telling):
        ends = telling.min() - MARGIN_OF_LEVELS, telling.max() + MARGIN_OF_LEVELS
        profiles = profiles[profiles["level"].between(*ends)]
    lines = [
        {"label": str(scheme), "seeds": int(seeds[scheme]), "step": [_plain(value) for value in part["level"]]}
        | {"estimate": [_plain(value) for value in part["share"]]}
        | {name: [_plain(value) for value in part[name]] for name in ("low", "high")}
        for scheme, part in profiles.groupby("scheme", sort=False)
    ]
    what = "final success rate" if sweep.record.measure == "success" else f"final {sweep.record.measure}"
    return {"metric": "share", "title": "Performance profile: share of runs that reach it", "x": what, "lines": lines}


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it: no NaN, no numpy types, floats with at most seven significant digits."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return None if value is None or type(value).__name__ == "NAType" else str(value)  # pandas.NA, if there is pandas
