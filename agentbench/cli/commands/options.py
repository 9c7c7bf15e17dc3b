"""Options that belong to an environment and not to a command: ``--goals synthetic``, ``--engine textworld``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer

from agentbench.cli.settings import flag
from envs.base.errors import UserError, unknown
from envs.base.options import LONE, Typed, declared, resolve
from envs.base.terminal import say

EXTRA = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a command that takes options which its function does not name: :func:`extra_options` reads them."""


def parse_extra(arguments: list[str]) -> dict[str, Any]:
    """Take ``--some-name value`` and ``--some-name=value`` pairs apart; a lone ``--some-name`` is ``LONE``.

    Values stay as they were typed, until whoever declares the option reads them as its type (:mod:`envs.base.options`).

    Raises:
        UserError: an argument that belongs to no option.
    """
    options: dict[str, Any] = {}
    waiting: str | None = None
    for argument in arguments:
        if argument.startswith("--"):
            if waiting:
                options[waiting] = LONE
            name, has_value, value = argument[2:].partition("=")
            waiting = name.replace("-", "_")
            if has_value:
                options[waiting], waiting = Typed(value), None
        elif waiting:
            options[waiting], waiting = Typed(argument), None
        else:
            raise UserError(f"unexpected argument {argument!r}: options are given as --name value")
    if waiting:
        options[waiting] = LONE
    return options


def take(options: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Take the options of these names out of ``options``, and return them."""
    return {name: options.pop(name) for name in known if name in options}


def check_names(
    context: typer.Context, options: Iterable[str], known: Iterable[str], listed_by: Sequence[str] = ()
) -> None:
    """Refuse an option that neither the command nor ``known`` has; the nearest of both are named.

    Args:
        context: of the command.
        options: names that were typed.
        known: names that are options beside the command's own.
        listed_by: the commands that list those; the command's own help is named first.

    Raises:
        UserError: there is such an option.
    """
    flags = {each for parameter in context.command.params for each in parameter.opts if each.startswith("--")}
    flags |= {flag(name) for name in known}
    for name in options:
        if flag(name) not in flags:
            raise unknown("option", flag(name), flags, (f"{context.command_path} --help", *listed_by))


def extra_options(context: typer.Context, known: Iterable[str], listed_by: Sequence[str] = ()) -> dict[str, Any]:
    """Take the further options of a command apart, and refuse one that is not ``known``.

    A lone ``--no-NAME`` is ``--NAME no``.

    Raises:
        UserError: an argument that belongs to no option, or an option that neither the command nor ``known`` has.
    """
    names = set(known)
    options: dict[str, Any] = {}
    for name, value in parse_extra(context.args).items():
        is_negated = value is LONE and name.startswith("no_") and name not in names and name[3:] in names
        options |= {name[3:]: Typed("no")} if is_negated else {name: value}
    check_names(context, options, names, listed_by)
    return options


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a command of a function: its options are checked against their declarations (``min``, ``max``, finite)."""

    @functools.wraps(function)
    def checked(**values: Any) -> Any:
        known = {name: each for name, each in declared(function).items() if values.get(name) != each.default}
        read = resolve("", known, {name: value for name, value in values.items() if name in known})
        return function(**{**values, **read})

    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    checked.__doc__ = "\n\n".join(" ".join(each.split()) for each in paragraphs)  # typer would keep the line breaks
    return checked


def renamed(function: Callable[..., Any], old: str, new: str) -> Callable[..., Any]:
    """Make the command of an old name: it does the same, and prints the new name on the error stream."""

    @functools.wraps(function)
    def with_note(**values: Any) -> Any:
        say(f"agentbench: '{old}' is now called '{new}'", err=True)
        return function(**values)

    return with_note


def refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument: an unset variable of a shell, where an empty path would mean the present folder.

    Raises:
        UserError: there is one.
    """
    before = ""
    for argument in arguments:
        name, is_given, value = argument.partition("=")
        if not argument.strip() or (argument.startswith("--") and is_given and not value.strip()):
            where = name if argument.strip() else before
            raise UserError(f"{where} needs a value, got an empty one" if where else "an argument is empty")
        before = argument if argument.startswith("--") else ""
