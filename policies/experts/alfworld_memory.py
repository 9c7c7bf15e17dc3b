"""What an ALFWorld agent can know: the task from its sentence, the house from the texts it has read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from envs.base.errors import UserError

_NAME = r"[a-z]+ \d+"
_NAMES = re.compile(rf"\ba ({_NAME})")
_SEEN = re.compile(rf"(?:On the|The) ({_NAME})(?: is open\. In it)?, you see (.*)\.$", re.DOTALL)
_CLOSED = re.compile(rf"The ({_NAME}) is closed\.|You close the ({_NAME})\.")
_DONE = re.compile(rf"You (pick up|move|clean|heat|cool|turn on) the ({_NAME})(?: (?:from|to|using) the ({_NAME}))?\.")
_CARRYING = re.compile(rf"You are carrying: a ({_NAME})\.")
_ARRIVED = re.compile(rf"You arrive at ({_NAME})\.")

_SENTENCE = re.compile(r"Your task is to: (.+?)\s*$", re.DOTALL)
_CONDITION = {"clean": "clean", "hot": "heat", "heat": "heat", "cool": "cool"}
_A, _IN = "(?:some|the|an?)", "(?:in|on|in/on)"
_OBJECT, _PLACE = r"(?P<object>\w+)", r"(?:(?:the|an?) )?(?P<place>\w+)"
_FORMS = [
    re.compile(form)
    for form in (
        rf"(?:look at|examine) (?:{_A} )?{_OBJECT} (?:under|with) (?:{_A} )?(?P<lamp>\w*lamp)",
        rf"(?:put|find) (?P<two>two) {_OBJECT} (?:and put them )?{_IN} {_PLACE}",
        rf"(?P<condition>clean|heat|cool) {_A} {_OBJECT} and put it {_IN} {_PLACE}",
        rf"put {_A} (?:(?P<condition>clean|hot|cool) )?{_OBJECT} {_IN} {_PLACE}",
    )
]


@dataclass(frozen=True, slots=True)
class Goal:
    """What the sentence of a task asks for; all kinds are words like ``apple``, ``sidetable``, ``desklamp``.

    Attributes:
        object: kind of object.
        place: kind of receptacle to put it in; empty for the lamp task.
        lamp: kind of lamp to look at it under; empty for the others.
        verb: ``clean``, ``heat`` or ``cool`` where that must be done first, else empty.
        count: how many different ones must be in the same receptacle.
    """

    object: str
    place: str = ""
    lamp: str = ""
    verb: str = ""
    count: int = 1


@dataclass(slots=True)
class Memory:
    """What is known of the house after some observations.

    Attributes:
        receptacles: names of all receptacles, as first listed.
        inside: receptacle -> the objects known to be in it.
        seen: receptacles that were seen into, so that ``inside`` is all there is.
        closed: receptacles found closed, or closed, and not opened since.
        arrived: receptacle -> index of the last observation that reported arriving there.
        held: the object in the hands, or None.
        done: verb -> the objects that are clean, hot or cool by what was done to them.
        used: lamps that were turned on.
    """

    receptacles: tuple[str, ...]
    inside: dict[str, set[str]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    arrived: dict[str, int] = field(default_factory=dict)
    held: str | None = None
    done: dict[str, set[str]] = field(default_factory=lambda: {"clean": set(), "heat": set(), "cool": set()})
    used: set[str] = field(default_factory=set)


def kind_of(name: str) -> str:
    """Return the kind of a thing: ``apple`` of ``apple 2``."""
    return name.rpartition(" ")[0]


@lru_cache(maxsize=4096)
def read_goal(first_observation: str) -> Goal:
    """Read the goal from the observation at the start of a game.

    Raises:
        UserError: there is no task sentence, or it is of no known form.
    """
    found = _SENTENCE.search(first_observation)
    if found is None:
        raise UserError("the expert finds no 'Your task is to: ...' in the first observation: it plays ALFWorld only")
    for form in _FORMS:
        if match := form.fullmatch(found.group(1).lower().rstrip(".")):
            parts = match.groupdict()
            return Goal(
                parts["object"],
                place=parts.get("place") or "",
                lamp=parts.get("lamp") or "",
                verb=_CONDITION.get(parts.get("condition") or "", ""),
                count=2 if parts.get("two") else 1,
            )
    raise UserError(f"the expert does not understand the task {found.group(1)!r}: it knows the games' own sentences")


def remember(observations: Iterable[str]) -> Memory:
    """Fold the observations of an episode, from its first one on, into what is known after the last."""
    iterator = iter(observations)
    memory = Memory(tuple(_read(next(iterator)).objects))
    for index, text in enumerate(iterator):
        _apply(memory, _read(text), index)
    return memory


@dataclass(frozen=True, slots=True)
class _Facts:
    """What one observation says."""

    arrived: str | None = None
    seen: str | None = None
    objects: tuple[str, ...] = ()
    closed: str | None = None
    verb: str | None = None
    object: str | None = None
    receptacle: str | None = None


@lru_cache(maxsize=65536)
def _read(text: str) -> _Facts:
    if done := _DONE.match(text):
        return _Facts(verb=done.group(1), object=done.group(2), receptacle=done.group(3))
    if carrying := _CARRYING.match(text):
        return _Facts(verb="carry", object=carrying.group(1))
    if text == "You are not carrying anything.":
        return _Facts(verb="carry")
    arrived, seen, closed = _ARRIVED.match(text), _SEEN.search(text), _CLOSED.search(text)
    if seen is None and not text.startswith("-="):
        return _Facts(arrived=arrived and arrived.group(1), closed=closed and closed.group(closed.lastindex or 0))
    return _Facts(
        arrived=arrived and arrived.group(1),
        seen=seen and seen.group(1),
        objects=tuple(_NAMES.findall(text.partition("you see")[2])),
    )


def _apply(memory: Memory, facts: _Facts, index: int) -> None:
    if facts.arrived:
        memory.arrived[facts.arrived] = index
    if facts.closed:
        memory.closed.add(facts.closed)
    if facts.seen:
        memory.inside[facts.seen] = set(facts.objects)
        memory.seen.add(facts.seen)
        memory.closed.discard(facts.seen)
    item, where = facts.object, facts.receptacle
    if facts.verb == "carry":
        memory.held = item
    elif item is None:
        return
    elif facts.verb == "turn on":
        memory.used.add(item)
    elif where is None:
        return
    elif facts.verb == "pick up":
        memory.held = item
        memory.inside.get(where, set()).discard(item)
    elif facts.verb == "move":
        memory.held = None
        memory.inside.setdefault(where, set()).add(item)
    elif facts.verb is not None:
        memory.done[facts.verb].add(item)
        if facts.verb in _OPPOSITE:
            memory.done[_OPPOSITE[facts.verb]].discard(item)


_OPPOSITE = {"heat": "cool", "cool": "heat"}
