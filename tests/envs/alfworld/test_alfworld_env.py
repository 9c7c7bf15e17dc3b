"""The environment: Gymnasium's contract, task lists, anchors, digests, snapshots and clear refusals."""

from __future__ import annotations

import pickle
import sys
import types
import warnings
from pathlib import Path

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_house import GOALS, official_text, small_game, write_tree

from envs.alfworld import ALFWorldEnv, Game
from envs.base.errors import UserError
from envs.contract import INFO_KEYS
from envs.registry import make, register


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder in the official layout: six games in ``valid_seen``, one in ``mine``."""
    return write_tree(tmp_path, [*(small_game(kind) for kind in GOALS), small_game("Pick", split="mine")])


@pytest.fixture
def few_generated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put a generator of small houses in place of the real one; return the list of the games that it made."""
    made: list[int] = []

    class Games:
        def __init__(self, split: str) -> None:
            _, self.seed, count = split.split(":")
            self.count = int(count)

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, index: int) -> Game:
            made.append(index)
            kind = list(GOALS)[index % len(GOALS)]
            fields = {"name": f"generated:{self.seed}:{index}", "sentence": f"do task {index}."}
            return Game(**{**small_game(kind).__dict__, **fields})

        def unsolved(self, index: int) -> Game:
            return self[index]

    module = types.ModuleType("envs.alfworld.generator")
    module.parse_split = Games  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "envs.alfworld.generator", module)
    monkeypatch.setattr("envs.alfworld.generator", module, raising=False)
    return made


def test_gymnasiums_own_checker_has_nothing_to_say(tree: Path) -> None:
    register()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(ALFWorldEnv("valid_seen", data=tree))
        made = gymnasium.make("agentbench/ALFWorld-v0", split="valid_seen", data=str(tree), render_mode="ansi")
        check_env(made.unwrapped)
        observation, _ = made.reset(seed=0)
        assert made.render() == observation


def test_an_episode_has_the_keys_of_the_contract_and_a_walkthrough(tree: Path) -> None:
    env = make("alfworld", split="valid_seen", data=tree)
    observation, info = env.reset(options={"task": small_game("Heat").name})
    assert set(info) == {*INFO_KEYS, "walkthrough"}
    assert info["task_type"] == "Heat" and info["instruction"] == "do the heat task."
    assert info["walkthrough"] == small_game("Heat").walkthrough
    assert info["anchor"] == observation and info["is_valid"]
    assert info["admissible_actions"] == sorted(info["admissible_actions"])
    observation, reward, terminated, truncated, info = env.step("dance")
    assert (observation, reward, terminated, truncated) == ("Nothing happens.", 0.0, False, False)
    assert set(info) == {*INFO_KEYS, "walkthrough"} and not info["is_valid"] and info["score"] == 0.0
    for command in small_game("Heat").walkthrough:
        _, reward, terminated, _, info = env.step(command)
    assert (reward, terminated, info["won"], info["score"]) == (1.0, True, True, 1.0)


def test_an_episode_is_truncated_after_max_steps(tree: Path) -> None:
    env = ALFWorldEnv("valid_seen", data=tree, max_steps=3)
    env.reset(seed=1)
    assert [env.step("look")[3] for _ in range(3)] == [False, False, True]


def test_the_same_seed_gives_the_same_task_and_a_name_or_id_chooses_one(tree: Path) -> None:
    first, second = (ALFWorldEnv("valid_seen", data=tree) for _ in range(2))
    assert [first.reset(seed=s)[1]["task_id"] for s in range(9)] == [
        second.reset(seed=s)[1]["task_id"] for s in range(9)
    ]
    task = first.tasks[4]
    assert first.find_task(task.id) == first.find_task(task.name) == task
    with pytest.raises(UserError, match="did you mean"):
        first.reset(options={"task": task.name[:-1] + "2"})


@given(choices=st.lists(st.integers(-1, 10**6), max_size=30), branch=st.integers(0, 30))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_snapshot_continues_exactly_in_another_environment(tree: Path, choices: list[int], branch: int) -> None:
    def act(env: ALFWorldEnv, info: dict, choice: int):
        actions = info["admissible_actions"]
        return env.step("nonsense" if choice < 0 else actions[choice % len(actions)])

    branch = min(branch, len(choices))
    env = ALFWorldEnv("valid_seen", data=tree, anchor="state")
    observation, info = env.reset(seed=len(choices))
    for choice in choices[:branch]:
        observation, _, _, _, info = act(env, info, choice)
    saved = pickle.loads(pickle.dumps(env.snapshot()))
    other = ALFWorldEnv("valid_seen", data=tree, anchor="state")
    assert other.restore(saved) == (observation, info)
    there = here = info
    for choice in choices[branch:]:
        step, expected = act(other, there, choice), act(env, here, choice)
        assert step == expected
        there, here = step[4], expected[4]
    assert env.restore(saved) == (observation, info)


