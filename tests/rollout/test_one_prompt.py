"""One prompt maker: whoever asks a policy, or learns from what it did, shows the same prompt for the same past."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from toy_environment import ToyEnv

from agentbench import evaluate
from agentbench.analysis.truth.monte_carlo import play_on, walk_again
from agentbench.check.policy import check_policy
from agentbench.runs.episodes import Episode, from_line
from envs.contract import Task
from envs.registry import make
from policies import POLICIES
from policies.contract import Prompt, Response
from policies.prompts import build_messages, make_settings
from policies.registry import PolicyEntry

TASKS = 3
OPTIONS = {"tasks": TASKS, "max_steps": 4}
Facts = tuple[Any, ...]


class Talker:
    """Answers at length, at times with nonsense, by trial and step alone; keeps every prompt that it is given."""

    name, digest = "talker", "talker-1"

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    def act(self, prompts: Sequence[Prompt]) -> list[Response]:
        self.asked += prompts
        return list(map(self._answer, prompts))

    def _answer(self, prompt: Prompt) -> Response:
        step = len(prompt.history)
        action = ("up", "dance", "up", "stay")[(step + prompt.trial) % 4]
        return Response(action, f"<think>step {step}</think><action>{action}</action>", trace=("trace", step))


def facts(prompt: Prompt) -> Facts:
    """Everything of a prompt that a stored episode knows too: all but the seed and traces."""
    past = tuple(
        (turn.observation, turn.action, turn.text, tuple(turn.admissible_actions or ())) for turn in prompt.history
    )
    info = prompt.info["instruction"], tuple(prompt.info["admissible_actions"])
    return (prompt.task.id, prompt.task.name, prompt.trial, prompt.observation, *info, past)


@pytest.fixture(autouse=True)
def half_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the environment show half a character in every text, as a page cut in its middle would."""
    start, act = ToyEnv._start, ToyEnv._act

    def begin(self: ToyEnv, task: Task) -> Any:
        observation, info = start(self, task)
        return f"{observation} \ud83d", info

    def go_on(self: ToyEnv, action: str) -> Any:
        observation, *rest = act(self, action)
        return (f"{observation} \ud83d", *rest)

    monkeypatch.setattr(ToyEnv, "_start", begin)
    monkeypatch.setattr(ToyEnv, "_act", go_on)


@pytest.fixture
def played(tmp_path: Path, half_characters: None) -> tuple[list[Prompt], list[Episode]]:
    """The prompts of a rollout, in order of task, trial and step, and the episodes that were stored of it."""
    policy = Talker()
    run = evaluate("toy", policy, out=tmp_path / "run", env_options=OPTIONS, trials=2, inline=True).run
    policy.asked.sort(key=lambda prompt: (prompt.task.id, prompt.trial, len(prompt.history)))
    return policy.asked, run.read_episodes()


def of(prompts: Sequence[Prompt], episode: Episode) -> list[Facts]:
    return [facts(prompt) for prompt in prompts if (prompt.task.id, prompt.trial) == episode.key]


def test_a_rollout_shows_whole_texts_and_every_turn(played: Any) -> None:
    prompts, episodes = played
    assert len(prompts) == sum(len(episode.steps) for episode in episodes) > 2 * TASKS
    longest = max(prompts, key=lambda prompt: len(prompt.history))
    assert [turn.text for turn in longest.history] == [
        f"<think>step {step}</think><action>{turn.action}</action>" for step, turn in enumerate(longest.history)
    ]
    assert [turn.trace for turn in longest.history] == [("trace", step) for step in range(len(longest.history))]
    assert all(prompt.observation.endswith(" ?") for prompt in prompts)
    assert all(turn.observation.endswith(" ?") for turn in longest.history)


def test_cloning_learns_from_the_prompts_of_the_rollout(played: Any) -> None:
    clone = pytest.importorskip("agentbench.train.clone", reason="training needs torch")
    prompts, episodes = played
    for episode in episodes:
        assert [facts(prompt) for prompt, _ in clone.prompts_of(episode)] == of(prompts, episode)


def test_a_new_model_learns_its_words_from_the_same_messages(played: Any, tmp_path: Path) -> None:
    model_init = pytest.importorskip("agentbench.train.model_init", reason="training needs torch")
    pytest.importorskip("torch", reason="training needs torch")
    prompts, _ = played
    settings = make_settings("toy")
    expected: list[str] = []
    for prompt in prompts:
        shown = [message["content"] for message in build_messages(prompt, settings)]
        expected += shown if not prompt.history else shown[-1:]
    texts = list(model_init.run_texts(tmp_path / "run"))
    assert [text for text in texts if text in set(expected)] == expected
    assert set(texts) >= {turn.text for prompt in prompts for turn in prompt.history}


