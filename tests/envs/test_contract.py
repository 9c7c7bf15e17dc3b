"""The contract of every environment, through Gymnasium's face: the end, spaces, copies, what a plug-in may give."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics, TimeLimit
from toy_environment import ToyEnv, UpPolicy

import agentbench
from agentbench import Response, evaluate
from envs import UserError, make
from envs.base.errors import ContractError
from envs.base.spaces import FLAT_LENGTH, TextSpace

OWN = (("alfworld", {"split": "generated:0:6"}), ("webshop", {}))
IDS = {"alfworld": "agentbench/ALFWorld-v0", "webshop": "agentbench/WebShop-v0"}
KINDS = pytest.mark.parametrize(("name", "options"), [*OWN, ("toy", {})])
MODES = pytest.mark.parametrize("mode", list(AutoresetMode))


def solve(env, seed: int = 0) -> tuple[list[str], tuple]:
    plan = list(env.reset(seed=seed)[1]["walkthrough"])
    for action in plan:
        moment = env.step(action)
    return plan, moment


# -- after the end -----------------------------------------------------------------------------------


@KINDS
def test_a_step_after_the_end_pays_nothing_and_changes_nothing(name, options) -> None:
    env = make(name, **options)
    plan, last = solve(env)
    assert last[1:4] == (1.0, True, False)
    other = make(name, **options)
    other.restore(pickle.loads(pickle.dumps(env.snapshot())))
    for again in (env, other):
        for action in [*plan, "look", ""]:
            found = again.step(action)
            assert found == (last[0], 0.0, True, False, {**last[4], "is_valid": False})
    assert env.reset(seed=0)[1]["won"] is False


@KINDS
def test_an_episode_that_was_cut_stays_cut_and_is_not_won(name, options) -> None:
    env = make(name, **options, max_steps=2)
    plan = env.reset(seed=5)[1]["walkthrough"] * 2
    assert len(plan) > 2
    moments = [env.step(action) for action in plan]
    other = make(name, **options, max_steps=2)
    _, info = other.restore(env.snapshot())
    assert not info["won"]
    for moment in [*moments[1:], *(other.step(action) for action in plan)]:
        assert moment[1:4] == (0.0, False, True) and not moment[4]["won"]


def test_another_point_is_reached_from_a_restored_end() -> None:
    env = make("toy")
    env.reset(options={"task": "toy:3"})
    env.step("up")
    on_the_way = env.snapshot()
    solve(env, seed=1)
    end = env.snapshot()
    env.restore(on_the_way)
    env.restore(end)
    assert env.step("up")[1:4] == (0.0, True, False)
    env.restore(on_the_way)
    assert [env.step("up")[2] for _ in range(3)] == [False, False, True]


@pytest.mark.slow
def test_the_original_engine_pays_once_and_is_copied() -> None:
    pytest.importorskip("textworld")
    env = make("alfworld", split="generated:0:2", engine="textworld")
    plan, last = solve(env)
    assert env.step(plan[-1])[1:4] == (0.0, True, False)
    env.reset(seed=0)
    env.step(plan[0])
    again = copy.deepcopy(env)
    assert [env.step(each) for each in plan[1:]] == [again.step(each) for each in plan[1:]]
    assert last[1] == 1.0


# -- spaces and Gymnasium's wrappers --------------------------------------------------------------------


@KINDS
def test_the_spaces_hold_what_is_given_and_taken(name, options) -> None:
    env = make(name, **options)
    observation, info = env.reset(seed=0)
    for text in (observation, "", "ÄÖ 🏠", "x" * 100_000, *(info["admissible_actions"] or ())):
        assert text in env.observation_space and env.action_space.contains(text)
    assert 7 not in env.observation_space


@pytest.mark.parametrize(("name", "options"), OWN)
def test_wrappers_of_gymnasium_play(name, options) -> None:
    env = RecordEpisodeStatistics(FlattenObservation(TimeLimit(make(name, **options), 2)))
    flat, _ = env.reset(seed=0)
    assert flat in env.observation_space
    assert gymnasium.spaces.unflatten(TextSpace(), flat) == env.unwrapped.render()
    env.step("look")
    *_, cut, info = env.step("look")
    assert cut and info["episode"]["l"] == 2


def test_a_text_is_flattened_exactly_or_refused_in_one_line() -> None:
    for text in ("", "ÄÖ 🏠\x00", "\ud800", "x" * FLAT_LENGTH):
        flat = gymnasium.spaces.flatten(TextSpace(), text)
        assert flat in gymnasium.spaces.flatten_space(TextSpace())
        assert gymnasium.spaces.unflatten(TextSpace(), flat) == text
    with pytest.raises(UserError, match="cannot be flattened"):
        gymnasium.spaces.flatten(TextSpace(), "x" * (FLAT_LENGTH + 1))


@MODES
@pytest.mark.parametrize(("name", "options"), OWN)
def test_vector_environments_give_what_each_gives_alone(name, options, mode) -> None:
    """One is a step behind the other, so that one buys while the other has not."""
    alone = gymnasium.make(IDS[name], **options)
    first, info = alone.reset(seed=0)
    plan, task = list(info["walkthrough"]), info["task_id"]
    texts = [first, *(alone.step(action)[0] for action in plan)]
    for kind in ("sync", "async"):
        envs = gymnasium.make_vec(
            IDS[name], num_envs=2, vectorization_mode=kind, vector_kwargs={"autoreset_mode": mode}, **options
        )
        try:
            seen, _ = envs.reset(seed=0, options={"task": task})
            assert seen == (first, first) and isinstance(seen, tuple) and seen in envs.observation_space
            envs.step((plan[0], "?"))
            for step, action in enumerate(plan[1:], 1):
                seen, rewards, ended, _, infos = envs.step((action, plan[step - 1]))
                if not ended[0]:
                    assert seen == (texts[step + 1], texts[step])
            assert list(rewards) == [1.0, 0.0] and list(ended) == [True, False]
            assert infos["score"][1] == 0.0 and infos["admissible_actions"].shape == (2,)
            if mode == AutoresetMode.DISABLED:
                envs.reset(options={"task": task, "reset_mask": ended})
            seen, rewards, ended, _, _ = envs.step(("look", plan[-1]))
            assert rewards[1] == 1.0 and ended[1] and not ended[0] and isinstance(seen[0], str)
        finally:
            envs.close()


def test_a_text_of_any_length_goes_from_process_to_process() -> None:
    class Long(gymnasium.Env):
        observation_space = action_space = TextSpace()

        def reset(self, *, seed=None, options=None):
            return "ü🏠\ud800" * 100_000, {}

        def step(self, action):
            return action, 0.0, False, False, {}

    envs = gymnasium.vector.AsyncVectorEnv([Long, Long])
    try:
        assert envs.reset()[0] == ("ü🏠\ud800" * 100_000,) * 2
        kept = envs.step(("short", ""))[0]
        envs.step(("other", "other"))
        assert kept == ("short", "")
    finally:
        envs.close()


# -- copies ----------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_as_the_original(name, options, make_copy) -> None:
    env = make(name, **options)
    env.action_space.seed(1)
    assert make_copy(env).reset(seed=3) == env.reset(seed=3)
    plan = list(env.reset(seed=5)[1]["walkthrough"])
    for done in (0, 1, len(plan)):
        observation, _ = env.reset(seed=5)
        for action in plan[:done]:
            observation = env.step(action)[0]
        again = make_copy(env)
        assert again.render() == observation
        rest = [*plan[done:], "look"]
        assert [again.step(each) for each in rest] == [env.step(each) for each in rest]
        assert again.reset() == env.reset() and again.action_space.sample() == env.action_space.sample()


@pytest.mark.parametrize(("name", "options"), OWN)
def test_what_gymnasium_made_is_pickled_into_a_fresh_process(name, options, tmp_path: Path) -> None:
    env = gymnasium.make(IDS[name], **options)
    plan = list(env.reset(seed=0)[1]["walkthrough"])
    env.step(plan[0])
    (tmp_path / "env.pickle").write_bytes(pickle.dumps((env, plan[1:])))
    code = (
        "import pickle, sys; env, plan = pickle.load(open(sys.argv[1], 'rb')); "
        "print([env.step(each)[1:4] for each in plan][-1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "env.pickle")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "(1.0, True, False)"


@KINDS
def test_a_changed_info_changes_nothing_else(name, options) -> None:
    env, untouched = make(name, **options), make(name, **options)
    _, info = env.reset(seed=0)
    _, expected = untouched.reset(seed=0)
    for action in [*expected["walkthrough"], "look"]:
        for value in info.values():
            if isinstance(value, (list, dict)):
                value.clear()
        info.clear()
        moment = env.step(action)
        assert moment == untouched.step(action)
        info = moment[-1]


# -- plug-ins against the contract -------------------------------------------------------------------------

WRONG = {
    "observation": [None, b"x", 3, ["text"]],
    "reward": [None, "1", [1.0], float("nan"), np.float64("inf"), 10**400, True],
    "terminated": ["no", None, 0],
    "anchor": [None, 3, ...],
    "admissible_actions": ["go", ("go",), [1], [None], {"go": 1}, ...],
    "is_valid": [None, "yes", 1, ...],
    "won": ["yes", None, ...],
    "score": [2.0, -0.5, "1", None, float("nan"), ...],
    "task_id": ["other", None],
    "task_type": [None],
    "instruction": [7],
    "info": [None, [], "info"],
}
"""What an environment may give wrongly; ``...`` stands for a key that is not there."""


def spoilt(act, what, value):
    """Return ``_act`` with one value of its second step put wrong."""

    def wrong(env, action):
        observation, reward, terminated, info = act(env, action)
        if env._count == 2:
            if what in ("observation", "reward", "terminated", "info"):
                found = {"observation": observation, "reward": reward, "terminated": terminated, "info": info}
                return tuple((found | {what: value}).values())
            info = {key: each for key, each in {**env._about, **info, what: value}.items() if each is not ...}
        return observation, reward, terminated, info

    return wrong


@pytest.mark.parametrize(("what", "value"), [(what, value) for what, values in WRONG.items() for value in values])
def test_what_breaks_the_contract_costs_its_episode_and_names_the_value(monkeypatch, tmp_path, what, value) -> None:
    monkeypatch.setattr(ToyEnv, "_act", spoilt(ToyEnv._act, what, value))
    result = evaluate("toy", UpPolicy(), out=tmp_path / "run", inline=True, env_options={"tasks": 2})
    frame = result.frame.set_index("task_name")
    assert frame.loc["toy:0", "outcome"] == "success" and frame.loc["toy:1", "outcome"] == "error"
    assert "ContractError: " in frame.loc["toy:1", "error"] and what in frame.loc["toy:1", "error"]
    assert "\n" not in frame.loc["toy:1", "error"]


@pytest.mark.parametrize(
    ("what", "value"),
    [("reward", np.float32(0.25)), ("reward", np.int64(2)), ("terminated", np.bool_(0)), ("won", np.bool_(0)),
     ("score", np.float32(0.5)), ("score", 1)],
)  # fmt: skip
def test_numbers_and_truths_of_numpy_become_pythons_own(monkeypatch, what, value) -> None:
    monkeypatch.setattr(ToyEnv, "_act", spoilt(ToyEnv._act, what, value))
    env = ToyEnv()
    env.reset(options={"task": "toy:5"})
    env.step("up")
    _, reward, terminated, _, info = env.step("up")
    found = {"reward": reward, "terminated": terminated, **info}[what]
    assert found == value and type(found) in (float, bool)


@pytest.mark.parametrize("found", [None, "text", ("text", 0.0, False), ("text", 0.0, False, False, {})])
def test_a_step_of_another_shape_is_named_and_the_episode_is_over(monkeypatch, found) -> None:
    monkeypatch.setattr(ToyEnv, "_act", lambda env, action: found)
    env = ToyEnv()
    env.reset(seed=0)
    with pytest.raises(ContractError, match="not observation, reward, terminated and info"):
        env.step("up")
    with pytest.raises(UserError, match="call reset"):
        env.step("up")
    assert env.reset(seed=0)


class OwnStep(ToyEnv):
    """Overrides what the base class would have checked."""

    given: object = None

    def step(self, action):
        found = super().step(action)
        return self.given if self._count == 2 else found


@pytest.mark.parametrize("given", [None, (None, 0.0, False, False, {}), ("x", 0.0, False, "no", {}), ("x", 1.0, True)])
def test_an_environment_with_a_step_of_its_own_is_checked_too(monkeypatch, tmp_path, given) -> None:
    monkeypatch.setattr(OwnStep, "given", given)
    monkeypatch.setattr("toy_environment.ToyEnv", OwnStep)
    result = evaluate("toy", UpPolicy(), out=tmp_path / "run", inline=True, env_options={"tasks": 2})
    assert list(result.frame.set_index("task_name")["outcome"].sort_index()) == ["success", "error"]


@pytest.mark.parametrize(
    "answer", [None, "up", Response(None), Response("up", text=3), Response("up", details={"x": np.float32(1)})]
)
def test_an_answer_against_the_contract_of_policies_costs_its_episode(tmp_path, answer) -> None:
    class Odd(UpPolicy):
        def act(self, prompts):
            return [answer if prompt.task.index == 1 else Response("up") for prompt in prompts]

    result = evaluate("toy", Odd(), out=tmp_path / "run", inline=True, env_options={"tasks": 3})
    frame = result.frame.set_index("task_name")
    assert list(frame["outcome"].sort_index()) == ["success", "error", "success"]
    assert frame.loc["toy:1", "error"].startswith("the policy failed: ")


assert agentbench  # registers the environments with Gymnasium
