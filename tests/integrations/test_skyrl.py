"""Our environments in skyrl_gym itself: made by its registry, played as its generator does, equal to our own."""

from __future__ import annotations

from typing import Any

import pytest
import toy_environment  # noqa: F401  (the environment "toy")
from appworld_here import Played

pytest.importorskip("skyrl_gym", reason="needs SkyRL's environments: make skyrl")

import skyrl_gym
from omegaconf import OmegaConf

from agentbench.integrations.skyrl import AgentbenchTextEnv, prompts, register_all
from envs import make
from envs.base.errors import UserError

SHOP = {"catalogue": "generated:0:200", "max_steps": 3}


def played(env: str, config: Any, row: dict[str, Any], answers: list[str]) -> tuple[Any, list[Any]]:
    """Play as SkyRL's generator does: make, init, step until done, metrics, close."""
    made = skyrl_gym.make(row["env_class"], env_config=OmegaConf.create(config), extras={**row, "max_turns": 50})
    conversation, _ = made.init(row["prompt"])
    turns = []
    for answer in answers:
        turns.append(made.step(answer))
        conversation += [{"role": "assistant", "content": answer}, *turns[-1]["observations"]]
        if turns[-1]["done"]:
            break
    metrics = made.get_metrics()
    made.close()
    return (conversation, metrics), turns


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    register_all()
    register_all()


def test_a_household_is_played_to_its_end() -> None:
    config = {"split": "generated:0:3:small", "inline": True}
    row = list(prompts("alfworld", "generated:0:3:small"))[1]
    environment = make("alfworld", split="generated:0:3:small")
    text, info = environment.reset(seed=0, options={"task": row["task"]})
    (conversation, metrics), turns = played(
        "alfworld", config, row, [f"<think>so</think><action>{action}</action>" for action in info["walkthrough"]]
    )
    assert [message["role"] for message in conversation[:2]] == ["system", "user"]
    assert text in conversation[1]["content"] and info["instruction"] in conversation[1]["content"]
    for turn, action in zip(turns, info["walkthrough"], strict=True):
        text, reward, terminated, _, info = environment.step(action)
        assert (turn["reward"], turn["done"], turn["metadata"]["score"]) == (reward, terminated, info["score"])
        assert not turn["observations"] if terminated else text in turn["observations"][0]["content"]
    assert metrics == {"won": 1.0, "score": 1.0, "steps": len(turns), "invalid_actions": 0, "errors": 0.0}
    averaged = AgentbenchTextEnv.aggregate_metrics([metrics, {**metrics, "won": 0.0}])
    assert averaged["won"] == 0.5


def test_the_shop_is_played_and_an_answer_without_an_action_is_a_turn() -> None:
    row = next(iter(prompts("webshop", catalogue="generated:0:200")))
    answers = ["<action>search[red shoes]</action>", "I do not know", "<action>click[back to search]</action>"]
    (_, metrics), turns = played("webshop", {**SHOP, "inline": True}, row, answers)
    assert [turn["metadata"]["is_valid"] for turn in turns] == [True, False, True] and turns[-1]["done"]
    assert metrics["steps"] == 3 and metrics["invalid_actions"] == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_apps_are_played_in_the_real_engine(two_tasks: Played) -> None:
    rows = {row["task"]: row for row in prompts("appworld", "mini")}
    config, outcomes = {"split": "mini", "step_timeout": 280.0}, []
    for task in two_tasks.tasks:
        made = skyrl_gym.make("agentbench_appworld", env_config=OmegaConf.create(config), extras=rows[task])
        conversation, about = made.init(rows[task]["prompt"])
        assert about["instruction"] in conversation[1]["content"]
        done = False
        while not done:
            answer = two_tasks.answer({"messages": conversation}, 0)["choices"][0]["message"]
            turn = made.step(answer["content"])
            conversation, done = [*conversation, answer, *turn["observations"]], turn["done"]
        outcomes.append((turn["reward"], made.get_metrics()))
        made.close()
    count = {"invalid_actions": 1, "errors": 0.0}
    assert outcomes[0] == (1.0, {"won": 1.0, "score": 1.0, "steps": 4, **count})
    reward, metrics = outcomes[1]
    assert reward == metrics["won"] == 0.0 and metrics["steps"] == 1


def test_a_supervised_environment_that_fails_ends_its_episode_alone() -> None:
    def episode(task: str) -> AgentbenchTextEnv:
        return AgentbenchTextEnv({"faults": {"1": "kill"}, "tasks": 2}, {"task": task, "max_turns": 5}, env="toy")

    ended, well = episode("toy:1"), episode("toy:0")
    ended.init([])
    well.init([])
    turn = ended.step("<action>up</action>")
    assert turn["done"] and turn["reward"] == 0.0 and "died" in turn["metadata"]["error"]
    assert ended.get_metrics()["errors"] == 1.0
    assert well.step("<action>up</action>")["reward"] == 1.0
    for each in (ended, well):
        each.close()


def test_max_turns_ends_an_episode() -> None:
    made = AgentbenchTextEnv({"inline": True}, {"task": "toy:3", "max_turns": 2}, env="toy")
    made.init([])
    assert [made.step("<action>up</action>")["done"] for _ in range(2)] == [False, True]


def test_a_row_without_a_task_is_one_line() -> None:
    with pytest.raises(UserError, match="no task of split all: 'task' is None"):
        AgentbenchTextEnv({"inline": True}, {}, env="toy")
