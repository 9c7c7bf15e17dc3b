"""Rollouts ahead of the update: one step off-policy at most, none across a checkpoint, resumable bit for bit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: E402, F401  (registers the environment 'toy')
from killed_run import train_until  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from agentbench import UserError  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.train.config import TrainConfig  # noqa: E402
from agentbench.train.run import make_learner, train  # noqa: E402
from agentbench.train.trainer import Trainer  # noqa: E402


def config(**settings: Any) -> TrainConfig:
    small = {"env": "toy", "split": "all", "env_options": {"tasks": 4, "max_steps": 6}, "group_size": 6, "steps": 7}
    return TrainConfig(
        **{**small, "tasks_per_step": 4, "learning_rate": 0.01, "checkpoint_every": 3, "overlap": True, **settings}
    )


def weights(folder: Path) -> dict[str, Any]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "weights.safetensors").items()}


def test_the_staleness_is_one_except_after_checkpoints_and_evaluations(tmp_path: Path) -> None:
    train(config(eval_split="all", eval_every=5, eval_tasks=2), tmp_path)
    staleness = [row.get("staleness") for row in read_lines(tmp_path / "metrics.jsonl")]
    #                    0: evaluation; 3 and 6: checkpoints; 5: evaluation
    assert staleness == [None, 0, 1, 1, 0, 1, 0, 0]


def test_the_gap_between_sampler_and_trainer_is_that_of_one_update(tmp_path: Path) -> None:
    train(config(), tmp_path)
    for row in read_lines(tmp_path / "metrics.jsonl"):
        assert (row["sampler_gap"] < 1e-5) == (row["staleness"] == 0)


@pytest.mark.parametrize("after", [2, 5])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, after: int) -> None:
    train(config(), tmp_path / "whole")
    train_until(after, config(), tmp_path / "cut")
    train(config(), tmp_path / "cut", resume=True)
    assert weights(tmp_path / "whole" / "policy") == weights(tmp_path / "cut" / "policy")


def test_the_rollouts_run_beside_the_update(tmp_path: Path) -> None:
    trainer = Trainer(config(), make_learner(config()), tmp_path)
    threads = []
    play = trainer.rollouts.train

    def noting(policy: Any, step: int) -> Any:
        threads.append((step, threading.current_thread() is threading.main_thread(), policy is trainer.policy))
        return play(policy, step)

    trainer.rollouts.train = noting  # type: ignore[method-assign]
    trainer.run(lambda _: None)
    beside = (False, False)
    assert threads == [
        (0, True, False),
        *((step, *beside) for step in (1, 2)),
        (3, True, False),
        *((step, *beside) for step in (4, 5)),
        (6, True, False),
    ]


def test_it_learns(tmp_path: Path) -> None:
    train(config(steps=30, checkpoint_every=10, env_options={"tasks": 4, "max_steps": 5}, seed=1), tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert rows[0]["success"] < 0.8
    assert sum(row["success"] for row in rows[-5:]) / 5 > 0.93


def test_what_goes_wrong_in_rollouts_ahead_is_told(tmp_path: Path) -> None:
    faults = {str(task): "raise" for task in range(4)}
    with pytest.raises(UserError, match=r"no episode of training step 1 could be played: .*the toy is broken"):
        train(config(env_options={"tasks": 4, "max_steps": 6, "faults": faults}), tmp_path)
