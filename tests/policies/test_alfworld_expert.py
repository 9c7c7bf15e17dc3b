"""The ALFWorld expert: wins by what it can see alone, from any situation, and answers the same to the same."""

from __future__ import annotations

import json
import lzma
import pickle
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs import Task, UserError, make
from envs.alfworld.games import Game, parse_compact_line
from envs.alfworld.generator import parse_split
from envs.alfworld.players import FastPlayer
from policies import Prompt, Turn
from policies.experts.alfworld import AlfworldExpert, placements
from policies.experts.alfworld_memory import Goal, read_goal, remember

Chooser = Callable[[Prompt], str]
KINDS = {
    "pick_and_place_simple": ("", 1),
    "look_at_obj_in_light": ("", 1),
    "pick_clean_then_place_in_recep": ("clean", 1),
    "pick_heat_then_place_in_recep": ("heat", 1),
    "pick_cool_then_place_in_recep": ("cool", 1),
    "pick_two_obj_and_place": ("", 2),
}


def expert(prompt: Prompt) -> str:
    [response] = AlfworldExpert().act([prompt])
    return response.action


def play(game: Game, choose: Chooser = expert, max_steps: int = 50) -> tuple[bool, list[Turn]]:
    """Play one game; return whether it was won, and its turns. The policy sees texts and commands only."""
    player, task = FastPlayer(), Task(game.id, game.name, game.task_type, 0)
    turn, history = player.start(game.id, game), list[Turn]()
    while not turn.won and len(history) < max_steps:
        prompt = Prompt(task, turn.observation, {"admissible_actions": turn.commands}, tuple(history), seed=0)
        history.append(Turn(turn.observation, choose(prompt)))
        turn = player.act(history[-1].action)
        assert turn.is_valid, history[-1].action
    return turn.won, history


# -- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "goal"),
    [
        ("put some mug on desk.", Goal("mug", place="desk")),
        ("put a soapbar in garbagecan.", Goal("soapbar", place="garbagecan")),
        ("put a clean mug in desk.", Goal("mug", place="desk", verb="clean")),
        ("clean some cloth and put it in bathtubbasin.", Goal("cloth", place="bathtubbasin", verb="clean")),
        ("put a hot egg in fridge.", Goal("egg", place="fridge", verb="heat")),
        ("heat some cup and put it in cabinet.", Goal("cup", place="cabinet", verb="heat")),
        ("put a cool tomato in microwave.", Goal("tomato", place="microwave", verb="cool")),
        ("cool some pan and put it in stoveburner.", Goal("pan", place="stoveburner", verb="cool")),
        ("put two cd in safe.", Goal("cd", place="safe", count=2)),
        ("find two pen and put them in drawer.", Goal("pen", place="drawer", count=2)),
        ("look at bowl under the desklamp.", Goal("bowl", lamp="desklamp")),
        ("examine the book with the floorlamp.", Goal("book", lamp="floorlamp")),
    ],
)
def test_every_form_of_sentence_is_understood(sentence: str, goal: Goal) -> None:
    assert read_goal(f"You are in a room.\n\nYour task is to: {sentence}") == goal


def test_a_sentence_that_is_not_understood_is_refused() -> None:
    with pytest.raises(UserError, match="does not understand the task 'tidy up"):
        read_goal("Your task is to: tidy up the room.")
    with pytest.raises(UserError, match="plays ALFWorld only"):
        read_goal("Welcome to the shop")


def test_memory_follows_what_the_texts_tell() -> None:
    texts = [
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
        "a cabinet 2, a cabinet 1, and a desk 1.\n\nYour task is to: put a mug in desk.",
        "You arrive at desk 1. On the desk 1, you see a mug 2, and a pen 1.",
        "You pick up the mug 2 from the desk 1.",
        "You arrive at cabinet 1. The cabinet 1 is closed.",
        "You open the cabinet 1. The cabinet 1 is open. In it, you see nothing.",
        "You move the mug 2 to the cabinet 1.",
        "You close the cabinet 1.",
        "Nothing happens.",
        "You arrive at cabinet 2. The cabinet 2 is closed.",
    ]
    memory = remember(texts)
    assert memory.receptacles == ("cabinet 2", "cabinet 1", "desk 1")
    assert memory.inside == {"desk 1": {"pen 1"}, "cabinet 1": {"mug 2"}}
    assert memory.seen == {"desk 1", "cabinet 1"} and memory.closed == {"cabinet 1", "cabinet 2"}
    assert memory.held is None and remember(texts[:4]).held == "mug 2"
    treated = remember(
        [*texts[:3], "You heat the mug 2 using the microwave 1.", "You cool the mug 2 using the fridge 1."]
    )
    assert treated.done == {"clean": set(), "heat": set(), "cool": {"mug 2"}}


