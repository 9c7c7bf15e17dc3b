"""Settings that a command takes from a model instead of its own parameters: listed in its help, imported only then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from typer.core import TyperCommand

from envs.base.options import REQUIRED, Option, declared
from envs.base.terminal import make_console, plain, say


def panels_of(model: Any, without: Iterable[str] = ()) -> dict[str, dict[str, Option]]:
    """Return the settings of a model by the headings of its ``panels``; under one heading where it has none.

    Args:
        model: a pydantic model, a dataclass or a function (:func:`envs.base.options.declared`). Its ``panels`` have the
            name of the first setting of each part, and the part's heading.
        without: names that are left out.
    """
    headings = getattr(model, "panels", {})
    found: dict[str, dict[str, Option]] = {}
    heading = "Settings"
    for name, option in declared(model).items():
        heading = headings.get(name, heading)
        if name not in without:
            found.setdefault(heading, {})[name] = option
    return found


def flag(name: str) -> str:
    """Return a setting's name as it is typed: ``--group-size``."""
    return "--" + name.replace("_", "-")


def with_settings(model: str, without: Iterable[str] = ()) -> type[TyperCommand]:
    """Make the class of a command that takes the settings of a model beside its own options.

    Args:
        model: ``module:class``; imported when the command's help is asked for, and not before.
        without: settings that the command does not take.
    """

    class WithSettings(TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            from envs.registry import load

            super().format_help(ctx, formatter)
            own = {each.name or "" for each in self.params}
            for heading, options in panels_of(load(model), own | set(without)).items():
                _print_panel(heading, options)

    return WithSettings


def _print_panel(heading: str, options: Mapping[str, Option]) -> None:
    from rich.panel import Panel
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold cyan")
    table.add_column(max_width=24, overflow="fold", style="yellow")
    table.add_column()
    for name, option in options.items():
        text = plain(option.description)
        if option.default_text:
            text.append(f" [default: {option.default_text}]", "dim")
        table.add_row(flag(name), f"<{option.brief}>", text)
    make_console().print(Panel(table, title=heading, title_align="left", border_style="dim"))


def print_options(options: Mapping[str, Option]) -> None:
    """Print options with what they may be, their defaults and descriptions."""
    for name, each in options.items():
        default = "needed" if each.default is REQUIRED else f"default {each.default!r}"
        say(f"  {flag(name)}: {each.allowed}; {default}")
        if each.description:
            say(f"      {each.description}")
