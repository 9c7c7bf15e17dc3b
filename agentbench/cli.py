"""The command line: which command is which function, and how its end is told."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
from typing import Any

import typer

from agentbench.commands import (
    check,
    compare,
    credit,
    diff,
    doctor,
    evaluate,
    graph,
    importing,
    install,
    listing,
    model,
    plan,
    replay,
    report,
    schemes,
    show,
    sweep,
    train,
    truth,
    verify,
)
from agentbench.terminal import SafeFormatter, say, show_traceback
from envs.errors import UserError

EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    name="agentbench",
    help="Evaluate, train and compare language agents on long, multi-step tasks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("eval", context_settings=EXTRA)(evaluate.evaluate)
app.command(context_settings=EXTRA)(train.train)
app.command()(train.clone)
app.command(context_settings=EXTRA)(sweep.sweep)
app.command()(show.show)
app.command()(replay.replay)
app.command()(diff.diff)
app.command()(plan.plan)
app.command()(report.report)
app.command()(report.view)
app.command()(report.export)
app.command(context_settings=EXTRA)(credit.credit)
app.command(context_settings=EXTRA)(compare.compare)
app.command(context_settings=EXTRA)(graph.graph)
app.command(context_settings=EXTRA)(truth.truth)
app.command()(truth.quality)
app.command(context_settings=EXTRA)(install.install)
app.command()(verify.verify)
app.command(context_settings=EXTRA)(listing.envs)
app.command()(listing.policies)
app.command()(schemes.schemes)
app.command()(doctor.doctor)
app.command("import")(importing.import_logs)
app.add_typer(check.app, name="check")
app.add_typer(model.app, name="model")


def main() -> None:
    """Run the command line and exit.

    The code is 0 if all went well, 1 if what was asked for is not so, 2 for a mistake the user can mend, and 128 + N if
    signal N ended it: 130 for Ctrl-C, 143 for SIGTERM, 129 for a terminal that was closed.
    """
    with StopSignals() as signals:
        try:
            _run()
        except SystemExit as end:
            # A command for which Ctrl-C is the usual end (a server) has ended well by it.
            if not signals.received or (not end.code and signals.received[0] == signal.SIGINT):
                raise
        if not signals.received:
            return
    name = signal.Signals(signals.received[0]).name
    say(f"agentbench: ended by {'Ctrl-C' if name == 'SIGINT' else name}", err=True)
    sys.exit(128 + signals.received[0])


class StopSignals:
    """Make SIGTERM and a closed terminal what Ctrl-C is: a KeyboardInterrupt in the main thread.

    Every command then has one way to stop. After the first signal only Ctrl-C is heard: the others mean no more than
    the first, and must not break into the closing of files. What is ignored (``nohup``) stays so.

    Attributes:
        received: the numbers, in order.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():  # Python takes handlers from no other
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _: object) -> None:
        is_first = not self.received
        self.received.append(number)
        if is_first or number == signal.SIGINT:
            raise KeyboardInterrupt


def _run() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("agentbench: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = show_traceback
    threading.excepthook = lambda hooked: show_traceback(hooked.exc_type, hooked.exc_value, hooked.exc_traceback)
    try:
        app()
    except UserError as error:
        say(f"agentbench: {error}", err=True)
        sys.exit(error.exit_code)
    except ValueError as error:
        # The credit room imports nothing of ours, so its errors are a class of its own; it is slow to import.
        room = sys.modules.get("credit.steps")
        if room is None or not isinstance(error, room.CreditError):
            raise
        say(f"agentbench: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # The reader (head, less) has what it wanted. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        advice = ": make room and run the same command again" if is_full else ""
        say(f"agentbench: {error}{advice}", err=True)
        sys.exit(2)
