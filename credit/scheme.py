"""What a credit scheme is, and the decorator that makes one of a plain function.

How to add a scheme: write ``credit/schemes/NAME.py`` that opens with a docstring of this pattern ::

    '''NAME: one line that says what it does.

    Equation: A = …
    Symbols: r reward, …
    Source: paper (arXiv number, section), code where it was read.
    Cost: what must be had beyond arithmetic on the table, or none
    Use: when to use it
    Evidence: code+run | code | paper | second-hand
    '''

    @scheme(needs=("state",), claims=("local",), compat={"verl-agent": {"weighting": "rows"}})
    def NAME(steps: Steps, *, gamma: float = 0.95, compat: Compat = None) -> FloatArray:
        '''Advantage of every step.  (Args, Returns, Raises)'''

and add one line to ``credit/catalogue.py``. The body gets rows sorted by group, episode and step, at least
one of them, with the columns in ``needs`` present, and options that were checked against their annotations
(``Literal`` choices, finite numbers, ranges such as ``Share``). It returns float64 of shape ``(n,)`` for those rows.
The decorator takes care of the rest: the caller's row order, the empty table, ``compat`` presets, clear errors.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import operator
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, Literal, ParamSpec

import numpy as np
from pydantic import Field

from credit.steps import CreditError, FloatArray, MissingColumnError, Steps

P = ParamSpec("P")
Compat = Literal["verl-agent"] | None

# What the options of schemes may be; the command line reads the same declarations.
Share = Annotated[float, Field(ge=0, le=1)]
"""A discount, a decay, a share or a similarity."""
Ddof = Annotated[int, Field(ge=0, le=1)]
"""A variance divides by the number of samples minus this."""
Epsilon = Annotated[float, Field(ge=0, le=1)]
"""Added to a deviation or a variance; 0 where it cannot be 0."""
Factor = Annotated[float, Field(ge=0, le=1e9)]
"""A weight or a penalty: never negative."""
Positive = Annotated[float, Field(gt=0, le=1e9)]
Amount = Annotated[float, Field(ge=-1e9, le=1e9)]
"""A reward, of either sign."""
Count = Annotated[int, Field(ge=0, le=1_000_000)]
AtLeastOne = Annotated[int, Field(ge=1, le=1_000_000)]

Claim = Literal[
    "zero_without_reward",  # a group that earned nothing gets 0
    "zero_when_equal",  # a group whose episodes all have the same outcome gets 0
    "zero_when_alone",  # a group of one episode gets 0
    "local",  # adding an unrelated group changes nothing
    "shift",  # adding a constant to every episode's outcome, on its last step, changes nothing
    "scale",  # with normalize="mean", or where there is no such option, scaling all rewards scales the result
    "scale_free",  # with normalize="std" and epsilon=0, scaling all rewards by a positive number changes nothing
    "centred",  # the advantages of a group's episodes, one step each, sum to 0
]
"""Properties that a scheme's strict mode may claim. Every scheme is independent of row order and of names."""

OF_OUTCOMES: tuple[Claim, ...] = (
    "zero_without_reward",
    "zero_when_equal",
    "zero_when_alone",
    "local",
    "shift",
)
"""What every scheme can claim that does no more than compare outcomes within the group."""

SECTIONS = ("Equation", "Symbols", "Source", "Cost", "Use", "Evidence")


@dataclass(frozen=True)
class Scheme:
    """A credit scheme as the registry lists it.

    Attributes:
        name: as in ``advantages(name, steps)``.
        function: ``function(steps, **options) -> advantage per step``.
        needs: columns it cannot do without, beyond group, episode, step and reward.
        compares: columns that say which steps it compares with each other; only the group: it compares episodes.
        claims: properties of its strict mode, which the tests hold it to.
        presets: option values of each ``compat`` preset.
        summary, equation, symbols, source, evidence: the parts of its module's docstring.
        cost: what must be had beyond arithmetic on the table, also from the docstring; empty where it does not say.
        use: when to use it, likewise.
    """

    name: str
    function: Callable[..., FloatArray]
    needs: tuple[str, ...]
    compares: tuple[str, ...]
    claims: tuple[Claim, ...]
    presets: Mapping[str, Mapping[str, Any]]
    summary: str
    equation: str
    symbols: str
    source: str
    evidence: str
    cost: str = ""
    use: str = ""

    @property
    def options(self) -> Mapping[str, Any]:
        """Name and default of every option."""
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}


