"""Training on trees: every step is learned from once, nothing forks into a chain, it resumes, and says what it cost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: E402, F401  (registers the environment 'toy')
from killed_run import train_until  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from agentbench import UserError  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.runs.steps import steps_of  # noqa: E402
from agentbench.runs.trees import whole  # noqa: E402
from agentbench.train.batch import make_batch  # noqa: E402
from agentbench.train.config import TrainConfig, read_config  # noqa: E402
from agentbench.train.run import make_learner, train  # noqa: E402
from agentbench.train.trainer import Trainer  # noqa: E402
from agentbench.train.update import backward  # noqa: E402
from credit import CreditError, advantages  # noqa: E402
from policies.scorer import ScorerPolicy  # noqa: E402

TIMED = ("seconds", "steps_per_second", "tokens_per_second", "memory", "tree/")


def config(**settings: Any) -> Any:
    """A run on small trees of the counting toy."""
    small = {"env": "toy", "split": "all", "env_options": {"tasks": 4, "max_steps": 6}, "tasks_per_step": 4, "steps": 4}
    small |= {"learning_rate": 0.01, "minibatches": 2, "checkpoint_every": 2}
    return read_config(None, {**small, "rollouts": "tree", "scheme": "tree_grpo", "trees": 3, "forks": 2, **settings})


def weights(folder: Path) -> dict[str, Any]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "weights.safetensors").items()}


def measured(folder: Path) -> list[dict[str, Any]]:
    rows = read_lines(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.startswith(TIMED)} for row in rows]


def test_trees_without_forks_train_as_chains_do(tmp_path: Path) -> None:
    train(config(scheme="gigpo", forks=0, trees=4), tmp_path / "tree")
    train(config(scheme="gigpo", rollouts="chain", group_size=4), tmp_path / "chain")
    assert weights(tmp_path / "tree" / "policy") == weights(tmp_path / "chain" / "policy")
    assert measured(tmp_path / "tree") == measured(tmp_path / "chain")


@pytest.mark.parametrize("choice", ["uniform", "entropy", "pivot", "invalid"])
def test_it_learns_with_every_choice_of_the_fork(tmp_path: Path, choice: str) -> None:
    one = {"env_options": {"tasks": 1, "max_steps": 3}, "steps": 25, "tasks_per_step": 8, "checkpoint_every": 25}
    train(config(fork_choice=choice, learning_rate=0.03, **one), tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert np.mean([row["success"] for row in rows[-5:]]) > 0.95
    assert sum(row["tree/branches"] for row in rows) > 0 and sum(row["tree/shared_steps"] for row in rows) > 0


@pytest.mark.parametrize("scheme", ["tree_grpo", "grpo", "gigpo"])
def test_the_gradient_is_that_of_walking_every_leaf_and_dividing(tmp_path: Path, scheme: str) -> None:
    settings = config(scheme=scheme, fork_rounds=2, minibatches=1, entropy_coefficient=0.01)
    trainer = Trainer(settings, make_learner(settings), tmp_path)
    groups = trainer.rollouts.train(trainer.policy, 0).groups
    trainer.close()
    table = steps_of(groups, tree=True)
    batch = make_batch(groups, table, settings)
    assert len(batch) == sum(len(each.steps) for group in groups for each in group) < len(table)

    def gradient(rows: Any, of: Any, weight: Any) -> Any:
        trainer.module.zero_grad()
        backward(trainer.policy, of, rows, settings, torch.tensor(weight), 0.0)
        return torch.cat([each.grad.flatten() for each in trainer.module.parameters() if each.grad is not None])

    once = gradient(np.arange(len(batch)), batch, np.full(len(batch), 1 / len(batch)))
    # The same, stated plainly: every step of every leaf's course, each as often as leaves came through it, divided.
    courses = [course for group in groups for course in whole(group)]
    steps = [step for course in courses for step in course.steps]
    count: dict[int, int] = {}
    for step in steps:
        count[id(step)] = count.get(id(step), 0) + 1
    of_rows = advantages(scheme, table)
    every = type(batch)(
        [step.trace for step in steps], of_rows, np.zeros(len(steps)),
        np.repeat(np.arange(len(courses)), [len(course.steps) for course in courses]),
        np.ones(len(steps), dtype=np.int64), table,
    )  # fmt: skip
    walked = gradient(np.arange(len(steps)), every, np.array([1 / count[id(step)] for step in steps]) / len(count))
    assert float(once.abs().max()) > 1e-4
    torch.testing.assert_close(once, walked, atol=1e-6, rtol=1e-4)
    assert len(count) == len(batch), "a node is missing"


def test_a_pivot_by_measurement_is_the_step_that_costs_most_and_is_counted(tmp_path: Path) -> None:
    settings = config(scheme="pivot_retry", fork_choice="pivot", pivot_by="branching", forks=1, branch_rollouts=4)
    trainer = Trainer(settings, make_learner(settings), tmp_path)
    played = trainer.rollouts.train(trainer.policy, 0)
    assert played.branch_steps > 0 and trainer.rollouts.train(trainer.policy, 1).branch_steps > 0
    for group in played.groups:
        roots = [each for each in group if each.parent is None]
        scores = trainer.rollouts.measured.lowest_advantage(trainer.policy, roots, 5)
        assert all(
            len(own) == len(each.steps) and np.isfinite(own).all() for own, each in zip(scores, roots, strict=True)
        )
    won = [(own, each) for own, each in zip(scores, roots, strict=True) if each.won]
    assert all(own[-1] <= 0 for own, _ in won), "the step that won is no pivot"
    trainer.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, workers: int) -> None:
    train(config(), tmp_path / "whole")

    settings = config(workers=workers)
    train_until(3, settings, tmp_path / "cut")
    train(settings, tmp_path / "cut", resume=True)
    if workers == 0:
        assert weights(tmp_path / "whole" / "policy") == weights(tmp_path / "cut" / "policy")
        assert measured(tmp_path / "whole") == measured(tmp_path / "cut")
        return
    # Which prompts are answered together depends on whoever is ready, and with it the last digits of a product.
    counted = ("environment_steps", "success", "episodes", "episode_steps")
    first, second = (measured(tmp_path / name) for name in ("whole", "cut"))
    assert [first[0][name] for name in counted] == [second[0][name] for name in counted]
    assert len(first) == len(second)


def test_a_resumed_run_puts_the_same_prompts_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums of a batch are rounded by its size, so it may not depend on what a process has played before."""
    batches: list[list[tuple[int, int, int]]] = []
    act = ScorerPolicy.act

    def noted(self: ScorerPolicy, prompts: Any) -> Any:
        batches.append([(each.task.index, each.trial, len(each.history)) for each in prompts])
        return act(self, prompts)

    monkeypatch.setattr(ScorerPolicy, "act", noted)
    settings = config(trees=2, fork_rounds=2)
    train(settings, tmp_path)
    whole_run = batches.copy()
    batches.clear()
    shutil.rmtree(tmp_path / "checkpoints" / "step-000004")
    train(settings, tmp_path, resume=True)
    assert batches and whole_run[-len(batches) :] == batches


