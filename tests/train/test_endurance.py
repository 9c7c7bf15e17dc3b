"""Kills, full disks and small memories: what was reached stays, and the message says what to do. Half precision."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
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
from policies import make_policy  # noqa: E402

SMALL = {
    "env": "toy",
    "split": "all",
    "env_options": {"tasks": 4, "max_steps": 6},
    "group_size": 6,
    "tasks_per_step": 4,
    "steps": 6,
    "learning_rate": 0.01,
    "checkpoint_every": 1,
}


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, **settings})


def weights(folder: Path) -> dict[str, Any]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "weights.safetensors").items()}


def checkpoints(out: Path) -> set[str]:
    return {path.name for path in (out / "checkpoints").glob("step-*")}


SCRIPT = """
import sys
import toy_environment
from pathlib import Path
from agentbench.train.config import TrainConfig
from agentbench.train.run import train
train(TrainConfig(**eval(sys.argv[2])), Path(sys.argv[1]), resume=True)
"""


@pytest.mark.parametrize(
    ("kills", "seed"), [(1, 0), *(pytest.param(4, seed, marks=pytest.mark.slow) for seed in range(1, 4))]
)
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(tmp_path: Path, kills: int, seed: int) -> None:
    settings = {**SMALL, "steps": 20, "checkpoint_every": 2, "overlap": seed % 2 == 1}
    train(TrainConfig(**settings), tmp_path / "whole")
    out, generator = tmp_path / "cut", random.Random(seed)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    killed = 0
    for attempt in range(kills + 1):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(out), repr(settings)], env=environment)
        if attempt < kills:
            reached = checkpoints(out)
            while process.poll() is None and checkpoints(out) == reached:
                time.sleep(0.02)
            time.sleep(generator.random() * 0.3)
            process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 1
    assert weights(tmp_path / "whole" / "policy") == weights(out / "policy")
    assert [row["step"] for row in read_lines(out / "metrics.jsonl")] == list(range(1, 21))


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(), whole)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 4:  # no file may grow beyond 100 kB from here on; the weights are larger
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    try:
        with pytest.raises(
            UserError, match=r"cannot write to .*cut.*last checkpoint is whole: make room and .*--resume"
        ):
            train(config(), cut, on_metrics=fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in (cut / "checkpoints").iterdir()) == ["step-000002", "step-000003"]
    train(config(), cut, resume=True)
    assert weights(whole / "policy") == weights(cut / "policy")


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr("agentbench.train.rollouts.play", lambda *_: pytest.fail("something was played"))
    with pytest.raises(UserError, match=r"cannot write to .*file/run"):
        train(config(), tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_setting_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    trainer = Trainer(config(token_budget=4321), make_learner(config()), tmp_path)

    def fail(_: Any) -> Any:
        raise error

    monkeypatch.setattr(trainer.policy, "likelihood", fail)
    with pytest.raises(UserError, match=r"out of memory on cpu: lower token_budget \(4321\)"):
        trainer.train_step()


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(config(), make_learner(config()), tmp_path)
    monkeypatch.setattr(trainer.policy, "likelihood", lambda _: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        trainer.train_step()


def test_the_best_policy_and_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = config(steps=9, eval_split="all", eval_every=2, checkpoint_every=2, keep_checkpoints=3)
    at: dict[int, Any] = {}
    train(settings, out, on_metrics=lambda row: at.update({row["step"]: weights(out / "best")}))
    evaluated = [row for row in read_lines(out / "metrics.jsonl") if "eval/success" in row]
    best = max(row["eval/success"] for row in evaluated)
    first = next(row["step"] for row in evaluated if row["eval/success"] == best)
    assert [row["step"] for row in evaluated] == [0, 2, 4, 6, 8, 9]
    assert evaluated[-1]["eval/best"] == best > evaluated[0]["eval/success"]
    assert weights(out / "best") == at[first]
    assert make_policy(str(out / "best"), environment="toy").name == "scorer"
    kept = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert kept == ["step-000006", "step-000008", "step-000009"]


def test_the_best_is_remembered_over_a_resume(tmp_path: Path) -> None:
    settings = config(steps=8, eval_split="all", eval_every=2, checkpoint_every=2)
    train(settings, tmp_path / "whole")
    train_until(5, settings, tmp_path / "cut")
    train(settings, tmp_path / "cut", resume=True)
    bests = [
        [row.get("eval/best") for row in read_lines(tmp_path / name / "metrics.jsonl")] for name in ("whole", "cut")
    ]
    assert bests[0] == bests[1]
    assert weights(tmp_path / "whole" / "best") == weights(tmp_path / "cut" / "best")


def test_every_part_of_the_telemetry_is_in_the_metrics(tmp_path: Path) -> None:
    settings = config(scheme="gae", value_coefficient=0.5, kl_coefficient=0.1, eval_split="all", eval_every=1)
    train(settings, tmp_path)
    expected = {"reward", "success", "success/Even", "success/Odd", "score", "episode_steps", "invalid_share", "errors"}
    expected |= {"advantage/mean", "advantage/deviation", "advantage/zero_share", "advantage/singleton_share"}
    expected |= {"advantage/positive_on_failure", "advantage/equal_groups", "advantage/largest", "value_loss"}
    expected |= {"entropy", "kl", "clip_share", "grad_norm", "log_ratio", "sampler_gap", "staleness", "learning_rate"}
    expected |= {"tokens_per_second", "steps_per_second", "seconds", "memory_mb", "eval/success", "eval/best"}
    expected |= {f"seconds/{phase}" for phase in ("rollout", "table", "advantage", "update", "evaluate", "checkpoint")}
    for row in read_lines(tmp_path / "metrics.jsonl")[1:]:
        assert expected <= row.keys()
        phases = sum(value for name, value in row.items() if name.startswith("seconds/") and "checkpoint" not in name)
        assert phases <= row["seconds"] + 0.001
        assert row["memory_mb"] > 10 and row["tokens_per_second"] > 0


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_it_learns_in_either_precision(tmp_path: Path, device: str, precision: Any) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    options = {"tasks": 4, "max_steps": 5}
    train(
        config(steps=25, env_options=options, seed=1, device=device, precision=precision, kl_coefficient=0.001),
        tmp_path,
    )
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert rows[0]["success"] < 0.8
    assert sum(row["success"] for row in rows[-5:]) / 5 > 0.93
    # Bfloat16 has 8 bits of precision: the trainer sees other numbers than the sampler, but not far off.
    assert rows[0]["sampler_gap"] < (1e-5 if precision == "float32" and device == "cpu" else 0.02)
