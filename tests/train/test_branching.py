"""The exact-baseline control: values measured by branching agree with exact ones, resume exactly, count apart."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: E402, F401  (registers the environment 'toy')
from killed_run import train_until  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from agentbench import UserError  # noqa: E402
from agentbench.runs.episodes import Episode  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.runs.provenance import stable_seed  # noqa: E402
from agentbench.runs.steps import steps_of  # noqa: E402
from agentbench.train.batch import make_batch  # noqa: E402
from agentbench.train.branching import Branching  # noqa: E402
from agentbench.train.config import TrainConfig, read_config  # noqa: E402
from agentbench.train.distributed import ALONE, Ranks  # noqa: E402
from agentbench.train.rollouts import Rollouts  # noqa: E402
from agentbench.train.run import make_learner, train  # noqa: E402
from envs.registry import make  # noqa: E402
from policies.contract import Prompt, Turn  # noqa: E402

CONTROL = {
    "env": "toy",
    "split": "all",
    "env_options": {"tasks": 4, "max_steps": 6},
    "group_size": 4,
    "tasks_per_step": 3,
    "steps": 5,
    "learning_rate": 0.01,
    "minibatches": 2,
    "checkpoint_every": 1,
    "scheme": "gae",
    "scheme_options": {"gamma": 1.0, "lam": 1.0},
    "values": "branching",
}


def config(**settings: Any) -> TrainConfig:
    return read_config(None, {**CONTROL, **settings})


def exact_values(config: TrainConfig, policy: Any, episode: Episode) -> list[float]:
    """The policy's value of every state of an episode, by adding up all paths."""
    environment = make(config.env, **{**config.env_options, "split": config.split})
    gamma, penalty = config.scheme_options["gamma"], config.invalid_action_penalty
    task = environment.find_task(episode.task_id)

    def value(observation: str, info: dict[str, Any], history: tuple[Turn, ...]) -> float:
        chances = policy.probabilities(Prompt(task, observation, info, history, 0))
        point, total = environment.snapshot(), 0.0
        for action, chance in zip(info["admissible_actions"], chances, strict=True):
            environment.restore(point)
            seen, reward, terminated, truncated, after = environment.step(action)
            gain = reward - penalty * (not after["is_valid"])
            if not (terminated or truncated):
                gain += gamma * value(seen, after, (*history, Turn(observation, action)))
            total += chance * gain
        environment.restore(point)
        return total

    observation, info = environment.reset(options={"task": task.name})
    history: tuple[Turn, ...] = ()
    found = []
    for step in episode.steps:
        found.append(value(observation, info, history))
        history = (*history, Turn(observation, step.action))
        observation, *_, info = environment.step(step.action)
    return found


@pytest.mark.parametrize(("gamma", "penalty"), [(1.0, 0.0), (0.9, 0.05)])
def test_measured_values_agree_with_exact_ones(gamma: float, penalty: float) -> None:
    rollouts = 100
    settings = config(
        scheme_options={"gamma": gamma, "lam": 1.0}, invalid_action_penalty=penalty, branch_rollouts=rollouts
    )
    policy = make_learner(settings)
    groups = Rollouts(settings, ALONE).train(policy, 0).groups
    values, steps = Branching(settings, ALONE).values(policy, groups, 0)
    exact = np.concatenate([exact_values(settings, policy, episode) for group in groups for episode in group])
    assert steps > 0 and len(np.unique(exact.round(6))) > 10
    # A return lies in a range of at most 1 + 6 penalties, so its deviation is at most half of that.
    error = (values - exact) / ((1 + 6 * penalty) / 2 / np.sqrt(rollouts))
    assert np.abs(error).max() < 4.5
    assert abs(error.mean()) < 1.0


def test_more_rollouts_come_nearer() -> None:
    errors = []
    for rollouts in (2, 60):
        settings = config(branch_rollouts=rollouts)
        policy = make_learner(settings)
        groups = Rollouts(settings, ALONE).train(policy, 0).groups
        values, _ = Branching(settings, ALONE).values(policy, groups, 0)
        exact = np.concatenate([exact_values(settings, policy, episode) for group in groups for episode in group])
        errors.append(np.sqrt(np.mean((values - exact) ** 2)))
    assert errors[1] < 0.5 * errors[0]  # a fifth is expected


def test_the_advantage_is_the_return_minus_the_value() -> None:
    settings = config()
    policy = make_learner(settings)
    groups = Rollouts(settings, ALONE).train(policy, 0).groups
    values, _ = Branching(settings, ALONE).values(policy, groups, 0)
    batch = make_batch(groups, steps_of(groups, values=values), settings)
    won = np.array([float(episode.won) for group in groups for episode in group for _ in episode.steps])
    np.testing.assert_allclose(batch.advantages, won - values, atol=1e-12)


def one_step_advantages(values: np.ndarray, groups: list[list[Episode]]) -> np.ndarray:
    found, at = [], 0
    for episode in (episode for group in groups for episode in group):
        own = np.append(values[at : at + len(episode.steps)], 0.0)
        at += len(episode.steps)
        found += [
            step.reward + after - before for step, (before, after) in zip(episode.steps, pairwise(own), strict=True)
        ]
    return np.array(found)


