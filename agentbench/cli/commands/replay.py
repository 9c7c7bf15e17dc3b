"""``agentbench replay``: read one episode step by step in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envs.base.terminal import make_console, plain

if TYPE_CHECKING:
    from rich.console import Console

    from agentbench.runs.episodes import Episode


def replay(
    run: Annotated[Path, typer.Argument(help="folder of a run")],
    episode: Annotated[int | None, typer.Option(min=0, help="row of the episode table, from 0")] = None,
    task: Annotated[str | None, typer.Option(help="task id or name, instead of --episode")] = None,
    trial: Annotated[int, typer.Option(min=0, help="which trial, with --task")] = 0,
    actions: Annotated[bool, typer.Option(help="also list the admissible actions of each step")] = False,
    pause: Annotated[bool, typer.Option(help="wait for Enter after each step")] = False,
) -> None:
    """Read one stored episode: what was seen, the whole answer, what was done, what it earned, why it did not count."""
    found = _find(run, episode, task, trial)
    console = make_console()
    head = plain(found.task_name, "bold").append(
        plain(f" ({found.task_type}, task {found.task_id}, trial {found.trial}): ", "not bold")
    )
    head.append(plain(found.outcome)).append(f" after {len(found.steps)} steps, score {found.score:g}", "not bold")
    if found.parent is not None:
        head.append(f", going on from step {found.fork} of trial {found.parent}", "not bold")
    console.print(head)
    _print_steps(console, found, actions, pause)
    if found.error:
        console.print(f"error: {found.error}", style="red")


def _find(folder: Path, episode: int | None, task: str | None, trial: int) -> Episode:
    from agentbench.runs.run import open_run
    from envs.base.errors import UserError, unknown

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
    from agentbench.runs.answers import answer_of

    for index, step in enumerate(episode.steps):
        console.print(step.observation)
        if actions and step.admissible_actions is not None:
            console.print("  can: " + " | ".join(step.admissible_actions), style="dim")
        if step.text and step.text != step.action:
            console.print("")
            console.print(plain(step.text, "italic"))
        marks = ", ".join(
            [f"reward {step.reward:g}", *([] if step.is_valid else ["invalid"]), *answer_of(step.details).marks()]
        )
        console.print(plain(f"\n[{index + 1}] > {step.action}", "bold cyan").append(f"   ({marks})", "dim"))
        if pause:
            console.input(plain("Enter for the next step", "dim"))
    console.print(episode.final_observation)
