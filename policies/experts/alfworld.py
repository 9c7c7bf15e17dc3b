"""The ALFWorld expert: a hand-written agent that sees what any agent sees, and nothing more.

From the texts of the episode it knows which receptacles there are, what it saw in them and what it did; from
the admissible actions what it can do now. It looks for things where they are most often found in the train
games, most likely place per step of work first, and forgets nothing. It works from any situation, also one
that another policy has made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.resources import files

from envs.base.digest import digest_of
from envs.base.errors import UserError
from policies.contract import Prompt, Response
from policies.experts.alfworld_memory import Goal, Memory, kind_of, read_goal, remember

VERSION = 1

_APPLIANCES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
_DOORS = {"cabinet", "drawer", "fridge", "microwave", "safe"}
_ELSEWHERE = 0.001
"""Expected number of objects in a receptacle of a kind where they were never found: small, but not nothing."""


class AlfworldExpert:
    """Finds, treats and places objects, or looks at them under a lamp, in any house of ALFWorld."""

    name = "expert"

    @property
    def digest(self) -> str:
        """Short hash of what decides the answers."""
        return digest_of("alfworld-expert", VERSION)

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer each prompt.

        Raises:
            UserError: the task is not one of ALFWorld's, or no admissible actions are given.
        """
        return [Response(_choose(prompt)) for prompt in prompts]


@lru_cache(maxsize=1)
def placements() -> dict[str, dict[str, float]]:
    """Return kind of object -> kind of receptacle -> mean number of such objects in one such receptacle.

    Counted over the start of the 3,553 official train games (``alfworld_placements.json``).
    """
    table: dict[str, dict[str, float]] = json.loads(
        (files("policies.experts") / "alfworld_placements.json").read_text(encoding="utf-8")
    )
    return table


def _choose(prompt: Prompt) -> str:
    admissible = prompt.info.get("admissible_actions")
    if not admissible:
        raise UserError("the expert needs the list of admissible actions, and the environment gives none")
    observations = [*(turn.observation for turn in prompt.history), prompt.observation]
    situation = _Situation(read_goal(observations[0]), remember(observations), admissible)
    return situation.next_action()