def test_with_lam_0_the_advantage_is_near_the_exact_one_and_shared_random_numbers_bring_it_nearer() -> None:
    errors: dict[str, list[float]] = {"lam 0": [], "own numbers": [], "lam 1": []}
    for step in range(4):
        settings = config(branch_rollouts=4, scheme_options={"gamma": 1.0, "lam": 0.0})
        policy = make_learner(settings)
        groups = Rollouts(settings, ALONE).train(policy, step).groups
        exact = [exact_values(settings, policy, episode) for group in groups for episode in group]
        truth = one_step_advantages(np.concatenate(exact), groups)
        shared, _ = Branching(settings, ALONE).values(policy, groups, step)
        own, _ = Branching(config(branch_rollouts=4), ALONE).values(policy, groups, step)
        batch = make_batch(groups, steps_of(groups, values=shared), settings)
        np.testing.assert_allclose(batch.advantages, one_step_advantages(shared, groups), atol=1e-12)
        won = np.array([float(episode.won) for group in groups for episode in group for _ in episode.steps])
        for name, found in (
            ("lam 0", batch.advantages), ("own numbers", one_step_advantages(own, groups)), ("lam 1", won - own)
        ):  # fmt: skip
            errors[name].append(float(np.mean((found - truth) ** 2)))
    mean = {name: np.mean(each) for name, each in errors.items()}
    assert mean["lam 0"] < 0.8 * mean["own numbers"]
    assert mean["lam 0"] < 0.3 * mean["lam 1"]


def test_states_in_between_keep_what_is_left_of_the_value_before() -> None:
    settings = config(branch_every=3, invalid_action_penalty=0.25, scheme_options={"gamma": 0.5, "lam": 1.0})
    policy = make_learner(settings)
    groups = Rollouts(settings, ALONE).train(policy, 0).groups
    values, steps = Branching(settings, ALONE).values(policy, groups, 0)
    at = 0
    for episode in (episode for group in groups for episode in group):
        own = values[at : at + len(episode.steps)]
        at += len(episode.steps)
        for step, (before, after) in enumerate(pairwise(own)):
            if (step + 1) % 3:
                reward = episode.steps[step].reward - 0.25 * (not episode.steps[step].is_valid)
                assert after == pytest.approx((before - reward) / 0.5)
    assert at == len(values)
    _, all_steps = Branching(config(), ALONE).values(policy, groups, 0)
    assert steps < all_steps


def test_episodes_share_the_value_of_their_common_start() -> None:
    settings = config(branch_rollouts=1)
    policy = make_learner(settings)
    groups = Rollouts(settings, ALONE).train(policy, 0).groups
    values, _ = Branching(settings, ALONE).values(policy, groups, 0)
    table = steps_of(groups, values=values)
    for group in range(3):
        assert len(set(values[(table.group == group) & (table.step == 0)])) == 1


class _Part(Ranks):
    """One of two processes whose parts are put together by the test."""

    def gather(self, items: list[Any]) -> list[Any]:
        return items

    def sum(self, numbers: dict[str, float]) -> dict[str, float]:
        return numbers


def test_two_processes_measure_what_one_does() -> None:
    settings = config()
    policy = make_learner(settings)
    groups = Rollouts(settings, ALONE).train(policy, 0).groups
    whole, steps = Branching(settings, ALONE).values(policy, groups, 0)
    parts = [Branching(settings, _Part(rank, 2)).values(policy, groups, 0) for rank in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([values for values, _ in parts]), whole)
    assert sum(part for _, part in parts) == steps


def test_a_killed_run_ends_with_the_same_weights_and_counts_its_branches_apart(tmp_path: Path) -> None:
    train(config(), tmp_path / "whole")
    train_until(3, config(), tmp_path / "cut")
    train(config(), tmp_path / "cut", resume=True)
    whole, cut = (
        {name: each.numpy().tobytes() for name, each in load_file(folder / "policy" / "weights.safetensors").items()}
        for folder in (tmp_path / "whole", tmp_path / "cut")
    )
    assert whole == cut
    rows = [read_lines(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut")]
    counted = [[(row["environment_steps"], row["branch_steps"]) for row in each] for each in rows]
    assert counted[0] == counted[1]
    for row in rows[0]:
        assert row["environment_steps"] == round(row["episodes"] * row["episode_steps"])  # its own steps alone
        assert row["seconds/branching"] > 0


def test_it_learns(tmp_path: Path) -> None:
    train(config(steps=25, env_options={"tasks": 4, "max_steps": 5}, tasks_per_step=4, group_size=6), tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert rows[0]["success"] < 0.8
    assert np.mean([row["success"] for row in rows[-5:]]) > 0.93


def test_an_environment_that_does_not_repeat_itself_is_refused() -> None:
    settings = config()
    policy = make_learner(settings)
    groups = Rollouts(settings, ALONE).train(policy, stable_seed(1)).groups
    groups[0][0].steps.append(groups[0][0].steps[-1])
    with pytest.raises(UserError, match="ends the episode earlier than recorded"):
        Branching(settings, ALONE).values(policy, groups, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "gigpo", "scheme_options": {}}, "scheme 'gigpo' reads no values"),
        ({"branch_every": 2, "scheme_options": {"gamma": 0.0}}, "set branch_every = 1"),
        ({"branch_every": 2, "scheme_options": {"lam": 0.0}}, "or lam = 1 in scheme_options"),
        ({"overlap": True}, "set overlap = false"),
        ({"kl_coefficient": 0.1, "kl_in": "reward"}, "set kl_in = loss"),
        ({"branch_rollouts": 0}, "branch_rollouts"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_played(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()
