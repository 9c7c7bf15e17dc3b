"""vLLM in this process answers as a plain forward pass says, also after new weights, and its prompts only grow.

Needs vLLM in the interpreter that runs it: ``make vllm``, then ``make test-vllm``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.base.errors import UserError
from policies import make_policy
from policies.contract import Turn

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
TINY = {"head_dim": 64}  # vLLM's kernels know no narrower heads
OPTIONS = {"max_tokens": 12, "thinking": False, "precision": "float32", "llm_arguments": {"enforce_eager": True}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    pytest.importorskip("vllm", reason="needs vllm")
    os.environ.update(VLLM_ENABLE_V1_MULTIPROCESSING="0", VLLM_CPU_KVCACHE_SPACE="1")
    import tiny_language

    path: Path = tmp_path_factory.mktemp("tiny")
    tiny_language.model(**TINY).save_pretrained(path)
    tiny_language.tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Any:
    return make_policy(f"vllm:{folder}", environment="alfworld", options={**OPTIONS, "temperature": 1.0})


def test_sampled_tokens_have_the_log_probabilities_of_a_plain_forward_pass(engine: Any) -> None:
    import tiny_language
    import torch

    model = tiny_language.model(**TINY)
    history: list[Turn] = []
    before = np.zeros(0, np.int32)
    for _ in range(3):
        prompts = [tiny_language.prompt(history, seed=seed) for seed in (1, 2)]
        first, second = engine.act(prompts)
        assert engine.act(prompts[:1])[0].trace.answer.tolist() == first.trace.answer.tolist()
        for response in (first, second):
            trace = response.trace
            with torch.no_grad():
                logits = model(torch.from_numpy(trace.ids.astype(np.int64))[None]).logits[0]
            rows = torch.log_softmax(logits, -1)[len(trace.prompt) - 1 : -1]
            exact = rows[np.arange(trace.tokens), trace.answer.astype(np.int64)]
            assert np.abs(exact.numpy() - trace.log_probs).max() < 1e-4
        assert first.trace.prompt[: len(before)].tolist() == before.tolist()
        before = first.trace.ids
        shown = prompts[0]
        history.append(Turn(shown.observation, first.action, first.text, tiny_language.ACTIONS, first.trace))


def test_greedy_decoding_is_that_of_the_engine_of_transformers(engine: Any, monkeypatch: Any) -> None:
    import dataclasses

    import tiny_language

    monkeypatch.setattr(engine, "options", dataclasses.replace(engine.options, temperature=0.0))
    ours = tiny_language.policy(tiny_language.model(**TINY), temperature=0.0)
    (theirs,), (mine,) = engine.act([tiny_language.prompt()]), ours.act([tiny_language.prompt()])
    assert theirs.trace.prompt.tolist() == mine.trace.prompt.tolist()
    assert theirs.trace.answer.tolist() == mine.trace.answer.tolist()


@pytest.mark.parametrize("tied", [False, True])
def test_new_weights_are_answered_with_at_once(engine: Any, tmp_path: Path, monkeypatch: Any, tied: bool) -> None:
    import dataclasses

    import tiny_language

    from policies.vllm.weights import write_model

    monkeypatch.setattr(engine, "options", dataclasses.replace(engine.options, temperature=0.0))
    before = engine.act([tiny_language.prompt()])[0].trace.answer.tolist()
    model = tiny_language.model(seed=1 + tied, tie_word_embeddings=tied, **TINY)
    ours = tiny_language.policy(model, temperature=0.0)
    write_model(ours, tmp_path / "new")
    engine.update_weights(tmp_path / "new")
    (theirs,), (mine,) = engine.act([tiny_language.prompt()]), ours.act([tiny_language.prompt()])
    assert theirs.trace.answer.tolist() == mine.trace.answer.tolist() != before
    assert np.abs(theirs.trace.log_probs - mine.trace.log_probs).max() < 1e-4


def test_a_folder_without_a_model_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vLLM cannot load"):
        make_policy(f"vllm:{tmp_path}", environment="alfworld", options=OPTIONS)