class _Situation:
    """The goal, what is remembered, what can be done now; methods return an action or None: not possible."""

    def __init__(self, goal: Goal, memory: Memory, admissible: Sequence[str]) -> None:
        self.goal, self.memory = goal, memory
        self.admissible = dict.fromkeys(admissible)
        self.here = {action[8:] for action in self.admissible if action.startswith("examine ")}
        self.here.intersection_update(memory.receptacles)

    def next_action(self) -> str:
        goal, held = self.goal, self.memory.held
        if goal.lamp and (action := self._use_lamp()):
            return action
        if held is None:
            action = self._fetch()
        elif kind_of(held) != goal.object:
            action = self._put_away(held)
        elif goal.lamp:
            action = self._reach_lamp()
        elif goal.verb and held not in self.memory.done[goal.verb]:
            action = self._treat(held)
        else:
            action = self._deliver(held)
        # Everything known was tried: look for what was missed.
        return action or self._revisit(self.memory.receptacles) or "look"

    # -- the parts of a task -----------------------------------------------------------------------------

    def _use_lamp(self) -> str | None:
        """Any lamp within reach counts once it was used, also before the object is held."""
        for action in self.admissible:
            lamp = action.removeprefix("use ")
            if lamp != action and kind_of(lamp) == self.goal.lamp and lamp not in self.memory.used:
                return action
        return None

    def _reach_lamp(self) -> str | None:
        for receptacle in self._holding(self.goal.lamp):
            if action := self._approach(receptacle):
                return action
        return self._search(self.goal.lamp)

    def _fetch(self) -> str | None:
        """Take a wanted object: within reach, else remembered, else searched for."""
        settled = self._settled()
        for offer in self.admissible:
            item, _, receptacle = offer.removeprefix("take ").partition(" from ")
            if receptacle and kind_of(item) == self.goal.object and item not in settled:
                return offer
        for receptacle in self._holding(self.goal.object, besides=settled):
            if action := self._approach(receptacle):
                return action
        return self._search(self.goal.object, self.goal.lamp)

    def _treat(self, held: str) -> str | None:
        kind = _APPLIANCES[self.goal.verb]
        appliances = [name for name in self.memory.receptacles if kind_of(name) == kind]
        for name in appliances:
            if (action := f"{self.goal.verb} {held} with {name}") in self.admissible:
                return action
        return self._first(f"go to {name}" for name in appliances)

    def _deliver(self, held: str) -> str | None:
        """Put the held object into a receptacle of the wanted kind: next to its twin, else the easiest one."""
        places = [name for name in self.memory.receptacles if kind_of(name) == self.goal.place]
        places.sort(key=lambda name: (-len(self._alike(name) - {held}), self._cost(name)))
        for place in places:
            if action := self._first((f"move {held} to {place}", f"go to {place}", f"open {place}")):
                return action
        return None

    def _put_away(self, held: str) -> str | None:
        """Put down something that is not wanted, wherever that can be done."""
        if action := self._first(action for action in self.admissible if action.startswith(f"move {held} to ")):
            return action
        likely = placements().get(kind_of(held), {})
        return self._revisit([name for name in self.memory.receptacles if kind_of(name) in likely])

    def _search(self, *kinds: str) -> str | None:
        """Look into the unseen receptacle with the most hope of any of these kinds of thing per step."""
        best, best_score = None, 0.0
        for receptacle in self.memory.receptacles:
            action = self._approach(receptacle)
            if receptacle in self.memory.seen or action is None:
                continue
            score = self._hope(receptacle, kinds) / max(1, self._cost(receptacle))
            if score > best_score:
                best, best_score = action, score
        return best

    def _revisit(self, receptacles: Sequence[str]) -> str | None:
        """Look into these receptacles again, those not visited for longest first."""
        closed_here = [f"open {name}" for name in receptacles if name in self.here]
        longest_ago = sorted(receptacles, key=lambda name: self.memory.arrived.get(name, -1))
        return self._first((*closed_here, *(f"go to {name}" for name in longest_ago)))

    # -- judgements ----------------------------------------------------------------------------------------

    def _alike(self, receptacle: str) -> set[str]:
        """The objects of the wanted kind that were seen in a receptacle."""
        return {item for item in self.memory.inside.get(receptacle, ()) if kind_of(item) == self.goal.object}

    def _settled(self) -> set[str]:
        """The objects that are where they should be, and are not to be taken away."""
        if self.goal.count < 2:
            return set()
        places = [name for name in self.memory.receptacles if kind_of(name) == self.goal.place]
        return max((self._alike(place) for place in places), key=len, default=set())

    def _holding(self, kind: str, besides: frozenset[str] | set[str] = frozenset()) -> list[str]:
        """The receptacles where things of a kind were seen, the easiest to reach first."""
        found = [
            name
            for name, items in self.memory.inside.items()
            if any(kind_of(item) == kind and item not in besides and item != self.memory.held for item in items)
        ]
        return sorted(found, key=lambda name: (self._cost(name), name))

    def _hope(self, receptacle: str, kinds: tuple[str, ...]) -> float:
        """Expected number of things of these kinds in a receptacle that was not seen into."""
        where = kind_of(receptacle)
        hope = sum(placements().get(kind, {}).get(where, _ELSEWHERE) for kind in kinds if kind)
        # Where no treatment is needed, the objects to place are not at their place when a game starts.
        return hope * _ELSEWHERE if where == self.goal.place and not self.goal.verb else hope

    def _cost(self, receptacle: str) -> int:
        """Steps until the inside of a receptacle is in reach."""
        if receptacle in self.here:
            return int(f"open {receptacle}" in self.admissible)
        perhaps_closed = receptacle not in self.memory.seen and kind_of(receptacle) in _DOORS
        return 1 + (receptacle in self.memory.closed or perhaps_closed)

    def _approach(self, receptacle: str) -> str | None:
        """The next step towards the inside of a receptacle; None when it is in reach already."""
        return self._first((f"go to {receptacle}", f"open {receptacle}"))

    def _first(self, actions: Iterable[str]) -> str | None:
        return next((action for action in actions if action in self.admissible), None)
