"""Options of environments, policies and commands: each is declared once, by its annotation, and read by one mechanism.

``max_steps: Annotated[int, Ge(1), Le(1000)]``, ``engine: Literal["fast", "textworld"]`` or plain ``bool`` say
what an option may be; a parameter without annotation is of the type of its default. What was typed on the command line
comes as :class:`Typed` text and is read as that type: ``--unsafe False`` is false, ``--model 7`` is the text ``7``.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal, TypeVar

from envs.base.errors import UserError, unknown
from envs.base.kinds import (
    bounded,
    brief,
    describe,
    description,
    is_outside,
    is_path,
    items_of,
    kind_of_default,
    members_of,
    plain,
    taken_apart,
    told_in_docstring,
    union,
)
from envs.base.safe_text import shown

LARGEST = 2**63 - 1
"""No whole number is larger, whatever its declaration says."""

WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
"""How yes and no are written, in small or capital letters."""

REQUIRED: Any = inspect.Parameter.empty
_LONGEST_SHOWN = 60

Class = TypeVar("Class")


class Typed(str):
    """Text as it was typed for an option, not yet read as the option's type; ``is_lone``: no value was typed."""

    is_lone = False


LONE = type("_Lone", (Typed,), {"is_lone": True})("true")
"""The value of ``--some-name`` without a value: true for an option that may be true, else a mistake."""


@dataclass(frozen=True, slots=True)
class Option:
    """One declared option.

    Attributes:
        name: of the parameter or field.
        kind: its annotation, with the ranges.
        default: its default, or :data:`REQUIRED`.
        description: one line for people, perhaps empty.
    """

    name: str
    kind: Any
    default: Any = REQUIRED
    description: str = ""

    @property
    def allowed(self) -> str:
        """What it may be, in words: ``a whole number of at least 1``."""
        return describe(self.kind)

    @property
    def brief(self) -> str:
        """The same for the column of a table: ``int ≥ 1``."""
        return brief(self.kind)

    @property
    def default_text(self) -> str:
        """The default as one would type it; empty where a value is needed, or where nothing is chosen."""
        if self.default is REQUIRED or self.default in ((), [], {}, ""):
            return ""
        if self.default is None:
            return "none"
        if isinstance(self.default, bool):
            return "yes" if self.default else "no"
        if isinstance(self.default, float):
            return f"{self.default:g}"
        return str(self.default) if isinstance(self.default, str | int | os.PathLike) else json.dumps(self.default)


class _BadError(ValueError):
    """A value that its kind does not allow; the text, where there is one, says more than the kind's description."""


def declared(owner: Any, skip: int = 0) -> Mapping[str, Option]:
    """Return the options of a class (parameters of ``__init__``, or fields), of a function, or of a pydantic model.

    Args:
        owner: what takes them by keyword.
        skip: so many of its first parameters are no options.
    """
    return _declared(owner, skip)


@functools.cache
def _declared(owner: Any, skip: int) -> Mapping[str, Option]:
    if fields := getattr(owner, "model_fields", None):
        return {
            name: Option(name, Annotated[field.annotation, field], field.get_default(call_default_factory=True),
                         field.description or "")
            for name, field in fields.items()
        }  # fmt: skip
    is_class = inspect.isclass(owner)
    function = owner if is_dataclass(owner) or not is_class else owner.__init__
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # annotations that cannot be read are none: a stranger's module may name what is not imported
        hints = {}
    told = told_in_docstring(owner)
    found = {}
    for parameter in list(inspect.signature(owner).parameters.values())[skip:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        kind = hints.get(parameter.name, kind_of_default(parameter.default))
        text = description(kind) or told.get(parameter.name, "")
        found[parameter.name] = Option(parameter.name, kind, parameter.default, text)
    return found


def takes_any(owner: Any) -> bool:
    """Return whether a class or function also takes options that it does not name (``**more``)."""
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(owner).parameters.values())


