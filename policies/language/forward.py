"""One forward pass with logits only where they are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

NEVER = -1e30
"""Logit of a token that must not come: its probability is exactly 0, and 0 times its logarithm is 0."""


@contextmanager
def logits_at(model: nn.Module, wanted: Tensor) -> Iterator[None]:
    """Within this block the output layer sees only the ``wanted`` positions.

    The model's logits then have shape (wanted positions, vocabulary), in the order of the batch. Whatever the model
    does with its logits afterwards (scaling, soft caps) still happens, so this works for every causal model.

    Args:
        model: a causal language model of transformers.
        wanted: bool, shape (rows, tokens).
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    hook = head.register_forward_pre_hook(lambda _, arguments: (arguments[0][wanted], *arguments[1:]))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def hidden_at(model: nn.Module, rows: Tensor, columns: Tensor) -> Iterator[list[Tensor]]:
    """Within this block every forward pass adds the hidden states at some positions, as the output layer gets them.

    It stands around :func:`logits_at`, which leaves the output layer only a part of them.

    Args:
        model: a causal language model of transformers.
        rows, columns: int64, shape (positions,).
    """
    seen: list[Tensor] = []
    head = model.get_output_embeddings()  # type: ignore[operator]
    hook = head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0][rows, columns]))
    try:
        yield seen
    finally:
        hook.remove()


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities, float32, at a temperature; 0 counts as 1 here."""
    logits = logits.float()
    return torch.log_softmax(logits if temperature in (0, 1) else logits / temperature, dim=-1)


def forbid(logits: Tensor, allowed: Sequence[Sequence[int] | None]) -> Tensor:
    """Return logits of which each row keeps only its allowed tokens (None: all).

    However many rows there are, the device is given one list of places, and the host waits for it once.
    """
    if all(tokens is None for tokens in allowed):
        return logits
    rows, vocabulary = logits.shape
    # One column more than there are tokens: it stands for all of a row.
    kept = logits.new_zeros(rows * (vocabulary + 1), dtype=torch.bool)
    places = [
        row * (vocabulary + 1) + token
        for row, tokens in enumerate(allowed)
        for token in ((vocabulary,) if tokens is None else tokens)
    ]
    kept.index_fill_(0, torch.tensor(places, device=logits.device), True)
    kept = kept.view(rows, vocabulary + 1)
    return logits.masked_fill(~(kept[:, :vocabulary] | kept[:, vocabulary:]), NEVER)
