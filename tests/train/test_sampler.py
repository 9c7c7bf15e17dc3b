"""Another engine plays: it gets the new weights after each update, and a probe stops the run where it did not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402
import toy_environment  # noqa: E402, F401  (registers the environment 'toy')
from killed_run import train_until  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from stub_vllm import stub_vllm  # noqa: E402

from agentbench import UserError  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.train.config import TrainConfig  # noqa: E402
from agentbench.train.run import train  # noqa: E402
from policies.language.decode import Rules  # noqa: E402
from policies.vllm.server import read_answer  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def save_model(folder: Path, **options: Any) -> Path:
    tiny.model(**options).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def config(model: Path, url: str, **settings: Any) -> TrainConfig:
    """Few short episodes whose rewards are all the same: it is the entropy bonus that moves the weights."""
    small = {
        "env": "toy",
        "split": "all",
        "env_options": {"tasks": 3, "max_steps": 2},
        "policy": f"hf:{model}",
        "policy_options": {"max_new_tokens": 6, **settings.pop("policy_options", {})},
        "engine": "vllm",
        "engine_options": {"base_url": url, "timeout": 20, **settings.pop("engine_options", {})},
        "group_size": 2,
        "tasks_per_step": 2,
        "steps": 3,
        "minibatches": 1,
        "entropy_coefficient": 0.5,
        "learning_rate": 0.02,
        "checkpoint_every": 1,
    }
    return TrainConfig(**{**small, **settings})


@pytest.mark.parametrize("settings", [{}, {"lora": 4}, {"overlap": True, "checkpoint_every": 10}])
def test_after_each_update_the_sampler_has_the_new_weights(
    tmp_path: Path, model: Path, settings: dict[str, Any]
) -> None:
    with stub_vllm(base=model) as server:
        train(config(model, server.url, **settings), tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert [row["staleness"] for row in rows] == ([0, 1, 1] if settings.get("overlap") else [0, 0, 0])
    update = "/v1/load_lora_adapter" if settings.get("lora") else "/collective_rpc"
    assert server.paths.count(update) == server.paths.count("/reset_prefix_cache")
    assert server.paths.count(update) == (2 if settings.get("overlap") else 3)
    for row in rows:
        assert row["probe/gap"] < 1e-5 and row["probe/tokens"] > 3
        assert (row["sampler_gap"] < 1e-5) == (row["staleness"] == 0)
        assert row["staleness"] > 0 or row["correction/rejected_share"] == 0


def test_a_tied_output_layer_is_handed_over_too(tmp_path: Path) -> None:
    tied = save_model(tmp_path / "tied", tie_word_embeddings=True)
    with stub_vllm() as server:
        train(config(tied, server.url), tmp_path / "run")
        assert not server.model.config.tie_word_embeddings
        assert torch.equal(server.model.lm_head.weight, server.model.get_input_embeddings().weight)
    assert all(row["probe/gap"] < 1e-5 for row in read_lines(tmp_path / "run" / "metrics.jsonl"))


@pytest.mark.parametrize("fault", ["stale_head", "stale_cache"])
def test_weights_that_were_not_taken_over_stop_the_run_with_the_figure(tmp_path: Path, model: Path, fault: str) -> None:
    said = r"do not have the same weights: on \d+ tokens of 3 probe prompts .* differ by (0\.\d+|\d\.?\d*) on average"
    with stub_vllm(**{fault: True}) as server, pytest.raises(UserError, match=said):
        train(config(model, server.url), tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1]  # before the first update there was nothing to take over
    assert (tmp_path / "checkpoints" / "step-000001").is_dir()


def test_the_bound_of_the_probe_is_a_setting(tmp_path: Path, model: Path) -> None:
    with stub_vllm(stale_head=True) as server:
        train(config(model, server.url, probe_bound=100.0, probe_prompts=2), tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert [row["probe/gap"] > 0.001 for row in rows] == [False, True, True]
    assert rows[2]["sampler_gap"] > 0.001


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, model: Path) -> None:
    with stub_vllm() as server:
        train(config(model, server.url), tmp_path / "whole")
        train_until(2, config(model, server.url), tmp_path / "cut")
    with stub_vllm() as server:  # another server, at another address
        train(config(model, server.url), tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "policy" / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    start = load_file(model / "model.safetensors")
    assert not torch.equal(whole["model.lm_head.weight"], start["lm_head.weight"])


def test_evaluations_are_played_with_the_weights_of_their_step(tmp_path: Path, model: Path) -> None:
    with stub_vllm() as server:
        train(config(model, server.url, eval_split="all", eval_every=1, eval_tasks=2), tmp_path)
        # One update before the first evaluation, one after each step; rollouts of the same weights need no further.
        assert server.paths.count("/collective_rpc") == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "scorer", "policy_options": {}}, "engine = 'vllm' is for language models"),
        ({"policy_options": {"constrained": True}}, "set constrained = false"),
        ({"engine_options": {"port": 1}}, "unknown engine option 'port'"),
        ({"engine_options": {"timeout": "soon"}}, "bad option: timeout must be a number"),
        ({"engine_options": {"arguments": 5}}, "bad option: arguments must be a list"),
        ({"engine_options": {"concurrency": 0}}, "concurrency must be above 0"),
        ({"engine_options": {"base_url": None, "python": "/no/python"}}, "there is no interpreter /no/python"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_played(
    tmp_path: Path, model: Path, settings: dict[str, Any], message: str
) -> None:
    made = config(model, "http://127.0.0.1:9")
    changed = {name: settings.get(name, {}) for name in ("policy_options", "engine_options")}
    own = {"policy_options": {}, "engine_options": {}} if settings.get("policy") == "scorer" else {}
    with stub_vllm() as server:
        options = {**made.engine_options, "base_url": server.url, **changed["engine_options"]}
        more = {"policy_options": {**made.policy_options, **changed["policy_options"]}, "engine_options": options}
        with pytest.raises(UserError, match=message):
            train(made.model_copy(update={**settings, **more, **own}), tmp_path)
        assert "/v1/completions" not in server.paths
    assert not (tmp_path / "metrics.jsonl").exists()


def test_an_interpreter_without_vllm_is_named(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("this interpreter has vLLM")
    with pytest.raises(UserError, match="finds no vLLM: 'make vllm' installs it"):
        train(config(model, "", engine_options={"base_url": None}), tmp_path / "run")


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path, model: Path) -> None:
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("this interpreter has vLLM")
    options = {"base_url": None, "python": sys.executable}
    with pytest.raises(UserError, match="no kernels for attention heads of 16 numbers"):
        train(config(model, "", engine_options=options), tmp_path / "narrow")
    model = save_model(tmp_path / "wide", head_dim=32)
    with pytest.raises(UserError, match=r"server did not start: .*(vllm|vLLM).* \(all of it: .*server\.log\)"):
        train(config(model, "", engine_options=options), tmp_path / "run")


def test_an_old_server_and_none_at_all_are_refused(tmp_path: Path, model: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("policies.vllm.server.ATTEMPTS", 1)
    with stub_vllm() as server:
        server.version = "0.11.2"
        with pytest.raises(UserError, match=r"vLLM 0\.11\.2 cannot be given new weights"):
            train(config(model, server.url), tmp_path / "old")
        server.version = "dev"  # vLLM's own word where it was built without a version
        with pytest.raises(UserError, match="vLLM says 'dev' in place of a version"):
            train(config(model, server.url), tmp_path / "dev")
    with pytest.raises(UserError, match=r"does not answer /version"):
        train(config(model, server.url), tmp_path / "gone")


def test_a_server_that_does_not_say_its_tokens_cannot_be_trained_from(tmp_path: Path, model: Path) -> None:
    with stub_vllm(says_tokens=False) as server, pytest.raises(UserError, match="does not return the sampled token"):
        train(config(model, server.url), tmp_path)


def test_an_answer_ends_as_the_policys_own_rules_say() -> None:
    rules = Rules(1.0, 5, frozenset([7]), lambda _: False)

    def read(tokens: list[int], reason: str) -> Any:
        choice = {"token_ids": tokens, "logprobs": {"token_logprobs": [-1.0] * len(tokens)}, "finish_reason": reason}
        return read_answer({"choices": [choice]}, rules, "here").finish

    assert [read([1, 7], "stop"), read([1, 2], "stop"), read([1, 2], "length")] == ["end", "stop", "length"]
    for broken in ({"choices": []}, {"choices": [{"token_ids": [1], "logprobs": {"token_logprobs": []}}]}, {}):
        with pytest.raises(UserError, match="here does not return"):
            read_answer(broken, rules, "here")
