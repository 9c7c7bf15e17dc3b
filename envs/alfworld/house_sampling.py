"""Drawing a new house: which receptacles, where they stand, what is in them.

Numbers and placements follow the official train games, room by room; coordinates are made up and only serve
to tell things apart.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from envs.alfworld.house_tables import Frequency, Room, Tables, Target

T = TypeVar("T")

_APPLIANCES = {"Clean": "SinkBasin", "Heat": "Microwave", "Cool": "Fridge"}
_TARGET_COUNTS = {1: 41, 2: 29, 3: 19, 4: 11}
"""Number of objects of the wanted type -> percent of the official games with so many."""
_COLD = 0.054
"""Part of the coolable objects in fridges that are cool at the start."""
_IN_TWO = 0.0165
"""Part of the objects that are in a second receptacle too (the boxes of the original simulator overlap)."""


@dataclass(frozen=True, slots=True)
class Level:
    """How big houses are.

    Attributes:
        rooms: number of rooms, all of different kinds, the one that the task needs among them.
        receptacles: 1.0 for as many receptacles a room as in the official games, less for fewer.
        objects: the same for objects that the task does not need.
    """

    rooms: int
    receptacles: float
    objects: float


@dataclass(frozen=True, slots=True)
class Receptacle:
    """A receptacle of a new house; ``kind`` is its type."""

    id: str
    kind: str
    location: str
    openable: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a new house: where it is at the start (seldom in two receptacles), and whether it is cool."""

    id: str
    kind: str
    inside: tuple[Receptacle, ...]
    cool: bool


@dataclass(frozen=True, slots=True)
class HousePlan:
    """A new house."""

    receptacles: tuple[Receptacle, ...]
    things: tuple[Thing, ...]
    start: str


def sample_house(rng: random.Random, tables: Tables, level: Level, task_type: str, target: Target) -> HousePlan:
    """Draw a house in which the task can be done and is not done yet.

    Args:
        rng: the source of every draw.
        tables: what houses are made after.
        level: how big the house is.
        task_type: ``Pick``, ``Look``, ``Clean``, ``Heat``, ``Cool`` or ``Pick2``.
        target: what the task is about.
    """
    return _Builder(rng, tables, level, task_type, target).build()