def resolve(
    owner: str,
    known: Mapping[str, Option],
    values: Mapping[str, Any],
    *,
    word: str = "option",
    others: bool = False,
    listed_by: str | Sequence[str] = (),
    is_quiet: bool = False,
) -> dict[str, Any]:
    """Return values as their options' types.

    Args:
        owner: whose they are, in words, for messages (``"environment 'alfworld'"``); perhaps empty.
        known: the declared options.
        values: by name; :class:`Typed` where they come from the command line.
        word: what messages call an option.
        others: let names pass that are not declared.
        listed_by: the commands that list the options, where there are some.
        is_quiet: messages do not repeat a text: it may be a key, given to the wrong option.

    Raises:
        UserError: an unknown name, or a value that is not allowed: one line that names every one of them.
    """
    found, problems = {}, []
    for name, value in values.items():
        if name not in known and not others:
            raise unknown(f"{word} of {owner}" if owner else word, name, known, listed_by)
        try:
            found[name] = read(known[name].kind if name in known else Any, value, is_quiet=is_quiet)
        except _BadError as problem:
            problems.append(f"{name}{f' of {owner}' if owner else ''} {problem}")
    if problems:
        raise UserError(f"bad {word}: {'; '.join(problems)}")
    return found


def read_options(kind: type[Class], values: Mapping[str, Any], owner: str = "") -> Class:
    """Make a dataclass of options from values by name; a whole number for a field of numbers becomes a float.

    Args:
        kind: the dataclass, whose annotations say what is allowed.
        values: by name of the field.
        owner: whose options they are, in words, for messages.

    Raises:
        UserError: one line that names every unknown option or value that is not allowed.
    """
    known = declared(kind)
    found = resolve(owner, known, values, is_quiet=True)
    return kind(**{name: _as_float(known[name].kind, value) for name, value in found.items()})


def _as_float(kind: Any, value: Any) -> Any:
    """Make a float of a whole number where no whole number is meant: digests distinguish 0 and 0.0."""
    if type(value) is not int:
        return value
    try:
        return value if read(kind, 0.5) != 0.5 else float(value)
    except ValueError:
        return value


