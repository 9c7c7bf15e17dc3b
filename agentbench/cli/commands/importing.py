"""``agentbench import``: read episodes that were made elsewhere into a run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from envs.base.terminal import ProgressLines, make_console, say

_SHOWN = 20


def import_logs(
    source: Annotated[Path, typer.Argument(help="file or folder of logs")],
    out: Annotated[Path, typer.Option(help="folder of the run")] = Path("results/imported"),
    format: Annotated[str, typer.Option(help="one that docs/importing.md lists, a plug-in's, or auto")] = "auto",
    success_at: Annotated[float, typer.Option(help="reward that counts as success, where the log does not say")] = 1.0,
    anchor: Annotated[
        str, typer.Option(help="same situation: the same last 'observation', or 'history'")
    ] = "observation",
    scorer: Annotated[str | None, typer.Option(help="the scorer of an Inspect log that counts [the first]")] = None,
    score: Annotated[str | None, typer.Option(help="the value that counts, where a log gives several by name")] = None,
    task_field: Annotated[
        str | None,
        typer.Option(
            "--task-field", "--task-id", help="the field that identifies the task; 'messages': the first user message"
        ),
    ] = None,
    messages: Annotated[str | None, typer.Option(help="the field that holds the messages, in a chat log")] = None,
    reward: Annotated[str | None, typer.Option(help="the field that holds the reward (or one a step)")] = None,
    success: Annotated[str | None, typer.Option(help="the field that says whether the task was solved")] = None,
    model_field: Annotated[str | None, typer.Option(help="the field that holds the model's name")] = None,
    outcomes: Annotated[
        Path | None, typer.Option(help="file that says how the episodes ended, where the logs do not")
    ] = None,
    model: Annotated[str | None, typer.Option(help="read the episodes of this model alone")] = None,
    max_text: Annotated[int, typer.Option(min=1, help="longest text that is stored whole, in characters")] = 20_000,
) -> None:
    """Read logs of other programs into a run, for show, replay, compare-runs, credit and compare-schemes.

    What cannot be read is named (file, line, reason) and left out.
    """
    from agentbench.cli.commands.show import end_if_none_judged, print_runs
    from agentbench.importing.run import import_run, options_from

    chosen = options_from(
        success_at,
        anchor,
        scorer,
        score=score,
        task_field=task_field,
        model=model,
        max_text=max_text,
        messages_field=messages,
        reward_field=reward,
        success_field=success,
        model_field=model_field,
        outcomes=outcomes,
    )
    try:
        with _lines(out):
            found = import_run(source, out, format=format, options=chosen)
    except KeyboardInterrupt:
        say("stopped: what was read is stored; the same command continues from there", err=True)
        raise
    for part in found.bad[:_SHOWN]:
        say(f"left out {part.where}: {part.reason}", err=True)
    if found.bad:
        more = f" ({_SHOWN} of them shown)" if len(found.bad) > _SHOWN else ""
        say(f"{len(found.bad)} left out{more}", err=True)
    print_runs([found.run])
    end_if_none_judged(found.run, "the logs hold errors alone")


def _lines(out: Path) -> AbstractContextManager[object]:
    """Say every so often, where there is no terminal, how many episodes are in the run."""
    from envs.base.journal import count, journal_of

    def look() -> tuple[int, None, str]:
        return count(journal_of(out)), None, "so far"

    if make_console(stderr=True).is_terminal:
        return nullcontext()
    return ProgressLines(f"import into {out.name}", "episodes", look)