# -- playing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["small", "normal"])
def test_the_expert_wins_every_generated_game(level: str) -> None:
    env = make("alfworld", split=f"generated:21:90:{level}")
    lost = []
    for task in env.tasks:
        observation, info = env.reset(options={"task": task.id})
        history, truncated = list[Turn](), False
        while not (info["won"] or truncated):
            seen = {"admissible_actions": info["admissible_actions"]}  # no walkthrough
            action = expert(Prompt(task, observation, seen, tuple(history), seed=0))
            history.append(Turn(observation, action))
            observation, _, _, truncated, info = env.step(action)
        if not info["won"]:
            lost.append(task.name)
    assert lost == []


def test_the_expert_wins_most_games_in_large_houses() -> None:
    assert sum(play(game)[0] for game in parse_split("generated:21:60:large")) >= 55


def test_equal_prompts_get_equal_answers_in_any_batch() -> None:
    env = make("alfworld", split="generated:4:6")
    prompts = []
    for task in env.tasks:
        observation, info = env.reset(options={"task": task.id})
        history: list[Turn] = []
        while not info["won"]:
            prompts.append(Prompt(task, observation, info, tuple(history), seed=0))
            history.append(Turn(observation, expert(prompts[-1])))
            observation, *_, info = env.step(history[-1].action)
    alone = [expert(prompt) for prompt in prompts]
    assert [response.action for response in AlfworldExpert().act(prompts[::-1])] == alone[::-1]
    assert [expert(pickle.loads(pickle.dumps(prompt))) for prompt in prompts] == alone
    assert [expert(Prompt(p.task, p.observation, p.info, p.history, seed=9, trial=3)) for p in prompts] == alone


def test_the_expert_takes_over_from_any_other_policy() -> None:
    """After 40 random steps it still wins, unless an object was taken that can be put down nowhere."""
    rng = random.Random(0)

    def choose(prompt: Prompt) -> str:
        actions = prompt.info["admissible_actions"]
        safe = [action for action in actions if not re.match("take (papertowelroll|teddybear|towel)", action)]
        return rng.choice(safe) if len(prompt.history) < 40 else expert(prompt)

    games = parse_split("generated:13:60")
    assert [game.name for game in games if not play(game, choose, max_steps=100)[0]] == []


def test_the_expert_refuses_what_it_cannot_play() -> None:
    task = Task("x", "x", "x", 0)
    with pytest.raises(UserError, match="list of admissible actions"):
        expert(Prompt(task, "Your task is to: put a mug in desk.", {"admissible_actions": None}, (), 0))
    with pytest.raises(UserError, match="plays ALFWorld only"):
        expert(Prompt(task, "Welcome to the shop", {"admissible_actions": ["search[x]"]}, (), 0))


def test_placements_are_positive_numbers_for_the_things_of_the_tasks() -> None:
    assert all(number > 0 for places in placements().values() for number in places.values())
    assert placements()["apple"]["fridge"] > placements()["apple"]["sinkbasin"]


# -- against the official games --------------------------------------------------------------------------------


def official_lines(shared: Path) -> list[bytes]:
    with lzma.open(shared / "data" / "alfworld" / "alfworld_games.jsonl.xz") as lines:
        return list(lines)


@pytest.mark.reference
def test_every_official_sentence_is_understood(shared: Path) -> None:
    checked: Counter[str] = Counter()
    for line in official_lines(shared):
        game: dict[str, Any] = json.loads(line)
        asked = game["pddl_params"]
        verb, count = KINDS[game["task_type"]]
        lamp = asked["toggle_target"].lower()
        place = "" if lamp else asked["parent_target"].lower()
        goal = read_goal(f"Your task is to: {game['task']}")
        assert goal == Goal(asked["object_target"].lower(), place, lamp, verb, count), game["id"]
        checked[game["task_type"]] += 1
    assert sum(checked.values()) == 4027 and len(checked) == 6


@pytest.mark.reference
@pytest.mark.parametrize(
    ("split", "every", "total"), [("valid_unseen", 1, 134), ("valid_seen", 1, 140), ("train", 30, 119)]
)
def test_the_expert_wins_the_official_games(shared: Path, split: str, every: int, total: int) -> None:
    marker = f'"split": "{split}"'.encode()
    lines = [line for line in official_lines(shared) if marker in line[:100]][::every]
    results = {game.name: play(game)[0] for game in map(parse_compact_line, lines)}
    assert len(results) == total
    assert [name for name, won in results.items() if not won] == []
