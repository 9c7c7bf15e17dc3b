"""Options that belong to an environment and not to a command: ``--goals synthetic``, ``--engine textworld``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer

from envs.errors import UserError, unknown
from envs.options import LONE, Typed


def parse_extra(arguments: list[str]) -> dict[str, Any]:
    """Take ``--some-name value`` and ``--some-name=value`` pairs apart; a lone ``--some-name`` is ``LONE``.

    Values stay as they were typed, until whoever declares the option reads them as its type (:mod:`envs.options`).

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


def check_names(context: typer.Context, options: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an option that neither the command nor ``known`` has; the nearest of both are named.

    Raises:
        UserError: there is such an option.
    """
    flags = {flag for parameter in context.command.params for flag in parameter.opts if flag.startswith("--")}
    flags |= {_flag(name) for name in known}
    for name in options:
        if _flag(name) not in flags:
            raise unknown("option", _flag(name), flags)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
