"""One answer of a language model, as a step's ``details`` record it (:attr:`policies.contract.Response.details`).

All of it is optional, and other programs' records may hold anything there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one answer.

    Attributes:
        invalid: why it broke the rules of the prompt (no action, several, one that was not offered), or None.
        cut: whether it ran into the longest length.
        prompt_tokens, cached_tokens, answer_tokens: numbers of tokens; None where nobody counted.
        model: who answered, as the server calls it.
    """

    invalid: str | None = None
    cut: bool = False
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    answer_tokens: int | None = None
    model: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything was recorded."""
        return self != Answer()

    def marks(self) -> list[str]:
        """Return what a reader of the step wants to know of it, in words."""
        said = [f"broke the format: {self.invalid}"] if self.invalid else []
        said += ["cut at the longest answer"] if self.cut else []
        cached = f" ({self.cached_tokens} cached)" if self.cached_tokens else ""
        said += [f"{self.prompt_tokens} tokens of prompt{cached}"] if self.prompt_tokens is not None else []
        said += [f"{self.answer_tokens} of answer"] if self.answer_tokens is not None else []
        return said + ([self.model] if self.model else [])


def answer_of(details: Mapping[str, Any]) -> Answer:
    """Read a step's ``details``; a value of another kind than it should have counts as not recorded."""
    invalid, model = details.get("invalid"), details.get("model")
    finish = details.get("finish")
    tokens = details.get("answer_tokens")
    return Answer(
        invalid=invalid if isinstance(invalid, str) and invalid else None,
        cut=details.get("cut_answer") is True or finish == "length",
        prompt_tokens=_count(details.get("prompt_tokens")),
        cached_tokens=_count(details.get("cached_tokens")),
        answer_tokens=_count(details.get("tokens") if tokens is None else tokens),
        model=model if isinstance(model, str) and model else None,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
