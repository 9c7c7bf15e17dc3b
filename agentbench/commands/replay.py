"""``agentbench replay``: read one episode step by step in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from agentbench.episodes import Episode


def replay(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    episode: Annotated[int | None, typer.Option(help="row of the episode table, from 0")] = None,
    task: Annotated[str | None, typer.Option(help="task id or name, instead of --episode")] = None,
    trial: Annotated[int, typer.Option(help="which trial, with --task")] = 0,
    actions: Annotated[bool, typer.Option(help="also list the admissible actions of each step")] = False,
    pause: Annotated[bool, typer.Option(help="wait for Enter after each step")] = False,
) -> None:
    """Read one stored episode: what was seen, what was done, what it earned."""
    from rich.console import Console
    from rich.markup import escape

    from agentbench.terminal import printable

    found = _find(run, episode, task, trial)
    console = Console(highlight=False)
    console.print(
        f"[bold]{escape(printable(found.task_name))}[/] ({escape(printable(found.task_type))}, "
        f"task {escape(printable(found.task_id))}, trial {found.trial}): "
        f"[bold]{found.outcome}[/] after {len(found.steps)} steps, score {found.score:g}"
    )
    _print_steps(console, found, actions, pause)
    if found.error:
        console.print("error:", printable(found.error), markup=False, style="red")


def _find(folder: Path, episode: int | None, task: str | None, trial: int) -> Episode:
    from agentbench.store import open_run
    from envs.errors import UserError, unknown

    if (episode is None) == (task is None):
        raise UserError("name one episode: --episode NUMBER, or --task ID")
    episodes = open_run(folder).read_episodes()
    if episode is not None:
        if not 0 <= episode < len(episodes):
            raise UserError(f"{folder} has episodes 0 to {len(episodes) - 1}, not {episode}")
        return episodes[episode]
    assert task is not None
    for each in episodes:
        if task in (each.task_id, each.task_name) and each.trial == trial:
            return each
    raise unknown(
        f"trial {trial} of task", task, [name for each in episodes for name in (each.task_id, each.task_name)]
    )


def _print_steps(console: Console, episode: Episode, actions: bool, pause: bool) -> None:
    from rich.text import Text

    from agentbench.terminal import printable

    for index, step in enumerate(episode.steps):
        console.print(Text(printable(step.observation)))
        if actions and step.admissible_actions is not None:
            console.print(Text("  can: " + printable(" | ".join(step.admissible_actions)), style="dim"))
        marks = f"reward {step.reward:g}" + ("" if step.is_valid else ", invalid")
        console.print(
            Text(f"\n[{index + 1}] > {printable(step.action)}", style="bold cyan").append(f"   ({marks})", style="dim")
        )
        if pause:
            console.input("[dim]Enter for the next step[/]")
    console.print(Text(printable(episode.final_observation)))
