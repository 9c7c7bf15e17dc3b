"""Stands in for vLLM where that is not installed: the part of its face that ``policies/vllm/engine.py`` uses.

A model of transformers is behind it. To have it fail, put a file into the model's folder: ``raise`` makes the next
batch fail, ``die`` ends the process instead, ``hang`` keeps it waiting; each happens once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

__version__ = "0.0"


class SamplingParams:
    """What it was given, as attributes."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


class LLM:
    """Greedy decoding, one prompt after the other."""

    def __init__(self, model: str, **arguments: Any) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._folder = Path(model)
        self._model = AutoModelForCausalLM.from_pretrained(model).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self.model_config = SimpleNamespace(max_model_len=self._model.config.max_position_embeddings)

    def get_tokenizer(self) -> Any:
        return self._tokenizer

    def generate(self, prompts: list[dict[str, Any]], sampling: list[SamplingParams], use_tqdm: bool) -> list[Any]:
        for fault in ("raise", "die", "hang"):
            if (self._folder / fault).exists():
                (self._folder / fault).unlink()
                if fault == "die":
                    os._exit(1)
                if fault == "hang":
                    time.sleep(600)
                raise RuntimeError("the stand-in is broken")
        return [self._answer(prompt["prompt_token_ids"], each) for prompt, each in zip(prompts, sampling, strict=True)]

    def _answer(self, prompt: list[int], sampling: Any) -> Any:
        from policies.language.cache import PrefixCache, Work
        from policies.language.decode import Request, Rules, decode, stop_check

        rules = Rules(
            temperature=0.0,
            max_new_tokens=sampling.max_tokens,
            end_tokens=frozenset({self._tokenizer.eos_token_id}),
            is_stopped=stop_check(self._tokenizer, sampling.stop),
        )
        request = Request(np.array(prompt, np.int32))
        (answer,) = decode(self._model, [request], rules, PrefixCache(2**20), Work())
        tokens = [int(token) for token in answer.tokens]
        chances = [
            {token: SimpleNamespace(logprob=chance)} for token, chance in zip(tokens, answer.log_probs, strict=True)
        ]
        finish = "length" if answer.finish == "length" else "stop"
        text = self._tokenizer.decode(tokens)
        matched = next((stop for stop in sampling.stop if stop in text), None) if answer.finish == "stop" else None
        found = SimpleNamespace(
            token_ids=tokens, logprobs=chances, text=text, finish_reason=finish, stop_reason=matched
        )
        return SimpleNamespace(outputs=[found])
