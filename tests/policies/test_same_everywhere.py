"""A language model in transformers, in vLLM and behind a server: the same options mean and record the same."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_server
import toy_environment  # noqa: F401  (registers the toy)

from policies import make_policy

tiny: Any = pytest.importorskip("tiny_language", reason="needs transformers")

STAND_IN = Path(__file__).parents[1] / "support" / "stand_in_vllm"
KEYS = {
    *("invalid", "cut_answer", "finish", "prompt_tokens", "cached_tokens", "answer_tokens", "left_out", "model"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk."""
    path = tmp_path_factory.mktemp("tiny") / "tiny-model"
    tiny.model().save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in where vLLM should be."""
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM itself is here")
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    yield
    for name in [each for each in sys.modules if each.partition(".")[0] == "vllm"]:
        del sys.modules[name]


def three(folder: Path, url: str, **options: Any) -> list[Any]:
    """The same model's three ways of being reached, with the same options."""
    given: list[tuple[str, dict[str, Any]]] = [(f"hf:{folder}", {"max_new_tokens": 6})]
    given += [(f"vllm:{folder}", {"max_tokens": 6}), ("openai:stub", {"base_url": url})]
    return [make_policy(spec, environment="alfworld", options={**more, **options}) for spec, more in given]


def test_answers_record_the_same_keys(folder: Path, vllm: None) -> None:
    def cut(body: dict[str, Any], number: int) -> Any:
        answer = stub_server.chat("<think>on and on")
        answer["choices"][0]["finish_reason"] = "length"
        return answer

    with stub_server.serving(cut) as server:
        for player in three(folder, server.url):
            (answer,) = player.act([tiny.prompt()])
            details = answer.details
            assert KEYS <= set(details) <= {*KEYS, "log_prob"}, player.name
            json.dumps(details)
            assert details["cut_answer"] is True and details["finish"] == "length", player.name
            assert isinstance(details["invalid"], str) and answer.action == "", player.name
            assert details["prompt_tokens"] > 0 and details["answer_tokens"] > 0 and details["left_out"] == 0
            assert details["model"] == {"openai:stub": "stub"}.get(player.name, details["model"])
            assert details["model"].endswith(("tiny-model", "stub"))