def scheme(
    *,
    needs: tuple[str, ...] = (),
    compares: tuple[str, ...] = ("group",),
    claims: tuple[Claim, ...] = (),
    compat: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Callable[Concatenate[Steps, P], FloatArray]], Callable[Concatenate[Steps, P], FloatArray]]:
    """Make a credit scheme of a function (see the module's text).

    Args:
        needs: columns that it always reads, beyond group, episode, step and reward.
        compares: columns that say which steps it compares with each other; only the group: it compares episodes.
        claims: properties of its strict mode.
        compat: for each preset, the options it sets; options that the caller gives win.

    Raises:
        CreditError: a claim that there is not, or an option without annotation or default.
    """
    presets = compat or {}
    for claim in claims:
        if claim not in typing.get_args(Claim):
            raise unknown("claim", claim, typing.get_args(Claim))

    def decorate(
        function: Callable[Concatenate[Steps, P], FloatArray],
    ) -> Callable[Concatenate[Steps, P], FloatArray]:
        name = getattr(function, "__name__", "scheme")
        for option in list(inspect.signature(function).parameters.values())[1:]:
            if inspect.Parameter.empty in (option.annotation, option.default):
                raise CreditError(
                    f"{name}: option {option.name!r} needs an annotation and a default, as in gamma: float = 0.95"
                )

        @functools.wraps(function)
        def call(steps: Steps, *args: P.args, **kwargs: P.kwargs) -> FloatArray:
            if not isinstance(steps, Steps):
                raise CreditError(
                    f"{name} takes a Steps, got {type(steps).__name__}: make one with Steps.from_frame(table)"
                )
            options = _resolved(name, hints(), presets, dict(kwargs))
            try:
                for column in needs:
                    steps.column(column)
                if not len(steps):
                    return np.zeros(0)
                values = function(steps.in_order(), *args, **options)
            except MissingColumnError as error:
                raise MissingColumnError(error.column, name) from None
            return steps.given_order(values)

        @functools.cache
        def hints() -> Mapping[str, Any]:
            found = typing.get_type_hints(function, include_extras=True)
            return {option: found[option] for option in list(inspect.signature(function).parameters)[1:]}

        call.scheme_facts = (needs, compares, claims, presets)  # type: ignore[attr-defined]
        return typing.cast(Callable[Concatenate[Steps, P], FloatArray], call)

    return decorate


def describe(function: Callable[..., FloatArray]) -> Scheme:
    """Gather what is known of a scheme: its declared facts, and the parts of its module's docstring."""
    needs, compares, claims, presets = function.scheme_facts  # type: ignore[attr-defined]
    parts = sections(sys.modules[function.__module__].__doc__ or "")
    return Scheme(function.__name__, function, needs, compares, claims, presets, **parts)


def sections(docstring: str) -> dict[str, str]:
    """Split a scheme module's docstring into its summary line and its sections, by lower-case name."""
    lines = inspect.cleandoc(docstring).splitlines()
    parts: dict[str, list[str]] = {"summary": lines[:1], **{name.lower(): [] for name in SECTIONS}}
    current: list[str] = []
    for line in lines[1:]:
        head, colon, rest = line.partition(":")
        starts_section = colon and head in SECTIONS
        if starts_section:
            current = parts[head.lower()]
        current.append(rest if starts_section else line)
    return {name: inspect.cleandoc("\n".join(text)).strip() for name, text in parts.items()}


def unknown(kind: str, name: str, known: Iterable[str]) -> CreditError:
    """Make the error for a name that does not exist, with the nearest names that do."""
    names = sorted(known)
    by_small = {each.lower(): each for each in names}
    close = [by_small[each] for each in difflib.get_close_matches(name.lower(), by_small, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"there is {', '.join(names) or 'none'}"
    return CreditError(f"unknown {kind} {name!r}: {hint}")


def _resolved(
    name: str, hints: Mapping[str, Any], presets: Mapping[str, Mapping[str, Any]], options: dict[str, Any]
) -> dict[str, Any]:
    """Check the options against the annotations, and fill in what a preset sets."""
    for option, value in list(options.items()):
        if option not in hints:
            raise unknown(f"option of {name}", option, hints)
        _check_option(f"{name}: option {option!r}", hints[option], value)
        options[option] = tuple(value) if isinstance(value, list) else value
    preset = options.pop("compat", None)
    return {**presets.get(preset, {}), **options}


def _check_option(what: str, hint: Any, value: Any) -> None:
    if should_be := _should_be(hint, value):
        raise CreditError(f"{what} is {should_be}, got {value!r}")


def _should_be(hint: Any, value: Any, bounds: Sequence[Any] = ()) -> str:
    """Return in words what a value should be; empty where it is that."""
    if typing.get_origin(hint) is Annotated:
        hint, *notes = typing.get_args(hint)
        bounds = [bound for note in notes for bound in getattr(note, "metadata", [note])]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        if value is None and len(parts) < len(typing.get_args(hint)):
            return ""
        told = [_should_be(part, value, bounds) for part in parts]
        return "" if "" in told else " or ".join(told)
    if typing.get_origin(hint) is Literal:
        is_choice = any(type(value) is type(choice) and value == choice for choice in typing.get_args(hint))
        return "" if is_choice else f"one of {', '.join(map(repr, typing.get_args(hint)))}"
    if typing.get_origin(hint) is tuple and typing.get_args(hint)[1:] == (...,):
        item = typing.get_args(hint)[0]
        is_list = isinstance(value, tuple | list) and not any(_should_be(item, each) for each in value)
        return "" if is_list else f"a tuple of {'names' if item is str else 'finite numbers'}"
    if hint is bool:
        return "" if isinstance(value, bool | np.bool_) else "True or False"
    if hint is str:
        return "" if isinstance(value, str) and value.strip() else "a text"
    return _should_be_number(hint, value, bounds) if hint in (int, float) else ""


def _should_be_number(hint: Any, value: Any, bounds: Sequence[Any]) -> str:
    kinds = (int, np.integer) if hint is int else (int, float, np.integer, np.floating)
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [(sign, getattr(bound, sign)) for bound in bounds for sign in signs if hasattr(bound, sign)]
    number: Any = value if isinstance(value, kinds) and not isinstance(value, bool) else np.inf
    is_number = abs(number) <= sys.float_info.max
    if is_number and all(getattr(operator, sign)(number, limit) for sign, limit in limits):
        return ""
    words = ", " + " and ".join(f"{signs[sign]} {limit:g}" for sign, limit in limits) if limits else ""
    if [sign for sign, _ in limits] == ["ge", "le"]:
        words = f" in [{limits[0][1]:g}, {limits[1][1]:g}]"
    return f"a finite {'whole ' if hint is int else ''}number{words}"
