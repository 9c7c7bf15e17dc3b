"""The one way to the terminal: what others wrote is shown as text, obeyed by nobody, and without secrets.

Commands print with :func:`say` and with the console of :func:`make_console`, and with nothing else.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from envs.safe_text import printable, shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


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