def with_defaults(known: Mapping[str, Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option with its value or its default, as JSON values, to be recorded."""
    everything = {name: each.default for name, each in known.items() if each.default is not REQUIRED} | dict(values)
    return json.loads(json.dumps(everything, default=str))  # type: ignore[no-any-return]


def read(kind: Any, value: Any, *, is_quiet: bool = False) -> Any:
    """Return a value as its kind.

    Raises:
        ValueError: it is not allowed; the text continues from the option's name.
    """
    if isinstance(value, Typed) and value.is_lone:
        if bool in members_of(kind):
            return True
        if plain(kind) is not Any:
            raise _BadError(f"needs a value: {describe(kind)}")
        return True
    if isinstance(value, str) and not value.strip() and plain(kind) is not Any:
        raise _BadError(f"must be {describe(kind)}, got an empty text")
    try:
        return _convert(kind, value)
    except (_BadError, OverflowError) as problem:
        text = "a text" if is_quiet and isinstance(value, str) else shown(repr(value))
        got = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
        more = str(problem) if isinstance(problem, _BadError) else ""
        raise _BadError(f"must be {describe(kind)}, got {got}{more}") from None


def checked(function: Callable[..., Any], owner: Callable[[Any], str]) -> Callable[..., Any]:
    """Wrap an ``__init__`` so that its options are read as their types, whoever calls it.

    Args:
        function: an ``__init__``.
        owner: says whose options they are, from ``self``.
    """

    @functools.wraps(function)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        known = declared(function, 1)
        names = list(known)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if len(args) <= len(names):  # else Python's own error says it
            read_values = resolve(owner(self), known, given, others=takes_any(function))
            args = tuple(read_values.pop(name) for name in names[: len(args)])
            kwargs = read_values
        function(self, *args, **kwargs)

    return init


def _convert(kind: Any, value: Any) -> Any:
    """Return a value as its kind, or raise :class:`_BadError`."""
    kind, least, most = taken_apart(kind)
    if members := union(kind):
        return _convert_to_one(members, least, most, value)
    if kind is bool:
        return _to_bool(value)
    if kind in (int, float):
        number = _to_int(value) if kind is int else _to_float(value)
        if is_outside(number, least, most):
            raise _BadError
        return number
    if typing.get_origin(kind) is Literal:
        return _to_choice(typing.get_args(kind), value)
    if kind in (None, types.NoneType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        raise _BadError
    if kind is str or is_path(kind):
        if not isinstance(value, str if kind is str else str | os.PathLike) or "\0" in str(value):
            raise _BadError
        return str(value) if isinstance(value, str) else value  # a Typed text becomes a plain one
    if (item := items_of(kind)) is not None:
        return _to_list(kind, item, value)
    if kind is dict or typing.get_origin(kind) is dict:
        return _to_dict(value)
    return _to_any(value)


def _convert_to_one(members: Sequence[Any], least: Any, most: Any, value: Any) -> Any:
    """Read a value as the first kind that takes it; typed text is text only where it is nothing else."""
    types_ = [plain(member) for member in members]
    if isinstance(value, str) and not isinstance(value, Typed) and str in types_:
        members = [member for member in members if plain(member) is str or typing.get_origin(member) is Literal]
    elif str in types_ and not {int, float, bool} & set(types_):
        members = [member for member in members if value is None or plain(member) is not types.NoneType]
    for member in sorted(members, key=lambda each: plain(each) is str or is_path(plain(each))):
        try:
            return _convert(bounded(member, least, most), value)
        except (_BadError, OverflowError):
            continue
    raise _BadError


def _to_bool(value: Any) -> bool:
    if isinstance(value, str) and value.strip().lower() in WORDS:
        return WORDS[value.strip().lower()]
    if type(value).__name__ in ("bool", "bool_") or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise _BadError


def _to_int(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,30}", value.strip()):
        value = int(value)
    if type(value).__name__ in ("bool", "bool_"):
        raise _BadError
    try:
        number = operator.index(value)
    except TypeError:
        raise _BadError from None
    if abs(number) > LARGEST:
        raise _BadError
    return number


def _to_float(value: Any) -> float:
    """Return a number; a whole one stays whole, as records and digests have always had it."""
    if isinstance(value, str):
        try:
            return _to_int(value)
        except _BadError:
            if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value.strip()):
                raise
            value = float(value)
    if type(value).__name__ in ("bool", "bool_") or not hasattr(value, "__float__") or hasattr(value, "__len__"):
        raise _BadError
    if not math.isfinite(value):
        raise _BadError
    return value  # type: ignore[no-any-return]


def _to_choice(choices: Sequence[Any], value: Any) -> Any:
    for choice in choices:
        same = value == choice and isinstance(value, bool) == isinstance(choice, bool)
        if same or (isinstance(value, Typed) and value == str(choice)):
            return choice
    near = "" if not isinstance(value, str) else _nearest(value, [str(choice) for choice in choices])
    raise _BadError(near)


def _nearest(text: str, known: Sequence[str]) -> str:
    told = str(unknown("", text, known))
    return ": did you mean " + told.partition("did you mean ")[2] if "did you mean " in told else ""


def _to_list(kind: Any, item: Any, value: Any) -> Any:
    if isinstance(value, str):
        if value.strip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise _BadError(": that is no JSON list") from None
        else:
            value = value.split(",") if typing.get_origin(item) is Literal else [str(value)]
    if not isinstance(value, list | tuple):
        raise _BadError
    made = [_convert(item, each) for each in value]
    return tuple(made) if typing.get_origin(kind) is tuple else made


def _to_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _BadError from None
    if not isinstance(value, Mapping):
        raise _BadError
    return dict(value)


def _to_any(value: Any) -> Any:
    """Read typed text of an option whose kind nobody declared: JSON, on and off, or text."""
    if not isinstance(value, Typed):
        return value
    if value in ("on", "off"):
        return value == "on"
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return str(value)