class _Builder:
    def __init__(self, rng: random.Random, tables: Tables, level: Level, task_type: str, target: Target) -> None:
        self.rng, self.tables, self.level, self.task_type, self.target = rng, tables, level, task_type, target
        self.ids: set[str] = set()
        self.receptacles: list[Receptacle] = []
        self.things: list[Thing] = []

    def build(self) -> HousePlan:
        others = sorted(set(self.tables.rooms) - {self.target.room})
        others.sort(key=lambda _: self.rng.random())
        start = self._location()
        for name in (self.target.room, *others[: self.level.rooms - 1]):
            self._fill_room(self.tables.rooms[name], is_main=name == self.target.room)
        return HousePlan(tuple(self.receptacles), tuple(self.things), start)

    def _fill_room(self, room: Room, is_main: bool) -> None:
        needed = self._needed(room) if is_main else []
        here = self._furnish(room, needed)
        lamp = self.target.place if self.task_type == "Look" else ""
        if is_main:
            self._place_targets(room, here)
            if lamp:
                self._put(lamp, self._spots(room, lamp, here))
        for kind, frequency in room.objects.items():
            # Another room may hold wanted objects too, but never already in their place.
            if kind == lamp or (is_main and kind == self.target.object):
                continue
            if self.rng.random() < frequency.share * min(1.0, self.level.objects * 1.5):
                for _ in range(self._number(frequency, self.level.objects)):
                    self._put(kind, self._spots(room, kind, here), may_be_double=True)

    # -- receptacles ---------------------------------------------------------------------------------

    def _needed(self, room: Room) -> list[str]:
        """Receptacle types without which the task cannot be done: for target, treatment, object and lamp."""
        if self.task_type == "Look":
            return [self._pick(self._allowed(room, kind)) for kind in (self.target.object, self.target.place)]
        source = self._pick(self._allowed(room, self.target.object))
        return [source, self.target.place, _APPLIANCES.get(self.task_type, source)]

    def _furnish(self, room: Room, needed: Sequence[str]) -> list[Receptacle]:
        here: list[Receptacle] = []
        last = None
        for kind, frequency in room.receptacles.items():
            share = frequency.share * min(1.0, self.level.receptacles * 1.5)
            if kind in needed or self.rng.random() < share:
                for _ in range(self._number(frequency, self.level.receptacles)):
                    last = self._receptacle(room, kind, last)
                    here.append(last)
        self.receptacles.extend(here)
        return here

    def _receptacle(self, room: Room, kind: str, neighbour: Receptacle | None) -> Receptacle:
        shares = neighbour is not None and self.rng.random() < room.shared_locations
        location = neighbour.location if neighbour is not None and shares else self._location()
        stem = kind.removesuffix("Basin")  # a sink's basin is named after the sink
        name = self._id(stem, ending=f"_bar_{kind}" if stem != kind else "")
        return Receptacle(name, kind, location, self.rng.random() < self.tables.openable.get(kind, 0.0))

    # -- objects ---------------------------------------------------------------------------------------

    def _place_targets(self, room: Room, here: Sequence[Receptacle]) -> None:
        counts = {n: weight for n, weight in _TARGET_COUNTS.items() if n >= (2 if self.task_type == "Pick2" else 1)}
        for _ in range(self._pick(counts)):
            self._put(self.target.object, self._spots(room, self.target.object, here))

    def _put(self, kind: str, spots: dict[Receptacle, float], may_be_double: bool = False) -> None:
        if not spots:
            return
        inside = [self._pick(spots)]
        others = {spot: weight for spot, weight in spots.items() if spot is not inside[0] and not spot.openable}
        if may_be_double and kind != self.target.object and others and self.rng.random() < _IN_TWO:
            inside.append(self._pick(others))
        is_cold = inside[0].kind == "Fridge" and kind in self.tables.properties["coolable"]
        self.things.append(Thing(self._id(kind), kind, tuple(inside), is_cold and self.rng.random() < _COLD))

    def _spots(self, room: Room, kind: str, here: Sequence[Receptacle]) -> dict[Receptacle, float]:
        """The receptacles where an object of this type may be at the start, with weights."""
        allowed = self._allowed(room, kind)
        number = Counter(spot.kind for spot in here)
        return {spot: allowed[spot.kind] / number[spot.kind] for spot in here if spot.kind in allowed}

    def _allowed(self, room: Room, kind: str) -> dict[str, int]:
        """Receptacle types where objects of this type are found, without what would do the task already."""
        done = self.target.place if kind == self.target.object and self.task_type in ("Pick", "Pick2") else ""
        return {name: count for name, count in room.placements.get(kind, {}).items() if name != done}

    # -- draws -----------------------------------------------------------------------------------------

    def _pick(self, weights: Mapping[T, float]) -> T:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def _number(self, frequency: Frequency, scale: float) -> int:
        """Draw how many, with the official mean and range (binomial between least and most)."""
        spread = frequency.most - frequency.least
        chance = (frequency.mean - frequency.least) / spread if spread else 0.0
        number = frequency.least + sum(self.rng.random() < chance for _ in range(spread))
        return max(1, round(number * scale))

    def _id(self, kind: str, ending: str = "") -> str:
        """Make up a new id of the official form: type and coordinates in metres."""
        while True:
            position = "".join(_coordinate(self.rng.random() * width - low) for width, low in _BOX)
            if (name := f"{kind}{position}{ending}") not in self.ids:
                self.ids.add(name)
                return name

    def _location(self) -> str:
        """Make up a new place to stand: grid position, direction to face and angle of view."""
        while True:
            x, z, turn, angle = (int(self.rng.random() * n) for n in (30, 30, 4, 4))
            numbers = (x - 12, z - 12, turn, (-30, 30, 45, 60)[angle])
            name = "loc" + "".join(f"_bar_{_signed(number)}" for number in numbers)
            if name not in self.ids:
                self.ids.add(name)
                return name


_BOX = ((8.0, 4.0), (2.2, 0.0), (8.0, 4.0))
"""Width of a room along each axis, and how much of it is below zero; metres."""


def _coordinate(value: float) -> str:
    hundredths = round(abs(value) * 100)
    return f"_bar__{'minus' if value < 0 else 'plus'}_{hundredths // 100:02d}_dot_{hundredths % 100:02d}"


def _signed(number: int) -> str:
    return f"_minus_{-number}" if number < 0 else str(number)
