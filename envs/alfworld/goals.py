"""The goal of a game: from its PDDL formula to a test on a state."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from envs.alfworld.games import BadGameError
from envs.alfworld.problem import NOTHING, House, State, bits

Formula = list["Formula | str"]
Fact = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlaceGoal:
    """Enough objects of a kind, in the wanted condition, in one receptacle of a kind.

    Attributes:
        objects: bit set of the objects that count.
        receptacles: the receptacles that count.
        conditions: fields of the state that each object must be in (``clean``, ``hot``, ``cool``...).
        count: how many objects must be in the same receptacle.
    """

    objects: int
    receptacles: tuple[int, ...]
    conditions: tuple[str, ...]
    count: int

    def reached(self, house: House, state: State) -> bool:
        """Return whether the goal holds in ``state``."""
        wanted = self.objects
        for condition in self.conditions:
            wanted &= getattr(state, condition)
        if not wanted:
            return False
        return any((state.inside[r] & wanted).bit_count() >= self.count for r in self.receptacles)


@dataclass(frozen=True, slots=True)
class LookGoal:
    """An object of a kind in the hands, and at the agent's location a lamp that was used.

    Attributes:
        objects: bit set of the objects to hold.
        lamps: bit set of the lamps.
    """

    objects: int
    lamps: int

    def reached(self, house: House, state: State) -> bool:
        """Return whether the goal holds in ``state``."""
        if state.held == NOTHING or not self.objects >> state.held & 1:
            return False
        lamps = self.lamps & state.used
        return any(state.inside[r] & lamps for r in house.receptacles_at[state.location])


Goal = PlaceGoal | LookGoal

_CONDITIONS = {
    "isclean": "clean",
    "ishot": "hot",
    "iscool": "cool",
    "issliced": "sliced",
    "istoggled": "used",
}
_PROPERTIES = ("pickupable", "cleanable", "heatable", "coolable", "sliceable", "toggleable")
_TOKEN = re.compile(r"[()]|[^\s()]+")


def read_goal(problem: str, house: House) -> Goal:
    """Read the goal formula of a PDDL problem.

    The formula must be a conjunction under ``exists`` of facts about variables, as in all six task types.

    Raises:
        BadGameError: the formula is malformed or of another form.
    """
    formula = _parse(problem.lower().partition("(:goal")[2])
    variables: dict[str, _Variable] = defaultdict(_Variable)
    relations: set[Fact] = set()
    different: set[frozenset[str]] = set()
    for fact in _flatten(formula, {}, iter(range(10**6))):
        predicate, *words = fact
        if predicate in _CONDITIONS and len(words) == 1:
            variables[words[0]].conditions.add(_CONDITIONS[predicate])
        elif predicate in _PROPERTIES and len(words) == 1:
            variables[words[0]].properties.add(predicate)
        elif predicate in ("objecttype", "receptacletype") and len(words) == 2:
            variables[words[0]].types.add(words[1].removesuffix("type"))
        elif predicate == "different":
            different.add(frozenset(words))
        else:
            relations.add(fact)
    goal = _as_place(house, variables, relations, different) or _as_look(house, variables, relations, different)
    if goal is None:
        raise BadGameError("its goal is of a form that is none of the six task types")
    return goal


class _Variable:
    """What a goal says of one of its variables alone."""

    def __init__(self) -> None:
        self.types: set[str] = set()
        self.properties: set[str] = set()
        self.conditions: set[str] = set()

    def objects(self, house: House) -> int:
        members = house.objects_of_type(*self.types) if len(self.types) == 1 else 0
        for name in self.properties:
            members &= getattr(house, name)
        return members


def _as_place(
    house: House,
    variables: dict[str, _Variable],
    relations: set[Fact],
    different: set[frozenset[str]],
) -> PlaceGoal | None:
    """``inReceptacle(o, r)`` for one object or two different alike ones, and nothing else."""
    if not relations or any(predicate != "inreceptacle" for predicate, *_ in relations):
        return None
    objects = sorted({o for _, o, _ in relations})
    receptacles = {r for _, _, r in relations}
    if len(receptacles) != 1 or different != ({frozenset(objects)} if len(objects) == 2 else set()):
        return None
    kinds = {(variables[o].objects(house), tuple(sorted(variables[o].conditions))) for o in objects}
    where = variables[receptacles.pop()]
    if len(kinds) != 1 or len(objects) > 2 or len(where.types) != 1:
        return None
    members, conditions = kinds.pop()
    return PlaceGoal(members, tuple(bits(house.receptacles_of_type(*where.types))), conditions, len(objects))


def _as_look(
    house: House,
    variables: dict[str, _Variable],
    relations: set[Fact],
    different: set[frozenset[str]],
) -> LookGoal | None:
    """``holds(a, o)``, and a used lamp in a receptacle at the agent's location."""
    by_predicate = {fact[0]: fact[1:] for fact in relations}
    if different or len(relations) != 4 or set(by_predicate) != _LOOK_RELATIONS:
        return None
    lamp, receptacle = by_predicate["inreceptacle"]
    placed, place = by_predicate["receptacleatlocation"]
    _, here = by_predicate["atlocation"]
    _, held = by_predicate["holds"]
    if placed != receptacle or place != here or variables[lamp].conditions != {"used"} or variables[held].conditions:
        return None
    return LookGoal(variables[held].objects(house), variables[lamp].objects(house))


_LOOK_RELATIONS = {"inreceptacle", "receptacleatlocation", "atlocation", "holds"}


def _parse(text: str) -> Formula:
    """Read the first complete formula of ``text``; what follows it is ignored."""
    stack: list[Formula] = [[]]
    for token in _TOKEN.findall(text):
        if token == "(":
            stack.append([])
        elif token == ")":
            if len(stack) == 1:
                break
            closed = stack.pop()
            stack[-1].append(closed)
            if len(stack) == 1:
                return closed
        else:
            stack[-1].append(token)
    raise BadGameError("its goal formula is incomplete")


def _flatten(formula: Formula | str, names: dict[str, str], fresh: Iterator[int]) -> Iterator[Fact]:
    """Yield the facts of a conjunction; variables of every ``exists`` get names of their own."""
    if isinstance(formula, str) or not formula:
        raise BadGameError("its goal formula is malformed")
    head, *rest = formula
    if head == "and":
        for part in rest:
            yield from _flatten(part, names, fresh)
    elif head == "exists" and len(rest) == 2 and isinstance(rest[0], list):
        bound = {word: f"{word}/{next(fresh)}" for word in rest[0] if isinstance(word, str) and word[0] == "?"}
        yield from _flatten(rest[1], {**names, **bound}, fresh)
    elif head == "not" and len(rest) == 1 and isinstance(rest[0], list) and rest[0][:1] == ["="]:
        yield ("different", *(names.get(str(word), str(word)) for word in rest[0][1:]))
    elif all(isinstance(word, str) for word in formula):
        yield (str(head), *(names.get(str(word), str(word)) for word in rest))
    else:
        raise BadGameError(f"its goal uses {head!r}, which is not understood")
