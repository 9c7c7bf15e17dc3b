"""``agentbench import``: read episodes that were made elsewhere into a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentbench.terminal import say

_SHOWN = 20


def import_logs(
    source: Annotated[Path, typer.Argument(help="file or folder of logs")],
    out: Annotated[Path, typer.Option(help="folder of the run")] = Path("results/imported"),
    format: Annotated[str, typer.Option(help="chat, inspect, verifiers, verl-agent, or auto")] = "auto",
    success_at: Annotated[float, typer.Option(help="reward that counts as success, where the log does not say")] = 1.0,
    anchor: Annotated[
        str, typer.Option(help="same situation: the same last 'observation', or 'history'")
    ] = "observation",
    scorer: Annotated[str | None, typer.Option(help="the scorer of an Inspect log that counts [the first]")] = None,
) -> None:
    """Read logs of other programs into a run, for show, replay, diff, credit and compare.

    What cannot be read is named (file, line, reason) and left out.
    """
    from agentbench.commands.show import end_if_none_judged, print_runs
    from agentbench.importing.run import import_run, options_from

    found = import_run(source, out, format=format, options=options_from(success_at, anchor, scorer))
    for part in found.bad[:_SHOWN]:
        say(f"left out {part.where}: {part.reason}", err=True)
    if found.bad:
        more = f" ({_SHOWN} of them shown)" if len(found.bad) > _SHOWN else ""
        say(f"{len(found.bad)} left out{more}", err=True)
    print_runs([found.run])
    end_if_none_judged(found.run, "the logs hold errors alone")