def test_metrics_count_what_was_played_and_what_was_shared(tmp_path: Path) -> None:
    settings = config(step_budget=20, fork_rounds=9)
    trainer = Trainer(settings, make_learner(settings), tmp_path)
    played = trainer.rollouts.train(trainer.policy, 0)
    trainer.rollouts.position = 0
    metrics = trainer.train_step()
    trainer.close()
    assert metrics["environment_steps"] == played.steps <= 4 * 20
    assert metrics["tree/shared_steps"] == sum(each.fork for each in played.episodes) > 0
    assert metrics["tree/replayed_steps"] == 0
    whole_steps = played.steps + metrics["tree/shared_steps"]
    assert metrics["episode_steps"] == pytest.approx(whole_steps / len(played.episodes))
    assert metrics["reward"] == pytest.approx(metrics["success"])  # the toy pays 1 at the goal


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rollouts": "chain"}, "'tree_grpo' compares episodes that share beginnings.*set rollouts = tree"),
        ({"step_budget": 5}, "step_budget = 5 is below one episode, which may take 6 steps"),
        ({"ratio": "sequence"}, "ratio = sequence is that of whole episodes: set rollouts = chain"),
        ({"values": "branching", "scheme": "gae"}, "set rollouts = chain"),
        ({"fork_choice": "pivot", "pivot_by": "rtms"}, "unknown scheme 'rtms': did you mean rtmc"),
        ({"fork_choice": "pivot", "pivot_by": "igpo"}, "pivot_by = igpo.*'info_gain'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_played(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises((UserError, CreditError), match=said) as caught:
        train(config(**settings), tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "metrics.jsonl").exists()


def test_a_language_model_learns_from_every_answer_once(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[language]'")
    from twelve_configurations import configuration, save_model

    plain = configuration("constrained", save_model(tmp_path / "model"), "cpu").model_dump(exclude_unset=True)
    shape = {"rollouts": "tree", "trees": 2, "forks": 1, "fork_choice": "entropy", "scheme": "tree_grpo"}
    settings = TrainConfig(**{**plain, **shape, "minibatches": 1, "tasks_per_step": 1})
    trainer = Trainer(settings, make_learner(settings), tmp_path / "run")
    played = trainer.rollouts.train(trainer.policy, 0)
    trainer.rollouts.position = 0
    metrics = trainer.train_step()
    trainer.close()
    assert metrics["tree/branches"] == 2 and metrics["environment_steps"] == played.steps
    assert metrics["sampler_gap"] < 1e-3, "a branch's answers are not judged by what they were sampled from"
