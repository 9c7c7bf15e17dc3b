"""``agentbench envs`` and ``agentbench policies``: what there is, a line each; one environment in detail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentbench.cli.settings import print_options
from envs.base.terminal import make_console, make_table, say

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
    from agentbench.cli.commands.options import extra_options
    from envs.base.errors import UserError
    from envs.registry import ENVIRONMENTS, find, option_names

    if name is None:
        if ceiling or context.args:
            raise UserError("name an environment: agentbench envs NAME --ceiling")
        _print(
            {
                name: f"{each.summary}  [{'; '.join([each.gymnasium_id, *each.facts])}]"
                for name, each in ENVIRONMENTS.items()
            }
        )
        return
    environment = find(name)
    options = extra_options(context, option_names(name), [f"agentbench envs {name}"])
    if ceiling:
        _print_ceiling(environment, options)
    else:
        _print_details(environment, options)


def policies(
    name: Annotated[str | None, typer.Argument(help="show the options of this policy")] = None,
) -> None:
    """List the policies, or show one: its options."""
    from envs.base.errors import unknown
    from policies.registry import POLICIES

    if name is None:
        facts = {name: "; ".join(entry.facts) for name, entry in POLICIES.items()}
        _print({name: POLICIES[name].summary + (f"  [{known}]" if known else "") for name, known in facts.items()})
        return
    name = name.partition(":")[0]
    if name not in POLICIES:
        raise unknown("policy", name, POLICIES)
    entry = POLICIES[name]
    known = entry.declared()
    say(f"{name}: {entry.summary}" + (f"\n{'; '.join(entry.facts)}" if entry.facts else "") + "\n")
    say("options, what they may be and their defaults:" if known else "no options")
    print_options(known)


def _print_details(environment: Environment, options: dict[str, object]) -> None:
    from collections import Counter

    from envs.registry import make, options_of

    facts = f"\n{'; '.join(environment.facts)}" if environment.facts else ""
    say(f"{environment.name}: {environment.summary}{facts}\n\noptions, what they may be and their defaults:")
    print_options(options_of(environment.name))
    made = make(environment.name, **options)
    types = Counter(task.type for task in made.tasks)
    say(f"\n{len(made.tasks)} tasks: " + ", ".join(f"{count} {kind}" for kind, count in sorted(types.items())))
    for note in made.notes:
        say(f"note: {note}")


def _print_ceiling(environment: Environment, options: dict[str, object]) -> None:
    from envs.base.errors import UserError
    from envs.registry import load, make

    if environment.ceiling is None:
        raise UserError(f"environment {environment.name!r} has no ceiling below 1: every task can be solved")
    table = make_table(["task type"], ["goals", "winnable", "share %", "mean score %"])
    for row in load(environment.ceiling)(make(environment.name, **options)):
        share = 100 * row.winnable / row.goals
        table.add_row(row.type, str(row.goals), str(row.winnable), f"{share:.1f}", f"{100 * row.mean:.1f}")
    make_console().print(table)


def _print(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for name, line in lines.items():
        say(f"{name:<{width}}  {line}")