def test_the_anchor_tells_situations_apart_by_text_or_by_state(tree: Path) -> None:
    texts, states = (ALFWorldEnv("valid_seen", data=tree, anchor=kind) for kind in ("observation", "state"))
    task = {"task": small_game("Pick").name}

    def anchors(env: ALFWorldEnv, *commands: str) -> list[str]:
        start = env.reset(options=task)[1]["anchor"]
        return [start, *(env.step(command)[4]["anchor"] for command in commands)]

    commands = ("inventory", "go to fridge 1", "inventory", "look", "dance")
    by_text, by_state = anchors(texts, *commands), anchors(states, *commands)
    assert by_text[1] == by_text[3] == "You are not carrying anything."
    assert by_state[0] == by_state[1] != by_state[2] and len(set(by_state[2:])) == 1


def test_the_digest_covers_what_decides_how_episodes_go(tree: Path) -> None:
    def digest(**options: object) -> str:
        return ALFWorldEnv(**{"split": "valid_seen", "data": tree, **options}).digest  # type: ignore[arg-type]

    assert digest() == digest(split="mine")
    assert len({digest(), digest(anchor="state"), digest(max_steps=30)}) == 3


def test_own_games_are_played_without_installing_and_what_is_left_out_is_noted(tree: Path) -> None:
    (tree / "mine" / "pick_and_place_simple-Small-None-House-1" / "trial_2").mkdir()
    broken = tree / "mine" / "pick_and_place_simple-Small-None-House-1" / "trial_2" / "game.tw-pddl"
    broken.write_text("{")
    env = ALFWorldEnv("mine", data=tree)
    assert [task.name for task in env.tasks] == [small_game("Pick", split="mine").name]
    assert len(env.notes) == 1 and "left out mine/" in env.notes[0] and "trial_2" in env.notes[0]
    assert ALFWorldEnv("valid_seen", data=tree).notes[0].startswith("valid_seen: 0 of 140 official games are in")
    broken.write_text(official_text(small_game("Heat")))  # an edited tree is read again
    assert len(ALFWorldEnv("mine", data=tree).tasks) == 2


def test_generated_games_are_made_one_at_a_time(few_generated: list[int]) -> None:
    env = ALFWorldEnv("generated:7:1000000")
    assert few_generated == [] and len(env.tasks) == 1000000
    env.reset(options={"task": "generated:7:123456"})
    assert set(few_generated) == {123456}
    env.restore(env.snapshot())
    assert set(few_generated) == {123456}
    assert env.find_task(env.tasks[2].id).name == "generated:7:2"
    assert [task.index for task in env.tasks[3:5]] == [3, 4]
    for key in ("generated:7:1000000", "generated:8:5", "generated:x"):
        with pytest.raises(UserError, match="goes from generated:7:0 to generated:7:999999"):
            env.reset(options={"task": key})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid_unsen"}, "did you mean valid_unseen"),
        ({"split": "valid_seen", "engine": "textwrld"}, "did you mean textworld"),
        ({"split": "valid_seen", "anchor": "obs"}, "anchor of .* must be one of observation, state, got 'obs'"),
        ({"split": "valid_seen", "max_steps": 0}, "max_steps of .* from 1 to .*, got 0"),
        ({"split": "valid_seen", "render_mode": "human"}, "render_mode of .* must be ansi or none, got 'human'"),
        ({"split": "train", "data": "TREE"}, "unknown split of"),
        ({"split": "valid_seen", "data": "TREE/absent"}, "does not exist"),
        ({"split": "generated:0:5", "data": "TREE"}, "does not go with the generated split"),
    ],
)
def test_what_cannot_be_is_refused_in_one_clear_line(tree: Path, options: dict, message: str) -> None:
    options = {key: str(value).replace("TREE", str(tree)) if key == "data" else value for key, value in options.items()}
    with pytest.raises(UserError, match=message) as caught:
        ALFWorldEnv(**options)
    assert "\n" not in str(caught.value)


def test_a_game_that_cannot_be_played_is_named(tmp_path: Path) -> None:
    game = small_game()
    problem = game.problem.replace("(receptacleAtLocation Shelf_bar_1 loc_bar_5)", "")
    tree = write_tree(tmp_path, [Game(**{**game.__dict__, "problem": problem})])
    env = ALFWorldEnv("valid_seen", data=tree)
    with pytest.raises(UserError, match=f"game {game.name} cannot be played: receptacle shelf_bar_1 has no location"):
        env.reset()


def test_without_the_original_packages_the_error_says_what_to_install(tree: Path, monkeypatch) -> None:
    from importlib.metadata import PackageNotFoundError

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("envs.alfworld.original.version", missing)
    with pytest.raises(UserError, match=r"pip install -e '.*\[alfworld\]'"):
        ALFWorldEnv("valid_seen", data=tree, engine="textworld")
