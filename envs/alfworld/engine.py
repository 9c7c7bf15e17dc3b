"""The fast engine: the rules and texts of the ALFWorld text game as functions of an immutable state.

It plays what alfworld 0.4.2 plays on TextWorld 1.7.0, step for step: the same texts, the same admissible
commands, the same end. The original derives all three from a planning library and a grammar each time; here
they are written out, on the sets of :class:`~envs.alfworld.problem.State`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from envs.alfworld.games import SENTENCE_START, Game
from envs.alfworld.goals import read_goal
from envs.alfworld.problem import NOTHING, State, bits, read_house

NOTHING_HAPPENS = "Nothing happens."
"""The answer to every command that is not admissible; it changes nothing."""

_MIDDLE_OF_ROOM = "You are in the middle of a room. Looking quickly around you, you see "

_HELP = """Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  move (object) to (receptacle):  place an object in or on a receptacle
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


class Action(NamedTuple):
    """A command that was understood.

    Attributes:
        verb: first word of the command; ``examine`` has ``receptacle`` or ``object`` set, not both.
        object: the object it is about, or ``NOTHING``.
        receptacle: the receptacle it is about, or ``NOTHING``.
    """

    verb: str
    object: int = NOTHING
    receptacle: int = NOTHING


class Engine:
    """The rules of one game. It never changes: one engine can serve any number of episodes at once.

    ``state = engine.start``, then ``commands = engine.commands(state)`` and
    ``state, text = engine.act(state, commands[command])``.

    Args:
        game: the game to play.

    Attributes:
        house: what never changes in the game.
        goal: the test of success.
        start: the state at the start.
        introduction: the text at the start.

    Raises:
        BadGameError: the game's problem text cannot be understood.
    """

    def __init__(self, game: Game) -> None:
        self.house = house = read_house(game.problem)
        self.goal = read_goal(game.problem, house)
        self.start = house.start
        around = _listed(f"a {name}" for name in house.receptacles)
        self.introduction = (
            f"-= Welcome to TextWorld, ALFRED! =-\n\n{_MIDDLE_OF_ROOM}{around}.\n\n{SENTENCE_START}{game.sentence}"
        )
        self._knives = house.objects_of_type("knife", "butterknife")
        self._appliances = {
            "clean": (house.cleanable, house.receptacles_of_type("sinkbasin")),
            "heat": (house.heatable, house.receptacles_of_type("microwave")),
            "cool": (house.coolable, house.receptacles_of_type("fridge")),
        }
        self._constant = self._constant_commands()

    def won(self, state: State) -> bool:
        """Return whether the goal is reached in ``state``."""
        return self.goal.reached(self.house, state)

    # -- what can be done --------------------------------------------------------------------------

    def commands(self, state: State) -> dict[str, Action]:
        """Return every admissible command with its meaning; ``sorted`` gives the original's order."""
        commands = self._constant[state.location].copy()
        for receptacle in self.house.receptacles_at[state.location]:
            commands.update(self._commands_at(state, receptacle))
        if state.held != NOTHING:
            commands.update(self._commands_in_hand(state))
        return commands

    def _constant_commands(self) -> list[dict[str, Action]]:
        """For each location, the commands that are always admissible there."""
        house = self.house
        always = {verb: Action(verb) for verb in ("look", "inventory", "help")}
        go = {f"go to {name}": Action("go", receptacle=r) for r, name in enumerate(house.receptacles)}
        tables = []
        for here in house.receptacles_at:
            commands = always | go
            for receptacle in here:
                name = house.receptacles[receptacle]
                del commands[f"go to {name}"]
                commands[f"examine {name}"] = Action("examine", receptacle=receptacle)
            tables.append(commands)
        return tables

    def _commands_at(self, state: State, receptacle: int) -> Iterator[tuple[str, Action]]:
        house, held = self.house, state.held
        name, inside = house.receptacles[receptacle], state.inside[receptacle]
        is_open = True
        if house.openable >> receptacle & 1:
            is_open = bool(state.opened >> receptacle & 1)
            verb = "close" if is_open else "open"
            yield f"{verb} {name}", Action(verb, receptacle=receptacle)
        for lamp in bits(inside & house.toggleable):
            yield f"use {house.objects[lamp]}", Action("use", lamp)
        if held == NOTHING:
            if is_open:
                for item in bits(inside & house.pickupable):
                    yield f"take {house.objects[item]} from {name}", Action("take", item, receptacle)
            return
        if is_open and house.accepts[receptacle] >> held & 1:
            yield f"move {house.objects[held]} to {name}", Action("move", held, receptacle)
        for verb, (objects, appliances) in self._appliances.items():
            if appliances >> receptacle & 1 and objects >> held & 1:
                yield f"{verb} {house.objects[held]} with {name}", Action(verb, held, receptacle)

    def _commands_in_hand(self, state: State) -> Iterator[tuple[str, Action]]:
        house, held = self.house, state.held
        name = house.objects[held]
        yield f"examine {name}", Action("examine", held)
        if self._knives >> held & 1:
            # Where the object is said to be is all that counts: a closed door does not protect it.
            for item in bits(state.at[state.location] & house.sliceable):
                yield f"slice {house.objects[item]} with {name}", Action("slice", item)

    # -- doing it -----------------------------------------------------------------------------------

    def act(self, state: State, action: Action) -> tuple[State, str]:
        """Carry out an action that is admissible in ``state``; return the new state and the game's answer."""
        verb, item, receptacle = action
        house = self.house
        what, where = house.objects[item], house.receptacles[receptacle]  # meant only where the verb has them
        if verb == "go":
            state = state._replace(location=house.location_of[receptacle])
            return state, f"You arrive at {where}. {self._see(state, receptacle)}"
        if verb == "take":
            return self._take(state, item, receptacle), f"You pick up the {what} from the {where}."
        if verb == "move":
            return self._move(state, item, receptacle), f"You move the {what} to the {where}."
        if verb == "open":
            state = state._replace(opened=state.opened | 1 << receptacle)
            return state, f"You open the {where}. {self._see(state, receptacle)}"
        if verb == "close":
            return state._replace(opened=state.opened & ~(1 << receptacle)), f"You close the {where}."
        if verb in self._appliances:
            return self._treat(state, verb, item), f"You {verb} the {what} using the {where}."
        if verb == "use":
            # The original asks whether the lamp was ever used, and so says the same when it goes out.
            return state._replace(used=state.used | 1 << item), f"You turn on the {what}."
        if verb == "slice":
            text = f"You sliced the {what} with the {house.objects[state.held]}."
            return state._replace(sliced=state.sliced | 1 << item), text
        if verb == "examine":
            return state, self._see(state, receptacle) if item == NOTHING else self._examine(state, item)
        if verb == "look":
            return state, self._look(state)
        return state, self._inventory(state) if verb == "inventory" else _HELP

    def _take(self, state: State, item: int, receptacle: int) -> State:
        # An object in a second receptacle stays listed there while it is held.
        bit = 1 << item
        return state._replace(
            held=item,
            inside=_with(state.inside, receptacle, state.inside[receptacle] & ~bit),
            at=_with(state.at, state.location, state.at[state.location] & ~bit),
            taken=_with(state.taken, receptacle, state.taken[receptacle] | bit),
        )

    def _move(self, state: State, item: int, receptacle: int) -> State:
        bit = 1 << item
        return state._replace(
            held=NOTHING,
            inside=_with(state.inside, receptacle, state.inside[receptacle] | bit),
            at=_with(state.at, state.location, state.at[state.location] | bit),
            taken=_with(state.taken, receptacle, state.taken[receptacle] & ~bit),
        )

    def _treat(self, state: State, verb: str, item: int) -> State:
        bit = 1 << item
        if verb == "clean":
            return state._replace(clean=state.clean | bit)
        if verb == "heat":
            return state._replace(hot=state.hot | bit, cool=state.cool & ~bit)
        return state._replace(cool=state.cool | bit, hot=state.hot & ~bit)

    # -- what is said --------------------------------------------------------------------------------

    def _see(self, state: State, receptacle: int) -> str:
        name = self.house.receptacles[receptacle]
        is_openable = self.house.openable >> receptacle & 1
        if is_openable and not state.opened >> receptacle & 1:
            return f"The {name} is closed."
        inside = self._list_objects(state.inside[receptacle])
        if is_openable:
            return f"The {name} is open. In it, you see {inside}."
        return f"On the {name}, you see {inside}."

    def _look(self, state: State) -> str:
        house = self.house
        here = house.receptacles_at[state.location]
        if not here:
            return f"{_MIDDLE_OF_ROOM}nothing."
        # Listed beside the receptacles, once for each receptacle here that it was taken from: in practice
        # an object that was moved from one receptacle of this location to another one.
        beside = [o for o in bits(state.at[state.location]) for r in here if state.taken[r] >> o & 1]
        facing = _listed(house.receptacles[r] for r in here)
        next_to_it = _listed(f"a {house.objects[o]}" for o in beside)
        return f"You are facing the {facing}. Next to it, you see {next_to_it}."

    def _inventory(self, state: State) -> str:
        if state.held == NOTHING:
            return "You are not carrying anything."
        return f"You are carrying: a {self.house.objects[state.held]}."

    def _examine(self, state: State, item: int) -> str:
        house = self.house
        name = house.objects[item]
        if house.containers >> item & 1:
            return f"This is a normal {name}. In it, you see {self._list_objects(house.contents[item])}."
        is_clean, is_hot, is_cool, is_sliced = (
            bool(members >> item & 1) for members in (state.clean, state.hot, state.cool, state.sliced)
        )
        heat = "hot" if is_hot else "cool" if is_cool else ""
        if not (is_clean or heat):
            if house.toggleable & state.used & 1 << item:
                return f"This {name} is on."
            if is_sliced and house.sliceable >> item & 1:
                return f"This is a sliced {name}."
            return f"There's nothing special about {name}."
        if heat == "cool" and not (is_clean or is_sliced):
            heat = "cold"
        condition = " and ".join(word for word in (heat, "clean" if is_clean else "") if word)
        return f"This is a {condition}{' sliced' if is_sliced else ''} {name}."

    def _list_objects(self, members: int) -> str:
        return _listed([f"a {self.house.objects[o]}" for o in bits(members)])


def _with(values: tuple[int, ...], position: int, value: int) -> tuple[int, ...]:
    return (*values[:position], value, *values[position + 1 :])


def _listed(names: Iterable[str]) -> str:
    """``a``, or ``a, and b``, or ``a, b, and c``; ``nothing`` when empty."""
    *first, last = list(names) or ["nothing"]
    return f"{', '.join(first)}, and {last}" if first else last
