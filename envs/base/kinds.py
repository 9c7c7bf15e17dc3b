"""What the annotation of an option allows: taken apart into type and bounds, and put into words."""

from __future__ import annotations

import inspect
import math
import os
import re
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

_ANY = 1_000_000
"""A bound as large as this is a guard, and nothing that a table need say."""


def describe(kind: Any) -> str:
    """Say in words what a kind of option may be."""
    kind, least, most = taken_apart(kind)
    if origin := union(kind):
        return " or ".join(dict.fromkeys(describe(bounded(each, least, most)) for each in origin))
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + _range(least, most)
    if typing.get_origin(kind) is Literal:
        choices = [str(choice) for choice in typing.get_args(kind)]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    words = {bool: "yes or no", str: "a text", types.NoneType: "none", None: "none"}
    if kind in words:
        return words[kind]
    if is_path(kind):
        return "a path"
    if items_of(kind) is not None:
        return f"a list, each {describe(items_of(kind))}"
    return "a JSON object" if typing.get_origin(kind) is dict or kind is dict else "a value"


def brief(kind: Any) -> str:
    """Write what a kind of option may be for the column of a table: ``int ≥ 1``, ``token|step``, ``text or none``."""
    kind, least, most = taken_apart(kind)
    if kinds := union(kind):
        return " or ".join(dict.fromkeys(brief(bounded(each, least, most)) for each in kinds))
    if kind in (int, float):
        return str(kind.__name__) + _brief_range(least, most)
    if typing.get_origin(kind) is Literal:
        return "|".join(str(choice) for choice in typing.get_args(kind))
    if (item := items_of(kind)) is not None:
        return f"list of {brief(item)}"
    if typing.get_origin(kind) is dict or kind is dict:
        return "JSON"
    if is_path(kind):
        return "path"
    words = {bool: "yes/no", str: "text", types.NoneType: "none", None: "none"}
    return words.get(kind, "value")


def _brief_range(least: Sequence[Any], most: Sequence[Any]) -> str:
    lower = [f"≥ {each.ge}" if hasattr(each, "ge") else f"> {each.gt}" for each in least]
    near = [each for each in most if getattr(each, "le", 0) < _ANY]
    upper = [f"≤ {each.le:g}" if hasattr(each, "le") else f"< {each.lt:g}" for each in near]
    if len(lower) == len(upper) == 1 and hasattr(least[0], "ge") and hasattr(near[0], "le"):
        return f" {least[0].ge:g}…{near[0].le:g}"
    return "".join(f" {text}" for text in dict.fromkeys([*lower, *upper]))


def taken_apart(kind: Any) -> tuple[Any, list[Any], list[Any]]:
    """Return a kind without its annotations, its lower bounds and its upper bounds."""
    lower: list[Any] = []
    upper: list[Any] = []
    while typing.get_origin(kind) is Annotated:
        kind, *notes = typing.get_args(kind)
        for note in notes:
            for each in (note, *(getattr(note, "metadata", None) or ())):
                lower += [each] if hasattr(each, "ge") or hasattr(each, "gt") else []
                upper += [each] if hasattr(each, "le") or hasattr(each, "lt") else []
            if (least := getattr(note, "min", None)) is not None:  # of an option of a command
                lower.append(Ge(least))
            if (most := getattr(note, "max", None)) is not None:
                upper.append(Le(most))
    return kind, lower, upper


def bounded(kind: Any, lower: Sequence[Any], upper: Sequence[Any]) -> Any:
    """Return a kind of numbers with bounds, another as it is."""
    for each in dict.fromkeys((*lower, *upper)) if plain(kind) in (int, float) else ():
        kind = Annotated[kind, each]
    return kind


def is_outside(number: float, lower: Sequence[Any], upper: Sequence[Any]) -> bool:
    """Return whether a number lies outside of these bounds."""
    return any(
        number < getattr(each, "ge", -math.inf) or number <= getattr(each, "gt", -math.inf) for each in lower
    ) or any(number > getattr(each, "le", math.inf) or number >= getattr(each, "lt", math.inf) for each in upper)


def _range(lower: Sequence[Any], upper: Sequence[Any]) -> str:
    from_ = [f"at least {each.ge}" if hasattr(each, "ge") else f"above {each.gt}" for each in lower]
    to = [f"at most {each.le}" if hasattr(each, "le") else f"below {each.lt}" for each in upper]
    if len(lower) == len(upper) == 1 and hasattr(lower[0], "ge") and hasattr(upper[0], "le"):
        return f" from {lower[0].ge} to {upper[0].le}"
    text = " and ".join(dict.fromkeys([*from_, *to]))
    return f" {text}" if text.startswith(("above", "below")) else f" of {text}" if text else ""


def union(kind: Any) -> tuple[Any, ...]:
    """Return the kinds of which a value may be any one; empty for a single kind."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else ()


def plain(kind: Any) -> Any:
    """Return a kind without its annotations."""
    return taken_apart(kind)[0]


def members_of(kind: Any) -> list[Any]:
    """Return the kinds of which a value may be any one, without annotations; for a single kind itself."""
    return [plain(each) for each in union(plain(kind)) or (kind,)]


def is_path(kind: Any) -> bool:
    """Return whether values are paths."""
    return isinstance(kind, type) and issubclass(kind, os.PathLike)


def items_of(kind: Any) -> Any:
    """Return what a list or tuple of any length holds; None for other kinds."""
    if kind in (list, tuple):
        return Any
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in (list, Sequence) and arguments:
        return arguments[0]
    return arguments[0] if typing.get_origin(kind) is tuple and arguments[1:] == (...,) else None


def kind_of_default(default: Any) -> Any:
    """Return the kind of an option that has no annotation."""
    return type(default) if type(default) in (bool, int, float, str) else Any


def description(kind: Any) -> str:
    """Return what an annotation says of its option, in one line; empty where it says nothing."""
    notes = typing.get_args(kind)[1:] if typing.get_origin(kind) is Annotated else ()
    said = (getattr(note, "description", None) or getattr(note, "help", None) for note in notes)
    return next((text for text in said if isinstance(text, str)), "")


def told_in_docstring(owner: Any) -> dict[str, str]:
    """Return what a docstring says of each option, in its part ``Args:`` or ``Attributes:``."""
    told: dict[str, str] = {}
    inside = False
    names: list[str] = []
    for line in (inspect.getdoc(owner) or "").splitlines():
        entry = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if line and not line.startswith(" "):
            inside = line in ("Args:", "Attributes:")
        elif inside and entry:
            names = entry[1].split(", ")
            told.update((name, entry[2]) for name in names if name not in told)
        elif inside and line.strip():
            told.update((name, f"{told[name]} {line.strip()}") for name in names)
    return {name: _readable(text) for name, text in told.items()}


def _readable(text: str) -> str:
    """Return a sentence of a docstring without its marks: ``x`` becomes `x`, a module in brackets is left out."""
    text = re.sub(r" \(:\w+:`[^`]*`\)", "", text)
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", text).replace("``", "`").removesuffix(".")
