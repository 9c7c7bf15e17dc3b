"""Several processes: the same batch gives the same loss and gradient, and a run is written once and can be resumed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no gloo", allow_module_level=True)

import two_processes  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from agentbench import UserError  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.train.distributed import Ranks  # noqa: E402
from agentbench.train.run import train  # noqa: E402


def run_two_processes(*arguments: str, **environment: str) -> None:
    """Run two_processes.py as two processes that meet; both must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    shared |= {"PYTHONPATH": os.pathsep.join(sys.path), **environment}
    started = [
        subprocess.Popen(
            [sys.executable, two_processes.__file__, *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=1800)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], "\n".join(told)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found and wrote (see two_processes.py)."""
    folder = tmp_path_factory.mktemp("two")
    run_two_processes(str(folder))
    return folder


@pytest.mark.skipif(not (sys.platform == "linux" and shutil.which("gcc")), reason="needs gcc and Linux's LD_PRELOAD")
def test_processes_end_well_though_threads_of_gloo_are_late(tmp_path: Path) -> None:
    source, library = Path(two_processes.__file__).with_name("late_gloo.c"), tmp_path / "late.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    for _ in range(2):
        run_two_processes(LD_PRELOAD=str(library))


@pytest.mark.parametrize("way", ["all-reduce", "sharded"])
@pytest.mark.parametrize("case", list(two_processes.CASES))
def test_loss_and_gradient_are_those_of_one_process(folder: Path, tmp_path: Path, case: str, way: str) -> None:
    expected, metrics = two_processes.gradient(case, tmp_path)
    found = np.load(folder / "gradients.npz")
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found[f"{case}/{way}"], expected, atol=1e-6)
    assert float(found[f"{case}/{way}/loss"]) == pytest.approx(metrics["loss"], abs=1e-6)


def test_split_weights_of_a_language_model_stay_whole_and_tied(folder: Path) -> None:
    assert np.load(folder / "gradients.npz")["tied"]


def test_rollouts_played_ahead_are_not_taken_for_what_an_update_hands_round(folder: Path) -> None:
    assert np.load(folder / "gradients.npz")["apart"]


def weights(folder: Path) -> dict[str, Any]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "weights.safetensors").items()}


def untimed(folder: Path) -> list[dict[str, Any]]:
    words = ("second", "memory")
    rows = read_lines(folder / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not any(word in name for word in words)} for row in rows]


@pytest.mark.parametrize("name", two_processes.RESUMED)
def test_a_run_of_two_processes_is_written_once_and_resumes_bit_for_bit(folder: Path, name: str) -> None:
    assert [row["step"] for row in untimed(folder / name)][-4:] == [1, 2, 3, 4]
    assert untimed(folder / name) == untimed(folder / f"{name}-resumed")
    assert weights(folder / name / "policy") == weights(folder / f"{name}-resumed" / "policy")


COMPARED = (
    "environment_steps",
    "success",
    "reward",
    "advantage/deviation",
    "loss",
    "entropy",
    "grad_norm",
    "eval/success",
)
OF_TREES = ("tree/branches", "tree/shared_steps", "tree/fork_depth", "branch_steps", "episodes")


def assert_same_curve(alone: Path, together: Path) -> None:
    """Compare the first lines: later ones may part, where the last digits of a sum decide a draw."""
    one, two = untimed(alone)[:2], untimed(together)[:2]
    assert len(one) == 2 and [row.keys() for row in one] == [row.keys() for row in two]
    for name in (*COMPARED, *OF_TREES):
        assert [row.get(name) for row in one] == pytest.approx([row.get(name) for row in two], abs=1e-4), name


@pytest.mark.parametrize("name", ["all-reduce", "trees"])
def test_the_rollouts_of_two_processes_are_those_of_one(folder: Path, tmp_path: Path, name: str) -> None:
    train(two_processes.run_config(name), tmp_path)
    assert_same_curve(tmp_path, folder / name)
    if name == "trees":
        assert all(row["tree/branches"] > 0 and row["branch_steps"] > 0 for row in untimed(tmp_path))


@pytest.mark.slow
def test_a_language_model_learns_from_trees_in_two_processes_as_in_one(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
    from twelve_configurations import save_model

    model = save_model(tmp_path / "model")
    run_two_processes(str(tmp_path / "two"), str(model))
    train(two_processes.language_config(model), tmp_path / "one")
    assert_same_curve(tmp_path / "one", tmp_path / "two")
    assert untimed(tmp_path / "one")[0]["tree/branches"] > 0


def test_split_weights_need_several_processes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shard = true needs several processes: start with torchrun"):
        train(two_processes.run_config("sharded-ahead"), tmp_path)


@pytest.mark.parametrize(("items", "count"), [(7, 3), (2, 4), (0, 2), (6, 1)])
def test_shares_are_even_and_leave_nothing_out(items: int, count: int) -> None:
    shares = Ranks(0, count).shares(list(range(items)))
    assert [item for share in shares for item in share] == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.slow
def test_torchrun_starts_the_command_line(tmp_path: Path) -> None:
    flags = ["--env", "alfworld", "--split", "generated:0:4", "--steps", "2", "--group-size", "2"]
    flags += ["--tasks-per-step", "2", "--out", str(tmp_path / "run")]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launch, "-m", "agentbench", "train", *flags],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("policy:") == 1
    assert len(read_lines(tmp_path / "run" / "metrics.jsonl")) == 2