def test_values_by_branching_ask_with_the_prompts_of_the_rollout(played: Any) -> None:
    prompts, episodes = played
    environment = make("toy", **OPTIONS)
    for episode in episodes:
        policy = Talker()  # it repeats the episode, so each of its prompts is one of the rollout's
        task = environment.find_task(episode.task_id)
        track = walk_again(environment, task, episode.trial, episode.steps, 0)
        assert [facts(point.prompt) for point in track.points] == of(prompts, episode)
        play_on([track], policy, 2, seed=0)
        assert {facts(prompt) for prompt in policy.asked} == set(of(prompts, episode))
        policy.asked.clear()
        track.actions[0] = "another"  # so every rollout leaves the track at once, and plays by itself
        play_on([track], policy, 1, seed=0)
        assert {facts(prompt) for prompt in policy.asked} >= set(of(prompts, episode))


def test_the_control_by_branching_asks_with_the_prompts_of_the_rollout(played: Any) -> None:
    branching = pytest.importorskip("agentbench.train.branching", reason="training needs torch")
    distributed = pytest.importorskip("agentbench.train.distributed", reason="training needs torch")
    config = pytest.importorskip("agentbench.train.config", reason="training needs torch")
    prompts, episodes = played
    settings = {"env": "toy", "split": "all", "env_options": OPTIONS, "scheme": "gae", "values": "branching"}
    policy = Talker()
    control = branching.Branching(config.read_config(None, settings), distributed.ALONE)
    control.values(policy, [episodes[:2], episodes[2:4]], 0)
    expected = {fact for episode in episodes[:4] for fact in of(prompts, episode)}
    assert policy.asked and {facts(prompt) for prompt in policy.asked} <= expected


def test_the_checks_ask_with_the_prompts_of_the_rollout(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, episodes = played
    policy = Talker()
    monkeypatch.setitem(POLICIES, "talker", PolicyEntry("talker", "", lambda argument, environment: policy))
    assert not [each for each in check_policy("talker", "toy", **OPTIONS) if each.failures]
    expected = {fact for episode in episodes if episode.trial == 0 for fact in of(prompts, episode)}
    assert {facts(prompt) for prompt in policy.asked[: len(expected)]} == expected


def test_verls_agent_loop_writes_the_prompts_of_the_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    """With modules in place of verl's own, which give the loop nothing but its arguments."""
    tiny: Any = pytest.importorskip("tiny_language", reason="needs transformers")
    clone = pytest.importorskip("agentbench.train.clone", reason="training needs torch")
    ours = stub_verl(monkeypatch)
    asked: list[Prompt] = []
    tokenizer = tiny.tokenizer()
    actions = iter(["up", "dance", "up"])

    def messages_of(prompt: Prompt, settings: Any) -> Any:
        asked.append(prompt)
        return build_messages(prompt, settings)

    class Server:
        async def generate(self, **_: Any) -> Any:
            ids = [*tokenizer.encode(f"<action>{next(actions)}</action>"), tokenizer.eos_token_id]
            return SimpleNamespace(token_ids=ids, log_probs=[0.0] * len(ids), extra_fields={})

    monkeypatch.setattr(ours, "build_messages", messages_of)
    limits = SimpleNamespace(prompt_length=2048, response_length=4096)
    loop = ours.AgentLoop(
        tokenizer=tokenizer, server_manager=Server(), rollout_config=limits, env="toy", env_options=OPTIONS
    )
    output = asyncio.run(loop.run({}, extra_info={"split": "all", "task": "toy:1"}))
    episode = from_line(output.extra_fields[ours.FIELD])
    assert episode.won and [step.action for step in episode.steps] == ["up", "dance", "up"]
    assert [facts(prompt) for prompt in asked] == [facts(prompt) for prompt, _ in clone.prompts_of(episode)]


def stub_verl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the integration anew, on modules with the names that it takes from verl."""

    class Loop:
        def __init__(self, **given: Any) -> None:
            vars(self).update(given)

    def named(name: str) -> Any:
        return lambda made: made

    names: dict[str, dict[str, Any]] = {
        "verl": {},
        "verl.experimental": {},
        "verl.experimental.agent_loop": {},
        "verl.experimental.agent_loop.agent_loop": {
            "AgentLoopBase": Loop,
            "AgentLoopMetrics": SimpleNamespace,
            "AgentLoopOutput": SimpleNamespace,
            "register": named,
        },
        "verl.trainer": {},
        "verl.trainer.ppo": {"ray_trainer": SimpleNamespace(compute_advantage=None)},
        "verl.trainer.ppo.core_algos": {"register_adv_est": named},
    }
    for name, content in names.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("agentbench.integrations.versions.require", lambda *_: None)
    name = "agentbench.integrations.verl"
    before = sys.modules.pop(name, None)
    try:
        import agentbench.integrations.verl as ours
    finally:  # nobody else is to find the one on stubs
        package = sys.modules["agentbench.integrations"]
        vars(package).pop("verl", None)
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
            vars(package)["verl"] = before
    return ours
