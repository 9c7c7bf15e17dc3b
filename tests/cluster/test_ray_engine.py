"""vLLM's engines on a Ray cluster: asked from a process without vLLM, they answer as one in this process does.

Most tests have a stand-in (``tests/support/stand_in_vllm``) on the machines of the cluster; ``make test-vllm`` runs the
one with vLLM itself.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

from agentbench import UserError, evaluate, open_run
from agentbench.analysis.truth.run import make_truth
from agentbench.cluster.gpus import gpus_of
from policies import make_policy

STAND_IN = Path(__file__).parents[1] / "support" / "stand_in_vllm"
VLLM_PROGRAMS = Path(__file__).parents[2] / ".venv-vllm" / "bin"
SPLIT = "generated:1:4:small"
OPTIONS = {"max_tokens": 8, "thinking": False}
SETTINGS: dict[str, Any] = {"split": SPLIT, "workers": 2, "parallel": 2, "env_options": {"max_steps": 3}}

on_cluster = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install -e '.[ray]'"),
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is not None, reason="vLLM would be in the place of its stand-in"
    ),
]


def marked(test: Any) -> Any:
    for mark in on_cluster:
        test = mark(test)
    return test


def tables(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.parquet").read_bytes() for name in ("episodes", "steps")]


def texts(run: Any) -> list[str | None]:
    return [step.text for episode in run.read_episodes() for step in episode.steps]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_language

    path: Path = tmp_path_factory.mktemp("engine") / "tiny"
    tiny_language.model(max_position_embeddings=8192).save_pretrained(path)
    tiny_language.tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def local(model: Path) -> Path:
    """The run of the stand-in in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STAND_IN))
        out = model.parent / "local"
        evaluate("alfworld", f"vllm:{model}", out=out, policy_options=OPTIONS, **SETTINGS)
    return out


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, list[Any]]]:
    """A head without GPUs, and a machine with two, as far as Ray knows."""
    import ray_nodes

    with ray_nodes.gpu_cluster(PYTHONPATH=str(STAND_IN)) as found:
        yield found


@marked
def test_two_engines_on_a_cluster_give_the_same_tables_as_one_here(
    model: Path, local: Path, cluster: Any, tmp_path: Path
) -> None:
    policy, executor = f"vllm:{model}", f"ray:{cluster[0]}"
    result = evaluate("alfworld", policy, out=tmp_path, executor=executor,
                      policy_options={**OPTIONS, "engines": 2}, **SETTINGS)  # fmt: skip
    assert tables(tmp_path) == tables(local)
    assert result.run.config["identity"] == open_run(local).config["identity"]
    assert len(set(texts(result.run))) > 1, "a model that always says the same compares nothing"


@marked
@pytest.mark.parametrize(
    ("fault", "said"),
    [("die", "the Ray actor died"), ("raise", "the stand-in is broken"), ("hang", "no answer within 15 s")],
)
def test_an_engine_that_fails_is_started_again_and_asked_once_more(
    model: Path, local: Path, cluster: Any, tmp_path: Path, fault: str, said: str, caplog: Any
) -> None:
    (model / fault).touch()
    with caplog.at_level(logging.WARNING, "agentbench"):
        evaluate("alfworld", f"vllm:{model}", out=tmp_path, executor=f"ray:{cluster[0]}",
                 policy_options={**OPTIONS, "timeout": 15.0}, **SETTINGS)  # fmt: skip
    assert tables(tmp_path) == tables(local)
    assert [record for record in caplog.records if "started again" in record.message and said in record.message]


