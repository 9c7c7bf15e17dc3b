"""Options that belong to an environment and not to a command: ``--goals synthetic``, ``--engine textworld``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import typer

from envs.errors import UserError, unknown


def parse_extra(arguments: list[str]) -> dict[str, Any]:
    """Read ``--some-name value`` and ``--some-name=value`` pairs; a lone ``--some-name`` means true.

    Values that are JSON (numbers, true, false, null, lists) are read as such, ``on`` and ``off`` are true and false,
    all others are strings.

    Raises:
        UserError: an argument that belongs to no option.
    """
    options: dict[str, Any] = {}
    waiting: str | None = None
    for argument in arguments:
        if argument.startswith("--"):
            if waiting:
                options[waiting] = True
            name, has_value, value = argument[2:].partition("=")
            waiting = name.replace("-", "_")
            if has_value:
                options[waiting], waiting = _value(value), None
        elif waiting:
            options[waiting], waiting = _value(argument), None
        else:
            raise UserError(f"unexpected argument {argument!r}: options are given as --name value")
    if waiting:
        options[waiting] = True
    return options


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


def _value(text: str) -> Any:
    if text in ("on", "off"):
        return text == "on"
    try:
        return json.loads(text)
    except ValueError:
        return text
