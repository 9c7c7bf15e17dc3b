"""The fast engine in a house worked out by hand: texts, commands, quirks, goals, and exact branching."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_house import GOALS, small_game, small_problem

from envs.alfworld.engine import Engine
from envs.alfworld.games import BadGameError
from envs.alfworld.players import FastPlayer
from envs.alfworld.problem import State
from envs.alfworld.verify import wins


class Play:
    """Plays commands in the small house and remembers the last turn."""

    def __init__(self, kind: str = "Pick") -> None:
        self.player = FastPlayer()
        self.turn = self.player.start("key", small_game(kind))

    def __call__(self, *commands: str) -> str:
        for command in commands:
            self.turn = self.player.act(command)
            assert self.turn.is_valid, (command, self.turn.commands)
        return self.turn.observation

    def verbs(self, *verbs: str) -> list[str]:
        return [command for command in self.turn.commands if command.split()[0] in verbs]


def test_the_first_text_lists_the_receptacles_and_the_task() -> None:
    turn = Play().turn
    assert turn.observation == (
        "-= Welcome to TextWorld, ALFRED! =-\n\n"
        "You are in the middle of a room. Looking quickly around you, you see a cabinet 2, a cabinet 1, "
        "a countertop 1, a diningtable 1, a fridge 1, a microwave 1, a shelf 1, and a sinkbasin 1.\n\n"
        "Your task is to: do the pick task."
    )
    assert turn.commands == [
        *("go to cabinet 1", "go to cabinet 2", "go to countertop 1", "go to diningtable 1", "go to fridge 1"),
        *("go to microwave 1", "go to shelf 1", "go to sinkbasin 1", "help", "inventory", "look"),
    ]
    assert not turn.won and turn.is_valid


def test_looking_at_the_start_shows_nothing_although_the_first_text_did() -> None:
    start = "You are in the middle of a room. Looking quickly around you, you see nothing."
    assert Play()("look") == start


def test_receptacles_at_one_place_are_reached_together() -> None:
    play = Play()
    assert play("go to countertop 1") == (
        "You arrive at countertop 1. On the countertop 1, you see a apple 2, a egg 1, and a knife 1."
    )
    assert play.verbs("examine", "open", "close", "take", "move") == [
        *("examine cabinet 2", "examine countertop 1", "open cabinet 2"),
        *("take apple 2 from countertop 1", "take knife 1 from countertop 1"),
    ]
    assert "go to cabinet 2" not in play.turn.commands
    assert play("look") == "You are facing the cabinet 2, and countertop 1. Next to it, you see nothing."
    assert play("examine cabinet 2") == "The cabinet 2 is closed."
    assert play("open cabinet 2") == "You open the cabinet 2. The cabinet 2 is open. In it, you see a bread 1."
    assert "take bread 1 from cabinet 2" in play.turn.commands
    assert play("close cabinet 2") == "You close the cabinet 2."


def test_what_is_not_exactly_an_admissible_command_changes_nothing() -> None:
    play = Play()
    play("go to countertop 1")
    before, state = play.turn.commands, play.player.save()
    for command in ("Look", "go to  fridge 1", "take bread 1 from cabinet 2", "", "go to countertop 1", "go"):
        turn = play.player.act(command)
        assert turn == ("Nothing happens.", before, False, False)
        assert play.player.save() == state
    assert play("  look\n") == "You are facing the cabinet 2, and countertop 1. Next to it, you see nothing."


def test_an_object_in_two_receptacles_stays_in_the_other_one_when_taken() -> None:
    play = Play()
    taken = play("go to countertop 1", "take apple 2 from countertop 1")
    assert taken == "You pick up the apple 2 from the countertop 1."
    assert play("inventory") == "You are carrying: a apple 2."
    opened = play("go to fridge 1", "open fridge 1")
    assert opened == "You open the fridge 1. The fridge 1 is open. In it, you see a apple 2, and a apple 1."
    assert play.verbs("take") == [] and play.verbs("move") == ["move apple 2 to fridge 1"]


def test_objects_moved_between_receptacles_of_one_place_are_listed_beside_them() -> None:
    play = Play()
    play("go to diningtable 1", "take cup 1 from diningtable 1")
    assert play("move cup 1 to shelf 1") == "You move the cup 1 to the shelf 1."
    assert play("look") == "You are facing the diningtable 1, and shelf 1. Next to it, you see a cup 1."
    play("take cup 1 from shelf 1", "move cup 1 to diningtable 1")
    assert play("look").endswith("Next to it, you see a cup 1.")  # now it is missing from the shelf
    play("take cup 1 from diningtable 1", "move cup 1 to diningtable 1")
    assert play("examine shelf 1") == "On the shelf 1, you see a book 1."


def test_heating_undoes_cooling_and_a_closed_appliance_works() -> None:
    play = Play()
    play("go to fridge 1", "open fridge 1", "take apple 1 from fridge 1")
    assert play("examine apple 1") == "This is a cold apple 1."
    assert play("go to microwave 1", "heat apple 1 with microwave 1") == ("You heat the apple 1 using the microwave 1.")
    assert play("examine apple 1") == "This is a hot apple 1."
    play("go to sinkbasin 1", "clean apple 1 with sinkbasin 1")
    assert play("examine apple 1") == "This is a hot and clean apple 1."
    play("go to fridge 1", "close fridge 1", "cool apple 1 with fridge 1")
    assert play("examine apple 1") == "This is a cool and clean apple 1."


def test_a_knife_reaches_through_a_closed_door() -> None:
    play = Play()
    play("go to countertop 1", "take knife 1 from countertop 1")
    assert play.verbs("slice") == ["slice apple 2 with knife 1", "slice bread 1 with knife 1"]
    assert play("slice bread 1 with knife 1") == "You sliced the bread 1 with the knife 1."
    play("move knife 1 to countertop 1", "open cabinet 2", "take bread 1 from cabinet 2")
    assert play("examine bread 1") == "This is a sliced bread 1."
    play("go to fridge 1", "cool bread 1 with fridge 1")
    assert play("examine bread 1") == "This is a cool sliced bread 1."
    play("go to microwave 1", "heat bread 1 with microwave 1")
    assert play("examine bread 1") == "This is a hot sliced bread 1."


def test_a_lamp_is_always_turned_on() -> None:
    play = Play("Look")
    play("go to diningtable 1")
    assert play.verbs("use") == ["use desklamp 1"]
    assert play("use desklamp 1") == "You turn on the desklamp 1." == play("use desklamp 1")
    assert not play.turn.won
    play("take book 1 from shelf 1")
    assert play.turn.won


def test_a_container_shows_its_contents_and_never_its_condition() -> None:
    play = Play()
    play("go to diningtable 1", "take cup 1 from diningtable 1")
    play("go to sinkbasin 1", "clean cup 1 with sinkbasin 1")
    assert play("examine cup 1") == "This is a normal cup 1. In it, you see a spoon 1."


def test_help_and_plain_objects() -> None:
    play = Play()
    assert play("help").startswith("Available commands:\n  look:   ") and play("help").endswith("\n")
    assert play("inventory") == "You are not carrying anything."
    play("go to diningtable 1", "take spoon 1 from diningtable 1")
    assert play("examine spoon 1") == "There's nothing special about spoon 1."


@pytest.mark.parametrize("kind", sorted(GOALS))
def test_every_task_type_is_won_by_its_walkthrough_and_not_before(kind: str) -> None:
    assert wins(FastPlayer(), small_game(kind))


def test_two_objects_must_be_in_the_same_receptacle() -> None:
    play = Play("Pick2")
    play("go to fridge 1", "open fridge 1", "take apple 1 from fridge 1", "go to diningtable 1")
    play("move apple 1 to diningtable 1")
    assert not play.turn.won
    play("take apple 1 from diningtable 1", "go to countertop 1", "move apple 1 to countertop 1")
    assert play.turn.won


@given(choices=st.lists(st.integers(0, 10**6), max_size=60), branch=st.integers(0, 59))
@settings(max_examples=60, deadline=None)
def test_what_follows_a_snapshot_is_what_followed_there(choices: list[int], branch: int) -> None:
    player = FastPlayer()
    turns = [player.start("key", small_game("Pick2"))]
    saved = [player.save()]
    for choice in choices:
        commands = turns[-1].commands
        turns.append(player.act(commands[choice % len(commands)]))
        saved.append(player.save())
    branch = min(branch, len(choices))
    # In another player, after a trip through pickle: nothing may hide outside of the saved value.
    other = FastPlayer()
    other.start("key", small_game("Pick2"))
    turn = other.load(pickle.loads(pickle.dumps(saved[branch])))
    assert turn._replace(observation=turns[branch].observation) == turns[branch]
    for choice, expected in zip(choices[branch:], turns[branch + 1 :], strict=True):
        turn = other.act(turn.commands[choice % len(turn.commands)])
        assert turn == expected
    assert other.save() == saved[-1] and isinstance(other.save(), State)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("nonsense", "no .:init"),
        (small_problem(GOALS["Pick"], drop="(atLocation agent1 loc_bar_0)"), "start at one location"),
        (small_problem(GOALS["Pick"], add="(holds agent1 Apple_bar_1)"), "empty hands"),
        (small_problem(GOALS["Pick"], drop="(receptacleAtLocation Shelf_bar_1 loc_bar_5)"), "has no location"),
        (small_problem(GOALS["Pick"], add="(receptacleAtLocation Shelf_bar_1 loc_bar_4)"), "more than one location"),
        (small_problem(GOALS["Pick"], add="(inReceptacle Apple_bar_1)"), "must have 2 arguments"),
        (small_problem("(forall (?o - object) (isClean ?o))"), "forall"),
        (small_problem("(and)"), "none of the six"),
        (small_problem("(and (exists (?o - object) (isClean ?o)))"), "none of the six"),
        (small_problem("()"), "malformed"),
        ("(:init (atLocation agent1 loc_bar_0) (inReceptacle a_bar_1 b_bar_1)"
         "(receptacleAtLocation b_bar_1 loc_bar_1)) (:goal (and", "incomplete"),
    ],
)  # fmt: skip
def test_a_problem_that_cannot_be_played_is_named_as_such(problem: str, message: str) -> None:
    game = small_game()
    with pytest.raises(BadGameError, match=message):
        Engine(type(game)(**{**game.__dict__, "problem": problem}))
