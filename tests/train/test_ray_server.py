"""Training on a Ray cluster has vLLM's server there: the same weights in the end, also when its machine dies."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

import tiny_language as tiny
import toy_environment  # noqa: F401  (registers the environment 'toy')

from agentbench import UserError
from agentbench.runs.lines import read_lines
from agentbench.train.config import TrainConfig
from agentbench.train.run import train

SUPPORT = Path(__file__).parents[1] / "support"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install -e '.[ray]'"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, list[Any]]]:
    import ray_nodes

    with ray_nodes.gpu_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and an interpreter whose vLLM is the stand-in."""
    path = tmp_path_factory.mktemp("server")
    tiny.model(head_dim=64).save_pretrained(path / "model")
    tiny.tokenizer().save_pretrained(path / "model")
    program = path / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={SUPPORT / "stand_in_vllm"}:{SUPPORT} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return path


def config(folder: Path, address: str, **engine_options: Any) -> TrainConfig:
    """Few short episodes whose rewards are all the same: it is the entropy bonus that moves the weights."""
    return TrainConfig(
        env="toy", split="all", env_options={"tasks": 2, "max_steps": 2}, group_size=2, tasks_per_step=2, steps=3,
        policy=f"hf:{folder / 'model'}", policy_options={"max_new_tokens": 6}, minibatches=1, checkpoint_every=1,
        entropy_coefficient=0.5, learning_rate=0.02, workers=1, executor=f"ray:{address}", engine="vllm",
        engine_options={"python": str(folder / "python"), "timeout": 60, **engine_options},
    )  # fmt: skip


def weights(run: Path) -> bytes:
    return (run / "policy" / "weights.safetensors").read_bytes()


def server_pid(run: Path) -> int:
    lines = (run / "sampler" / "server.log").read_text().splitlines()
    return int([line for line in lines if line.startswith("pid ")][-1].split()[1])


def test_the_server_is_where_the_gpus_are_until_its_machine_dies_and_training_goes_on(
    folder: Path, cluster: Any, tmp_path: Path
) -> None:
    import ray_nodes

    address, nodes = cluster
    places: list[bool] = []

    def look(metrics: dict[str, Any]) -> None:
        places.append(server_pid(tmp_path / "whole") in nodes[1].pids())

    train(config(folder, address), tmp_path / "whole", on_metrics=look)
    assert places == [True] * 3
    assert not psutil.pid_exists(server_pid(tmp_path / "whole"))
    assert all(row["probe/gap"] < 1e-5 for row in read_lines(tmp_path / "whole" / "metrics.jsonl"))

    def kill(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 2:
            nodes[1].kill()

    with pytest.raises(UserError, match=r"vLLM's server has ended.*--resume continues from the last checkpoint"):
        train(config(folder, address), tmp_path / "killed", on_metrics=kill)
    nodes.append(ray_nodes.gpu_node(address))
    ray_nodes.wait_for_nodes(address, 2)
    train(config(folder, address), tmp_path / "killed", resume=True)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"arguments": ["--tensor-parallel-size", "4"]}, r"1 x 4 GPUs for vLLM's server .* has: 0 \+ 2"),
        ({"arguments": ["-tp", "2", "--data-parallel-size=3"]}, r"1 x 6 GPUs for vLLM's server .* has: 0 \+ 2"),
        ({"arguments": ["-tp=wide"]}, "invalid int value"),
        ({"python": "/nowhere/python"}, r"on machine .* there is no interpreter /nowhere/python"),
    ],
)
def test_a_server_that_cannot_be_started_is_told(
    folder: Path, cluster: Any, tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        train(config(folder, cluster[0], **options), tmp_path)


def test_a_server_whose_actor_hangs_counts_as_gone(
    folder: Path, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentbench.cluster import server as ray_server

    monkeypatch.setattr(ray_server, "ANSWER_SECONDS", 3.0)
    monkeypatch.setattr(ray_server, "CLOSE_SECONDS", 3.0)
    hung: list[psutil.Process] = []

    def hang(metrics: dict[str, Any]) -> None:
        if metrics["step"] == 2:
            hung.append(psutil.Process(server_pid(tmp_path)).parent())
            os.kill(hung[0].pid, signal.SIGSTOP)

    try:
        with pytest.raises(UserError, match="vLLM's server has ended"):
            train(config(folder, cluster[0]), tmp_path, on_metrics=hang)
    finally:
        hung[0].kill()
