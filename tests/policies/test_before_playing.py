"""What would spoil a run of a language model is said before anything is played or trained, with the figure."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402

from agentbench import evaluate  # noqa: E402
from agentbench.train.config import read_config  # noqa: E402
from agentbench.train.run import train  # noqa: E402
from envs.base.errors import UserError  # noqa: E402
from policies import make_policy  # noqa: E402
from policies.language import room  # noqa: E402


def saved(folder: Path, **more: Any) -> Path:
    made = tiny.model(**more)
    made.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_a_context_shorter_than_the_first_prompt_stops_evaluation_and_training_at_once(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", max_position_embeddings=300)
    settings = {"env": "alfworld", "split": "generated:0:2:small"}
    with pytest.raises(UserError, match=r"no episode can begin: .* are \d+ tokens long, 292 fit"):
        evaluate(policy=f"hf:{model}", policy_options={"max_tokens": 8}, out=tmp_path / "run", **settings)
    options = {"max_tokens": 8}
    config = {**settings, "policy": f"hf:{model}", "policy_options": options, "scheme": "grpo", "steps": 1}
    with pytest.raises(UserError, match=r"no episode can begin: .* 292 fit"):
        train(read_config(None, config), tmp_path / "trained")
    assert not (tmp_path / "run").exists() and not (tmp_path / "trained").exists()


def test_a_base_model_with_the_template_of_a_chat_model_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tiny.tokenizer().convert_tokens_to_ids("<|endoftext|>")
    folder = saved(tmp_path / "base", eos_token_id=base)
    tokenizer = tiny.tokenizer().__class__.from_pretrained(folder)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    with caplog.at_level(logging.WARNING, "agentbench"):
        make_policy(f"hf:{folder}", environment="alfworld", options={"max_tokens": 77})
    assert "ends an answer with <|im_end|>, and its model with <|endoftext|>" in caplog.text
    assert "max_tokens = 77" in caplog.text and "set stop to <|im_end|>" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "agentbench"):
        make_policy(f"hf:{folder}", environment="alfworld", options={"stop": ["<|im_end|>"]})
        make_policy(f"hf:{saved(tmp_path / 'chat')}", environment="alfworld")
    assert "ends an answer" not in caplog.text


def test_answers_that_are_all_cut_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    player = tiny.policy(max_tokens=2, stop=())
    with caplog.at_level(logging.WARNING, "agentbench"):
        for _ in range(3):
            player.with_temperature(1.0).act([tiny.prompt(seed=seed) for seed in range(5)])
    assert caplog.text.count("the first 10 answers were all cut at max_tokens = 2") == 1


def test_weights_in_more_digits_than_asked_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path / "model")
    with caplog.at_level(logging.WARNING, "agentbench"):
        make_policy(f"hf:{folder}", environment="alfworld")
        assert not caplog.text
        make_policy(f"hf:{folder}", environment="alfworld", options={"precision": "bfloat16"})
    assert "weights in float32, which are rounded to bfloat16" in caplog.text


def test_a_model_that_cannot_be_trained_in_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = saved(tmp_path / "model")
    size = sum(each.numel() * 4 for each in tiny.model().parameters())
    monkeypatch.setattr(room, "free_memory", lambda: 2 * size)
    config = {"policy": f"hf:{model}", "policy_options": {"max_tokens": 8}, "scheme": "grpo", "steps": 1}
    with pytest.raises(UserError, match=r"gradients and the optimiser .* take 1 MB, and 1 MB .*train adapters"):
        train(read_config(None, {**config, "split": "generated:0:2:small"}), tmp_path / "run")


def test_a_turn_that_ends_in_ordinary_text_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    from policies.language.endings import warn_of_endless_answers

    writer = SimpleNamespace(turn_end=None)
    warn_of_endless_answers("model", writer, SimpleNamespace(end_tokens=frozenset(), stop=()))  # type: ignore[arg-type]
    assert not caplog.text
