"""Workers on a Ray cluster: the same episodes as on this machine, also when one of its machines dies."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import journals
import pytest
from toy_environment import UpPolicy

from agentbench import UserError, evaluate, open_run
from agentbench.cluster.launch import launcher
from agentbench.evaluation.config import EvaluateConfig, check_config
from agentbench.rollout import PlayOptions
from agentbench.rollout.branch import TreeOptions, grow, uniform
from agentbench.rollout.contract import Recipe
from agentbench.rollout.pool import Workers
from agentbench.runs.episodes import to_line
from envs import make
from envs.registry import find
from policies.registry import make_policy

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="needs Ray: pip install -e '.[ray]'")


def tables(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.parquet").read_bytes() for name in ("episodes", "steps")]


def playing(present: Path) -> set[int]:
    return {int(each.name) for each in present.iterdir() if each.name.isdecimal()}


def starting(present: Path) -> set[int]:
    return {int(each.name.removesuffix("-starting")) for each in present.glob("*-starting")}


@needs_ray
@pytest.mark.parametrize(
    ("executor", "problem"),
    [
        ("ray:127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
        ("ray:nowhere", "write ray:HOST:PORT"),
        ("ray:127.0.0.1:999999", "no Ray cluster answers"),
    ],
)
def test_a_bad_address_is_one_clear_message_before_anything_is_written(
    tmp_path: Path, executor: str, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        evaluate("toy", UpPolicy(), out=tmp_path / "run", executor=executor)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of this machine, of which tests may kill the second."""
    if not HAS_RAY:
        pytest.skip("needs Ray: pip install -e '.[ray]'")
    import ray
    import ray_nodes

    with ray_nodes.cluster() as (address, nodes):
        ray_nodes.wait_for_nodes(address, 2)
        yield address, nodes
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_the_head_may_be_called_by_its_name_again_and_again(cluster: Any) -> None:
    import socket

    from agentbench.cluster.machines import connect

    port = cluster[0].rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", socket.gethostname()):
        connect(cluster[0])
        connect(f"{host}:{port}")
    for other in (f"localhost:{int(port) - 1}", f"192.0.2.254:{port}", f"no-such-name.invalid:{port}"):
        with pytest.raises(UserError, match="has joined"):
            connect(other)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_faults_on_a_cluster_end_as_they_do_on_this_machine(tmp_path: Path, cluster: Any) -> None:
    for executor in ("local", f"ray:{cluster[0]}"):
        out = tmp_path / executor.partition(":")[0]
        options = {"faults": {"1": "kill", "2": "raise", "3": "sleep"}, "folder": str(out), "tasks": 4}
        result = evaluate(
            "toy", UpPolicy(), out=out, workers=2, step_timeout=6.0, attempts=2, executor=executor, env_options=options
        )
        frame = result.frame.set_index("task_name")
        assert list(frame["outcome"].sort_index()) == ["success", "error", "error", "error"]
        assert "the toy is broken" in frame.loc["toy:2", "error"]
        assert "a step took more than 6 s" in frame.loc["toy:3", "error"]
        assert "died" in frame.loc["toy:1", "error"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", [1, 2])
def test_many_environments_in_an_actor_give_the_same_bytes_as_in_this_process(
    tmp_path: Path, cluster: Any, workers: int
) -> None:
    about: dict[str, Any] = {"parallel": 64, "seed": 5, "env_options": {"tasks": 80}}
    evaluate("toy", "random", out=tmp_path / "here", inline=True, **about)
    evaluate("toy", "random", out=tmp_path / "ray", executor=f"ray:{cluster[0]}", workers=workers, **about)
    assert tables(tmp_path / "ray") == tables(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("snapshots", [True, False])
def test_trees_on_a_cluster_are_those_of_this_machine(cluster: Any, snapshots: bool) -> None:
    tree = TreeOptions(trees=2, forks=2, rounds=2, longest=8, snapshots=snapshots)
    recipe = Recipe(find("toy"), {"tasks": 3, "max_steps": 8})
    policy, found = make_policy("random", environment="toy"), []
    for executor in ("local", f"ray:{cluster[0]}"):
        with Workers(recipe, launch=launcher(executor)) as pool:
            tasks = make("toy", tasks=3, max_steps=8).tasks
            episodes = grow(pool, policy, tasks, tree, PlayOptions(workers=2, seed=4), uniform(4))
        found.append([to_line(replace(episode, timing={})) for episode in episodes])
    assert found[0] == found[1] and any("fork_by" in line for line in found[0])


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_a_node_that_dies_in_mid_run_loses_nothing(tmp_path: Path, cluster: Any) -> None:
    address, nodes = cluster
    present = tmp_path / "present"
    present.mkdir()
    options = {"delay": 0.03, "present": str(present)}
    settings: dict[str, Any] = {"trials": 20, "parallel": 16, "workers": 8, "seed": 5, "env_options": options}
    evaluate("toy", "random", out=tmp_path / "local", **settings)
    kept: list[bytes] = []

    def kill(progress: Any) -> None:
        if progress.finished >= 10 and not kept and nodes[1].pids() & playing(present):
            kept.append(b"".join(journals.stored(tmp_path / "ray")))
            nodes[1].kill()

    evaluate("toy", "random", out=tmp_path / "ray", executor=f"ray:{address}", on_progress=kill, **settings)
    assert b"".join(journals.stored(tmp_path / "ray")).startswith(kept[0])
    assert tables(tmp_path / "ray") == tables(tmp_path / "local")
    again = [episode.timing["attempts"] for episode in open_run(tmp_path / "ray").read_episodes()]
    assert max(again) == 2, "no worker was on the node that died"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_a_node_that_dies_while_workers_start_on_it_is_no_fault_of_the_environment(
    tmp_path: Path, cluster: Any
) -> None:
    import ray_nodes

    address, nodes = cluster
    nodes.append(ray_nodes.Node("--address", address, "--num-cpus", "2"))
    ray_nodes.wait_for_nodes(address, 2)
    present = tmp_path / "present"
    present.mkdir()
    options = {"present": str(present), "start_delay": 4.0}

    def kill() -> None:
        end = time.monotonic() + 600
        while not nodes[-1].pids() & starting(present) and time.monotonic() < end:
            time.sleep(0.05)
        killed.extend(nodes[-1].pids() & starting(present))
        nodes[-1].kill()

    killed: list[int] = []
    killer = threading.Thread(target=kill)
    killer.start()
    # With one attempt, any failed start that is laid at the environment's door ends the run.
    result = evaluate(
        "toy", UpPolicy(), out=tmp_path / "run", executor=f"ray:{address}", workers=6, attempts=1, env_options=options
    )
    killer.join()
    assert killed, "no worker started on the node"
    assert list(result.frame["outcome"]) == ["success"] * 6


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_training_on_a_cluster_ends_with_the_same_weights(tmp_path: Path, cluster: Any) -> None:
    pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
    from agentbench.train.config import read_config
    from agentbench.train.run import train

    small = {
        "env": "toy", "split": "all", "env_options": {"tasks": 2, "max_steps": 4}, "group_size": 2,
        "tasks_per_step": 2, "steps": 2,
        "workers": 1,  # two are answered together or one by one, as it comes, and sums of floats differ in the last bit
    }  # fmt: skip
    for executor in ("local", f"ray:{cluster[0]}"):
        train(read_config(None, {**small, "executor": executor}), tmp_path / executor.partition(":")[0])
    weights = [(tmp_path / name / "policy" / "weights.safetensors").read_bytes() for name in ("local", "ray")]
    assert weights[0] == weights[1]


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install -e '.*\[ray\]'"):
        evaluate("toy", UpPolicy(), out=tmp_path / "run", executor="ray")


def eval_on(address: str, out: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentbench", "eval", "--split", "generated:0:2", "--out", str(out)]
    command += ["--executor", f"ray:{address}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env={**os.environ, **variables})


@pytest.mark.slow
@pytest.mark.ray
@needs_ray
@pytest.mark.timeout(1800)
def test_a_cluster_that_asks_for_a_token_is_told_and_joined_with_it(tmp_path: Path) -> None:
    import ray
    import ray_nodes

    if not hasattr(ray.exceptions, "AuthenticationError"):
        pytest.skip(f"Ray {ray.__version__} knows no tokens")
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    with ray_nodes.cluster(nodes=1, **token) as (address, _):
        refused = eval_on(address, tmp_path / "refused", RAY_AUTH_MODE="disabled")
        assert refused.returncode == 2 and "asks for a token: set RAY_AUTH_MODE=token" in refused.stderr
        joined = eval_on(address, tmp_path / "joined", **token)
    assert joined.returncode == 0, joined.stderr
    assert not (tmp_path / "refused").exists()


@pytest.mark.slow
@pytest.mark.ray
@needs_ray
@pytest.mark.timeout(1800)
def test_a_cluster_without_processors_is_told_at_once(tmp_path: Path) -> None:
    import ray_nodes

    with ray_nodes.cluster(nodes=1, cpus=0) as (address, _):
        ray_nodes.wait_for_nodes(address, 1)
        done = eval_on(address, tmp_path / "run")
    assert done.returncode == 2 and "has no CPU for a worker" in done.stderr
    assert not (tmp_path / "run").exists()


def test_an_unknown_executor_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean ray"):
        evaluate("toy", UpPolicy(), out=tmp_path / "run", executor="rai")
    with pytest.raises(UserError, match="inline plays in this process"):
        check_config(inline=True, executor="ray")
    assert EvaluateConfig().executor == "local"
