"""What every language model records with an answer, whichever engine or server gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def answer_details(
    *,
    invalid: str | None,
    finish: str | None,
    prompt_tokens: int | None,
    answer_tokens: int | None,
    model: str | None,
    cached_tokens: int = 0,
    left_out: int = 0,
    messages: Sequence[dict[str, str]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return :attr:`policies.contract.Response.details` of a language model's answer; the keys are described there.

    Args:
        invalid, finish, prompt_tokens, answer_tokens, model, cached_tokens, left_out: the values of these keys.
        messages: what was sent, where it is to be kept; None leaves the key out.
        **more: further keys that only some answers have (``log_prob``, ``cost``); None leaves a key out.
    """
    details: dict[str, Any] = {
        "invalid": invalid,
        "cut_answer": finish == "length",
        "finish": finish,
        "prompt_tokens": prompt_tokens,
        "cached_tokens": cached_tokens,
        "answer_tokens": answer_tokens,
        "left_out": left_out,
        "model": model,
    }
    if messages is not None:
        more["messages"] = [dict(message) for message in messages]
    return details | {name: value for name, value in more.items() if value is not None}
