"""vLLM's real server: evaluated, given new weights, trained from. Needs ``make vllm``; run with ``make test-vllm``."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

from killed_run import train_until  # noqa: E402

from agentbench import UserError, evaluate  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.train.config import TrainConfig  # noqa: E402
from agentbench.train.model_init import init_model  # noqa: E402
from agentbench.train.run import train  # noqa: E402
from policies import make_policy  # noqa: E402
from policies.language.decode import Request  # noqa: E402
from policies.language.policy import LanguagePolicy  # noqa: E402
from policies.language.settings import in_training  # noqa: E402
from policies.vllm.server import VllmServer, find_python, server_options  # noqa: E402
from policies.vllm.weights import write_model  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.vllm, pytest.mark.timeout(1500)]
SPLIT = "generated:1:4:small"
OPTIONS = {"max_tokens": 8, "max_context": 4096}


def tiny(folder: Path, seed: int, **options: Any) -> LanguagePolicy:
    """A model as in training, with weights of a seed."""
    made: Any = make_policy(f"hf:{folder}", environment="alfworld", options=in_training({**OPTIONS, **options}))
    with torch.no_grad():  # apart enough that greedy answers differ, and no two tokens are equally likely
        generator = torch.Generator().manual_seed(seed)
        for parameter in made.module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.08)
    return made  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        find_python(None)
    except UserError as error:
        pytest.skip(str(error))
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("vllm")
    evaluate("alfworld", "walkthrough", split=SPLIT, out=path / "solutions")
    init_model(path / "tiny", size="800k", tokenizer_from=path / "solutions", vocabulary=600)
    return path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[VllmServer]:
    """A server with the model of seed 1."""
    made, first = VllmServer(server_options({})), tiny(folder / "tiny", 1)
    write_model(first, folder / "served")
    try:
        made.start(first, folder / "served", 1, folder / "server.log")
        yield made
    finally:
        made.close()


def requests(policy: LanguagePolicy) -> list[Request]:
    generator = np.random.default_rng(0)
    lengths = (5, 100, 700, 3000)
    rows = len(policy.tokenizer)
    return [Request(generator.integers(3, rows, length).astype(np.int32), seed=length) for length in lengths]


def largest_gap(server: VllmServer, policy: LanguagePolicy) -> float:
    """Between the server's log-probabilities and those of a plain forward pass."""
    asked = requests(policy)
    found = 0.0
    for request, answer in zip(asked, server.answer(asked, policy.rules()), strict=True):
        ids = torch.tensor([*request.ids.tolist(), *answer.tokens])
        with torch.no_grad():
            rows = torch.log_softmax(policy.weights.model(ids[None]).logits[0], -1)[len(request.ids) - 1 : -1]
        exact = rows[torch.arange(len(answer.tokens)), torch.tensor(answer.tokens)]
        found = max(found, float((exact - torch.tensor(answer.log_probs)).abs().max()))
    return found


def answers(run: Any) -> list[str]:
    """The answers of all steps, without half characters and ends, which each engine writes in its own way."""
    texts = [step.text or "" for episode in run.read_episodes() for step in episode.steps]
    return [text.replace("\ufffd", "").removesuffix("<|im_end|>") for text in texts]


def test_evaluation_through_it_follows_its_weights(folder: Path, server: VllmServer, tmp_path: Path) -> None:
    def play(policy: Any, out: str) -> list[str]:
        return answers(evaluate("alfworld", policy, split=SPLIT, out=tmp_path / out, env_options={"max_steps": 3}).run)

    def through_server(out: str) -> list[str]:
        options = {"base_url": f"{server.url}/v1", "thinking": False, "history": 0, "max_tokens": 8}
        options["extra"] = {"stop": ["</action>"], "include_stop_str_in_output": True, "skip_special_tokens": False}
        return play(make_policy("openai:policy", environment="alfworld", options=options), out)

    def here(seed: int, out: str) -> list[str]:
        return play(tiny(folder / "tiny", seed, history=0, temperature=0.0), out)

    old, new = here(1, "first"), here(2, "second")
    assert old != new and len(old) == len(new) == 4 * 3
    assert through_server("before") == old
    write_model(tiny(folder / "tiny", 2), folder / "served")
    server.load(folder / "served")
    assert through_server("after") == new


def test_log_probabilities_are_those_of_a_plain_forward_pass_before_and_after_an_update(
    folder: Path, server: VllmServer
) -> None:
    for seed in (1, 2, 3):
        policy = tiny(folder / "tiny", seed)
        write_model(policy, folder / "served")
        server.load(folder / "served")
        assert largest_gap(server, policy) < 1e-4
    assert largest_gap(server, tiny(folder / "tiny", 1)) > 0.1


def test_a_draw_depends_on_its_seed_alone(folder: Path, server: VllmServer) -> None:
    policy = tiny(folder / "tiny", 1)
    asked = requests(policy)
    together = [answer.tokens for answer in server.answer(asked * 8, policy.rules())]
    alone = [server.answer([request], policy.rules())[0].tokens for request in asked]
    assert together == alone * 8


def test_a_request_that_is_refused_is_told(server: VllmServer) -> None:
    with pytest.raises(UserError, match=r"refuses /v1/nothing.*HTTP 404"):
        server._exchange("/v1/nothing", {})
    with urllib.request.urlopen(f"{server.url}/version") as answer:
        assert json.loads(answer.read())["version"]


def config(folder: Path, **settings: Any) -> TrainConfig:
    small = {
        "env": "alfworld",
        "split": SPLIT,
        "env_options": {"max_steps": 3},
        "policy": f"hf:{folder / 'tiny'}",
        "policy_options": OPTIONS,
        "engine": "vllm",
        "group_size": 2,
        "tasks_per_step": 2,
        "steps": 3,
        "minibatches": 1,
        "entropy_coefficient": 0.5,
        "learning_rate": 0.01,
        "checkpoint_every": 1,
    }
    return TrainConfig(**{**small, **settings})


def check_metrics(run: Path) -> None:
    rows = read_lines(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["probe/gap"] < 1e-4 and row["sampler_gap"] < 1e-4 and row["correction/rejected_share"] == 0


def test_training_from_a_running_server_goes_on_after_an_interruption(
    folder: Path, server: VllmServer, tmp_path: Path
) -> None:
    settings = config(folder, engine_options={"base_url": server.url})
    train_until(2, settings, tmp_path)
    train(settings, tmp_path, resume=True)
    check_metrics(tmp_path)


@pytest.mark.ray
def test_training_on_a_cluster_starts_a_server_there_and_hands_it_adapters(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install -e '.[ray]'")
    import ray_nodes

    with ray_nodes.gpu_cluster() as (address, _):
        place = {"executor": f"ray:{address}", "workers": 1, "engine_options": {"python": find_python(None)}}
        train(config(folder, lora=4, **place), tmp_path)
    check_metrics(tmp_path)
    assert (tmp_path / "sampler" / "adapters" / "adapter_model.safetensors").is_file()