@marked
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"engines": 3}, r"3 x 1 GPUs for vllm:.* more than the Ray cluster has: 0 \+ 2"),
        ({"llm_arguments": {"tensor_parallel_size": 4}}, r"1 x 4 GPUs .* has: 0 \+ 2"),
        ({"llm_arguments": {"tensor_parallel_size": "2"}}, "must be a whole number"),
        ({"engines": 0}, "engines of policy 'vllm' must be a whole number from 1 to 10000, got 0"),
        ({"heat": 1}, "heat"),
        ({"max_tokens": 0}, "max_tokens of policy 'vllm' must be a whole number from 1 to 10000000, got 0"),
    ],
)
def test_what_cannot_be_is_one_clear_message_before_anything_is_written(
    model: Path, cluster: Any, tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        evaluate("alfworld", f"vllm:{model}", out=tmp_path / "run", executor=f"ray:{cluster[0]}",
                 policy_options={**OPTIONS, **options}, **SETTINGS)  # fmt: skip
    assert not (tmp_path / "run").exists()


@marked
def test_a_model_that_is_not_on_the_engines_machine_is_told_with_that_machine(cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"on machine .* of the cluster .*: vLLM cannot load /nowhere"):
        evaluate("alfworld", "vllm:/nowhere", out=tmp_path / "run", executor=f"ray:{cluster[0]}", **SETTINGS)


@marked
def test_the_last_gpu_machine_dies_and_the_run_goes_on_when_there_is_another(
    model: Path, local: Path, cluster: Any, tmp_path: Path
) -> None:
    import ray_nodes

    address, nodes = cluster

    def kill(progress: Any) -> None:
        if progress.finished == 1:
            nodes[1].kill()

    def play(**more: Any) -> None:
        evaluate("alfworld", f"vllm:{model}", out=tmp_path, executor=f"ray:{address}", policy_options=OPTIONS,
                 **SETTINGS, **more)  # fmt: skip

    with pytest.raises(UserError, match=r"no place for another: 1 x 1 GPUs .* has: 0; .*continues from there"):
        play(on_progress=kill)
    assert 1 <= len(list(open_run(tmp_path).read_episodes())) < 4
    nodes.append(ray_nodes.gpu_node(address, PYTHONPATH=str(STAND_IN)))
    ray_nodes.wait_for_nodes(address, 2)
    play()
    assert tables(tmp_path) == tables(local)


@marked
def test_a_cluster_without_gpus_or_without_vllm_is_told(model: Path, tmp_path: Path) -> None:
    import ray
    import ray_nodes

    ray.shutdown()
    with ray_nodes.cluster(nodes=1) as (address, _):
        for options, problem in (
            ({"llm_arguments": {"tensor_parallel_size": 2}}, "tensor_parallel_size = 2 asks for GPUs, and .* has none"),
            ({}, r"on machine .*: policy 'vllm' needs a package that is not installed"),
        ):
            with pytest.raises(UserError, match=problem):
                evaluate("alfworld", f"vllm:{model}", out=tmp_path / "run", executor=f"ray:{address}",
                         policy_options=options, **SETTINGS)  # fmt: skip
        ray.shutdown()
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is here, not its stand-in")
@pytest.mark.parametrize(
    ("fault", "said"),
    [("raise", "RuntimeError: the stand-in is broken"), ("hang", "TimeoutError: no answer within 8 s")],
)
def test_an_engine_that_fails_in_this_process_stops_the_run_which_goes_on_later(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING", raising=False)

    def fail(progress: Any) -> None:
        if progress.finished == 2:
            (model / fault).touch()

    def play(seconds: float, **more: Any) -> Any:
        settings = {**SETTINGS, "workers": 1, "parallel": 1, "policy_options": {**OPTIONS, "timeout": seconds}}
        return evaluate("alfworld", f"vllm:{model}", out=tmp_path, **settings, **more)

    with pytest.raises(UserError, match=rf"engine has failed \({said}.*continues from there"):
        play(8.0, on_progress=fail)
    assert [episode.outcome for episode in open_run(tmp_path).read_episodes()] == ["failure"] * 2
    assert list(play(600.0).frame["outcome"]) == ["failure"] * 4


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is here, not its stand-in")
def test_a_command_whose_engine_hangs_ends(model: Path, tmp_path: Path) -> None:
    (model / "hang").touch()
    flags = [
        *("--env", "alfworld", "--split", SPLIT, "--policy", f"vllm:{model}", "--max-tokens", "8"),
        "--timeout",
        "1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "agentbench", "eval", *flags, "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(STAND_IN)},
    )
    assert done.returncode == 2
    assert "no answer within 1 s" in done.stderr and "Traceback" not in done.stderr


def test_truth_does_not_ask_engines_on_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="take --executor local"):
        make_truth(tmp_path / "truth", policy="vllm:tiny", executor="ray")
    assert not (tmp_path / "truth").exists()


def test_several_engines_need_a_cluster(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("vllm") is None:
        monkeypatch.syspath_prepend(str(STAND_IN))
    with pytest.raises(UserError, match="engines = 2 needs a cluster"):
        make_policy(f"vllm:{model}", environment="alfworld", options={"engines": 2})


@pytest.mark.parametrize(
    ("engine", "held"),
    [({}, 1), ({"tensor_parallel_size": 4}, 4), ({"tensor_parallel_size": 2, "pipeline_parallel_size": 3}, 6)],
)
def test_an_engine_holds_as_many_gpus_as_it_is_wide(
    monkeypatch: pytest.MonkeyPatch, engine: dict[str, Any], held: int
) -> None:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 8.0})
    assert gpus_of(engine) == held
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0})
    if engine:
        with pytest.raises(UserError, match="asks for GPUs"):
            gpus_of(engine)
    else:
        assert gpus_of(engine) == 0


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_vllm_itself_on_a_cluster_gives_the_same_tables_as_in_its_own_process(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    import ray_nodes

    if not (VLLM_PROGRAMS / "ray").is_file():
        pytest.skip("needs vLLM and Ray in .venv-vllm: make vllm")
    there = subprocess.run([VLLM_PROGRAMS / "ray", "--version"], check=True, capture_output=True, text=True).stdout
    if ray.__version__ not in there:
        pytest.skip(f"a cluster has one version of Ray: here {ray.__version__}, in .venv-vllm {there.strip()}")
    from agentbench.train.model_init import init_model

    evaluate("alfworld", "walkthrough", split=SPLIT, out=tmp_path / "solutions")
    init_model(tmp_path / "tiny", size="800k", tokenizer_from=tmp_path / "solutions", vocabulary=600)
    options = {**OPTIONS, "max_context": 4096, "precision": "float32", "llm_arguments": {"enforce_eager": True}}
    variables = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    here = (
        "from agentbench import evaluate\n"
        f"evaluate('alfworld', 'vllm:{tmp_path / 'tiny'}', out='{tmp_path / 'here'}', policy_options={options}, "
        f"**{SETTINGS})\n"
    )
    local = subprocess.Popen([VLLM_PROGRAMS / "python", "-c", here], env={**os.environ, **variables})
    ray.shutdown()
    with ray_nodes.cluster(nodes=1) as (address, nodes):
        nodes.append(
            ray_nodes.Node(
                "--address", address, "--num-cpus", "2", "--num-gpus", "1", programs=VLLM_PROGRAMS, **variables
            )
        )
        ray_nodes.wait_for_nodes(address, 2)
        policy, executor = f"vllm:{tmp_path / 'tiny'}", f"ray:{address}"
        evaluate("alfworld", policy, out=tmp_path / "ray", executor=executor, policy_options=options, **SETTINGS)
        ray.shutdown()
    assert local.wait(600) == 0
    assert tables(tmp_path / "ray") == tables(tmp_path / "here")
