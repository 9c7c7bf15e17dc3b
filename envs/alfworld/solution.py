"""Planning with full knowledge: a shortest list of commands that does a game's task, errand by errand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations

from envs.alfworld.engine import Engine
from envs.alfworld.goals import LookGoal, PlaceGoal
from envs.alfworld.problem import House, State, bits

_TREATMENTS = {"clean": ("clean", "sinkbasin"), "hot": ("heat", "microwave"), "cool": ("cool", "fridge")}


def solve(engine: Engine) -> tuple[str, ...] | None:
    """Return commands that win from the start of a game, with the last one and not before.

    Plans fetch each object from where it is, treat it and put it down, objects one after the other. The answer
    is a shortest such plan (the first one found of equals), played to check it and cut where it wins; None
    where no such plan wins. Empty where the game is won at its start.
    """
    goal = engine.goal
    plans = _look_plans(engine, goal) if isinstance(goal, LookGoal) else _place_plans(engine, goal)
    plan = min(plans, key=len, default=())
    state = engine.start
    for number, command in enumerate(plan):
        if engine.won(state):
            return plan[:number]
        state, _ = engine.act(state, engine.commands(state)[command])
    return plan if engine.won(state) else None


class _Walk:
    """Commands gathered so far, where they lead, and what they opened."""

    def __init__(self, house: House, state: State) -> None:
        self.house, self.location, self.opened = house, state.location, state.opened
        self.commands: list[str] = []

    def go(self, receptacle: int) -> None:
        if self.location != self.house.location_of[receptacle]:
            self.location = self.house.location_of[receptacle]
            self.commands.append(f"go to {self.house.receptacles[receptacle]}")

    def reach(self, receptacle: int) -> None:
        """Go there, and open it if need be."""
        self.go(receptacle)
        if self.house.openable & ~self.opened & 1 << receptacle:
            self.opened |= 1 << receptacle
            self.commands.append(f"open {self.house.receptacles[receptacle]}")

    def take(self, item: int, receptacle: int) -> None:
        self.reach(receptacle)
        self.commands.append(f"take {self.house.objects[item]} from {self.house.receptacles[receptacle]}")

    def treat(self, verb: str, item: int, receptacle: int) -> None:
        self.go(receptacle)
        self.commands.append(f"{verb} {self.house.objects[item]} with {self.house.receptacles[receptacle]}")

    def move(self, item: int, receptacle: int) -> None:
        self.reach(receptacle)
        self.commands.append(f"move {self.house.objects[item]} to {self.house.receptacles[receptacle]}")


def _look_plans(engine: Engine, goal: LookGoal) -> Iterator[tuple[str, ...]]:
    house, start = engine.house, engine.start
    for item, source in _sources(house, start, goal.objects & house.pickupable):
        for lamp, place in _sources(house, start, goal.lamps & house.toggleable):
            walk = _Walk(house, start)
            walk.take(item, source)
            walk.go(place)
            walk.commands.append(f"use {house.objects[lamp]}")
            yield tuple(walk.commands)


def _place_plans(engine: Engine, goal: PlaceGoal) -> Iterator[tuple[str, ...]]:
    house, start = engine.house, engine.start
    sources = list(_sources(house, start, goal.objects & house.pickupable))
    verbs = [_TREATMENTS[condition] for condition in goal.conditions if condition in _TREATMENTS]
    appliances = [tuple(bits(house.receptacles_of_type(kind))) for _, kind in verbs]
    passed = {house.location_of[r] for _, r in sources} | {house.location_of[r] for a in appliances for r in a}
    for place in _distinct(house, goal.receptacles, passed):
        for errands in permutations(sources, goal.count):
            items = {item for item, _ in errands}
            fits = all(house.accepts[place] >> item & 1 for item in items)
            if len(items) == goal.count and fits and all(source != place or verbs for _, source in errands):
                yield from _routes(house, start, errands, verbs, appliances, place)


def _routes(
    house: House,
    start: State,
    errands: tuple[tuple[int, int], ...],
    verbs: list[tuple[str, str]],
    appliances: list[tuple[int, ...]],
    place: int,
) -> Iterator[tuple[str, ...]]:
    """One plan for each appliance that could be used; at most one kind of treatment is ever asked for."""
    for appliance in appliances[0] if appliances else (None,):
        walk = _Walk(house, start)
        for item, source in errands:
            walk.take(item, source)
            if appliance is not None:
                walk.treat(verbs[0][0], item, appliance)
            walk.move(item, place)
        yield tuple(walk.commands)


def _sources(house: House, state: State, members: int) -> Iterator[tuple[int, int]]:
    """Pairs (object, receptacle that it is in)."""
    for receptacle in range(len(house.receptacles)):
        for item in bits(state.inside[receptacle] & members):
            yield item, receptacle


def _distinct(house: House, receptacles: Iterable[int], passed: set[int]) -> Iterator[int]:
    """Leave out receptacles that are as far from everything as one already yielded."""
    seen = set()
    for receptacle in receptacles:
        location = house.location_of[receptacle]
        key = (location if location in passed else None, house.openable >> receptacle & 1)
        if key not in seen:
            seen.add(key)
            yield receptacle
