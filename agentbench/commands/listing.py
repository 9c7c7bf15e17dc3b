"""``agentbench envs`` and ``agentbench policies``: what there is, a line each; one environment in detail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentbench.terminal import make_console, say

if TYPE_CHECKING:
    from envs.registry import Environment


def envs(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="show the options and tasks of this environment")] = None,
    ceiling: Annotated[bool, typer.Option(help="what a perfect agent scores there, by task type")] = False,
) -> None:
    """List the environments, or show one: its options, tasks, and with --ceiling what can be scored at all.

    Any other --name value is an option of the environment (--goals synthetic --split all).
    """
    from agentbench.commands.options import parse_extra
    from envs.errors import UserError
    from envs.registry import ENVIRONMENTS, find

    if name is None:
        if ceiling or context.args:
            raise UserError("name an environment: agentbench envs NAME --ceiling")
        _print({name: f"{each.summary}  [{each.gymnasium_id}]" for name, each in ENVIRONMENTS.items()})
        return
    environment = find(name)
    if ceiling:
        _print_ceiling(environment, parse_extra(context.args))
    else:
        _print_details(environment, parse_extra(context.args))


def policies() -> None:
    """List the policies."""
    from policies.registry import POLICIES

    _print({name: entry.summary for name, entry in POLICIES.items()})


def _print_details(environment: Environment, options: dict[str, object]) -> None:
    import inspect
    from collections import Counter

    from envs.registry import make

    made = make(environment.name, **options)
    say(f"{environment.name}: {environment.summary}\n\noptions and their defaults:")
    parameters = inspect.signature(environment.load()).parameters.values()
    _print({f"  --{each.name.replace('_', '-')}": repr(each.default) for each in parameters})
    types = Counter(task.type for task in made.tasks)
    say(f"\n{len(made.tasks)} tasks: " + ", ".join(f"{count} {kind}" for kind, count in sorted(types.items())))
    for note in made.notes:
        say(f"note: {note}")


def _print_ceiling(environment: Environment, options: dict[str, object]) -> None:
    from rich.table import Table

    from envs.errors import UserError
    from envs.registry import load, make

    if environment.ceiling is None:
        raise UserError(f"environment {environment.name!r} has no ceiling below 1: every task can be solved")
    table = Table("task type", "goals", "winnable", "share %", "mean score %", box=None, pad_edge=False)
    for row in load(environment.ceiling)(make(environment.name, **options)):
        share = 100 * row.winnable / row.goals
        table.add_row(row.type, str(row.goals), str(row.winnable), f"{share:.1f}", f"{100 * row.mean:.1f}")
    make_console().print(table)


def _print(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for name, line in lines.items():
        say(f"{name:<{width}}  {line}")
