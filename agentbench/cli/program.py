"""The command line: which command is which function, and how it ends."""

from __future__ import annotations

import copy
import errno
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import typer
from typer.models import CommandInfo

import agentbench
from agentbench.cli.commands import (
    check,
    compare_runs,
    compare_schemes,
    credit,
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
    serve,
    show,
    sweep,
    train,
    truth,
    verify,
)
from agentbench.cli.commands.options import EXTRA, command, refuse_empty, renamed
from agentbench.cli.settings import with_settings
from envs.base.errors import UserError
from envs.base.terminal import SafeFormatter, say, show_traceback


class Entry(NamedTuple):
    """One command.

    Attributes:
        name: as it is typed.
        function: does it; its parameters are the command's own options.
        takes_more: whether it takes further options, of an environment, a policy, a scheme.
        settings: ``module:class`` of a model whose fields are options too, listed in the command's help.
        without: those of its fields that the command does not take.
    """

    name: str
    function: Callable[..., None]
    takes_more: bool = False
    settings: str = ""
    without: tuple[str, ...] = ()


EVALUATION = "agentbench.evaluation.config:EvaluateConfig"
TRAINING = "agentbench.train.config:TrainConfig"


PANELS = {
    "Play": (
        Entry("envs", listing.envs, takes_more=True),
        Entry("policies", listing.policies),
        Entry("eval", evaluate.evaluate, takes_more=True, settings=EVALUATION, without=("tasks",)),
        Entry("show", show.show),
        Entry("replay", replay.replay),
        Entry("serve", serve.serve, takes_more=True),
    ),
    "Compare": (
        Entry("compare-runs", compare_runs.compare_runs),
        Entry("plan", plan.plan),
        Entry("report", report.report),
        Entry("view", report.view),
    ),
    "Credit": (
        Entry("schemes", schemes.schemes),
        Entry("credit", credit.credit, takes_more=True),
        Entry("compare-schemes", compare_schemes.compare_schemes, takes_more=True),
        Entry("graph", graph.graph, takes_more=True),
        Entry("truth", truth.truth, takes_more=True),
        Entry("quality", truth.quality),
    ),
    "Train": (
        Entry("clone", train.clone),
        Entry("train", train.train, takes_more=True, settings=TRAINING),
        Entry("sweep", sweep.sweep, takes_more=True, settings=TRAINING, without=("scheme", "seed")),
    ),
    "Data": (
        Entry("install", install.install, takes_more=True),
        Entry("import", importing.import_logs),
        Entry("export", report.export),
    ),
    "Check": (
        Entry("doctor", doctor.doctor),
        Entry("verify", verify.verify),
    ),
}
"""The commands in the order of ``agentbench --help``."""

GROUPS = {"model": ("Train", model.app), "check": ("Check", check.app)}
"""Commands with commands of their own, and the panel of each."""

RENAMED = {"diff": "compare-runs", "compare": "compare-schemes"}
"""Old names, which still work and print the new one."""

app = typer.Typer(
    name="agentbench",
    help="Evaluate, train and compare language agents on long, multi-step tasks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def show_version(asked: bool) -> None:
    """Print the version, and end."""
    if asked:
        say(f"agentbench {agentbench.__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="print the version and end")
    ] = False,
) -> None:
    """Evaluate, train and compare language agents on long, multi-step tasks."""


def _register() -> None:
    for panel, entries in PANELS.items():
        for entry in entries:
            how: dict[str, Any] = {"context_settings": EXTRA} if entry.takes_more else {}
            if entry.settings:
                how["cls"] = with_settings(entry.settings, entry.without)
            app.command(entry.name, rich_help_panel=panel, **how)(command(entry.function))
            for old in (old for old, new in RENAMED.items() if new == entry.name):
                app.command(old, hidden=True, **how)(renamed(command(entry.function), old, entry.name))
    for name, (panel, group) in GROUPS.items():
        app.add_typer(group, name=name, rich_help_panel=panel)


_register()


def main() -> None:
    """Run the command line and exit.

    The code is 0 if all went well, 1 if what was asked for is not so, 2 for a mistake the user can fix, and 128 + N if
    signal N ended it: 130 for Ctrl-C, 143 for SIGTERM, 129 for a terminal that was closed.
    """
    code: Any = 0
    with StopSignals() as signals:
        try:
            _run()
        except SystemExit as end:
            if not signals.received:
                raise
            code = end.code
    # A command for which Ctrl-C is the usual end (a server) has ended well by it.
    if not signals.received or (not code and signals.received[0] == signal.SIGINT):
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
        refuse_empty(sys.argv[1:])
        if code := _command():
            sys.exit(code)
    except typer.Abort:
        say("agentbench: stopped", err=True)
        sys.exit(1)
    except (UserError, ValueError) as error:
        # A CreditError is no UserError, as credit imports nothing else of ours; both carry the code to end with.
        if not hasattr(error, "exit_code"):
            raise
        say(f"agentbench: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (head, less) has what it wanted. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        advice = ": make room and run the same command again" if is_full else ""
        say(f"agentbench: {error}{advice}", err=True)
        sys.exit(2)


def _program(words: Sequence[str]) -> typer.Typer:
    """Return the program for one call: what is not called has its name and its help alone.

    Reading the options of every command takes a quarter of the time that ``agentbench --help`` does.
    """
    called = next((word for word in words if not word.startswith("-")), "")
    program = copy.copy(app)
    program.registered_commands = [
        each if each.name == called else _by_name_alone(each) for each in app.registered_commands
    ]
    program.registered_groups = [copy.copy(each) for each in app.registered_groups]
    for group in program.registered_groups:
        if group.name != called and group.typer_instance is not None:
            group.typer_instance = copy.copy(group.typer_instance)
            group.typer_instance.registered_commands = []
    return program


def _by_name_alone(info: CommandInfo) -> CommandInfo:
    def nothing() -> None: ...

    nothing.__doc__ = info.callback.__doc__ if info.callback else None
    named = copy.copy(info)
    named.callback, named.cls = nothing, None
    return named


def _command() -> int:
    """Run the command; what is wrong with the command line itself is reported in one line. Return the exit code."""
    try:
        return int(_program(sys.argv[1:])(prog_name="agentbench", standalone_mode=False) or 0)
    except Exception as error:
        if not hasattr(error, "format_message"):  # typer's own error, of whichever click it brings
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
        else:
            context = getattr(error, "ctx", None)
            where = f" (see '{context.command_path} --help')" if context else ""
            say(f"agentbench: {' '.join(error.format_message().split()).rstrip('.')}{where}", err=True)
        return int(getattr(error, "exit_code", 2))
