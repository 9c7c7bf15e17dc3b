"""The one way to the terminal: what others wrote is shown as text, obeyed by nobody, and without secrets.

Commands print with :func:`say` and with the console of :func:`make_console`, and with nothing else.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import typer

from envs.base.errors import UserError
from envs.base.safe_text import printable, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

FIRST_SECONDS, EVERY_SECONDS = 10.0, 30.0
"""When the first line of progress is said where there is no terminal, and how often from then on."""

INTERVAL = "AGENTBENCH_PROGRESS_SECONDS"
"""Environment variable: seconds between lines of progress instead of those; 0: a line for each change; inf: none."""


def say(text: str = "", *, err: bool = False) -> None:
    """Print a text and a line end."""
    typer.echo(shown(text), err=err)


def make_console(*, stderr: bool = False) -> Console:
    """Return a console of rich to which every string is plain text.

    Strings, also those in cells and titles of tables, are neither markup nor names of emoji; styles are given by
    :class:`rich.text.Text` or by ``style=``. Control characters stand as escapes, wherever they come from.
    """
    from rich.console import Console
    from rich.segment import Segment

    class SafeConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(shown(text), **options)

        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    return SafeConsole(stderr=stderr, markup=False, emoji=False, highlight=False)


def make_table(texts: Sequence[str], numbers: Sequence[str] = (), *, title: str = "") -> Table:
    """Return an empty table of rich in the one look that all commands have; :func:`make_console` prints it.

    Args:
        texts: headings of the first columns: texts, at the left, folded where the window is narrow.
        numbers: headings of the other columns, at the right and never folded.
        title: above the table.
    """
    from rich import box
    from rich.table import Table

    named = plain(title, "table.title") if title else None
    table = Table(
        title=named, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left", padding=(0, 1, 0, 0)
    )
    for heading in texts:
        table.add_column(plain(heading), overflow="fold")
    for heading in numbers:
        table.add_column(plain(heading), justify="right", no_wrap=True)
    return table


def plain(text: str, style: str = "") -> Text:
    """Return a text for rich that is shown as it stands, on whichever console."""
    from rich.text import Text

    return Text(shown(text), style)


class SafeFormatter(logging.Formatter):
    """Lines of a log, and the tracebacks below them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text to be shown."""
        return shown(super().format(record))


def show_traceback(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Print the traceback of an unforeseen error (for ``sys.excepthook`` and ``threading.excepthook``)."""
    sys.stderr.write(shown("".join(traceback.format_exception(kind, error, trace))))


# -- progress -----------------------------------------------------------------------------------------------


State = tuple[int, int | None, str]
"""What is done, what there is in all (None: nobody knows), and what else is to be shown."""


class Report(Protocol):
    """Takes in how far a job is."""

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        """Say that ``done`` of ``total`` (None: nobody knows) are done; ``note`` is what else is to be shown."""


@contextmanager
def progress(what: str, unit: str = "episodes") -> Iterator[Report]:
    """Show how far a job is: a bar on a terminal, elsewhere a line every so often.

    There is nothing before the first report, nor after the one with which all is done.

    Args:
        what: the job, in a few words.
        unit: what is counted.
    """
    if not make_console(stderr=True).is_terminal:
        with ProgressLines(what, unit) as lines:
            yield lines.report
        return
    with _bar(what) as report:
        yield report


@contextmanager
def _bar(what: str) -> Iterator[Report]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=make_console(stderr=True))
    row = bar.add_task(shown(what), total=None, note="")

    def report(done: int, total: int | None = None, note: str = "") -> None:
        # Started here and not before: a mistake in the settings is then one line, without an empty bar.
        bar.start()
        speed = bar.tasks[row].speed
        notes = [shown(note)] * bool(note) + ([f"{speed:.1f}/s"] if speed else [])
        bar.update(row, completed=done, total=total, note=", ".join(notes))
        if done == total:  # the next bar needs the place
            bar.stop()

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()


class ProgressLines:
    """Says how far a job is, a line every so often, where a bar cannot be drawn: in a file, a pipe, a batch job.

    A thread says them, so that there is a line also while nothing ends. Use it as a context manager.

    Args:
        what: the job, in a few words.
        unit: what is counted.
        look: says how far it is, for a job that does not report.
        clock: seconds, for the rate.

    Raises:
        UserError: :data:`INTERVAL` holds no number.
    """

    def __init__(
        self,
        what: str,
        unit: str = "episodes",
        look: Callable[[], State] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._unit, self._look, self._clock = what, unit, look, clock
        chosen = _interval()
        self._first, self._every = (FIRST_SECONDS, EVERY_SECONDS) if chosen is None else (chosen, chosen)
        self._latest: State | None = None
        self._begun = (0.0, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go_on_saying, daemon=True)

    def __enter__(self) -> ProgressLines:
        if self._look is not None:
            self.report(*self._look())
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def report(self, done: int, total: int | None = None, note: str = "") -> None:
        """Take in how far the job is: see :class:`Report`."""
        is_first = self._latest is None
        if is_first:
            self._begun = (self._clock(), done)
        self._latest = done, total, note
        if self._every == 0:
            say(self.line(), err=True)
        elif done == total:
            self._ended.set()
        elif is_first and math.isfinite(self._every):
            self._thread.start()

    def line(self) -> str:
        """Return the line of this moment; the rate is that since the first report."""
        assert self._latest is not None
        done, total, note = self._latest
        begun, before = self._begun
        seconds = self._clock() - begun
        parts = [f"{done} of {total} {self._unit}" if total is not None else f"{done} {self._unit}"]
        parts += [note] if note else []
        if done > before and seconds > 0:
            rate = (done - before) / seconds
            parts.append(f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min")
            if total is not None and total > done:
                parts.append(f"{timedelta(seconds=round((total - done) / rate))} left")
        return f"agentbench: {self._what}: {', '.join(parts)}"

    def _go_on_saying(self) -> None:
        wait = self._first
        while not self._ended.wait(wait):
            if self._look is not None:
                self._latest = self._look()
            say(self.line(), err=True)
            wait = self._every


def _interval() -> float | None:
    text = os.environ.get(INTERVAL, "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise UserError(f"{INTERVAL} is a number of seconds of at least 0, or inf for no lines, got {text!r}")
    return seconds
