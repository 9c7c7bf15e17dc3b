"""One forward pass with logits only where they are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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


def chosen_log_probs(logits: Tensor, chosen: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the log-probability of one token of each row, and the row's entropy; both with gradient.

    Beside the logits nothing of the size of the vocabulary is kept for the gradient: log-probabilities are computed
    some rows at a time, and again in the backward pass, where the entropy's part is left out if nobody asks for it.

    Args:
        logits: shape (rows, vocabulary).
        chosen: int64, shape (rows,).
        temperature: see :func:`tempered`.

    Returns:
        float32, shape (rows,) each: l_c, and H = -sum_k p_k l_k in nats.
    """
    found: tuple[Tensor, Tensor] = _Chosen.apply(logits, chosen, temperature)  # type: ignore[no-untyped-call]
    return found


class _Chosen(torch.autograd.Function):
    """Gradients: d l_c / d z_k = (1[k = c] - p_k) / T, and d H / d z_k = -p_k (l_k + H) / T."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, chosen: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(logits, chosen)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        log_probs, entropies = [], []
        for part, own in zip(_some_rows(logits), _some_rows(logits, chosen), strict=True):
            found = tempered(part, temperature)
            log_probs.append(found.gather(1, own[:, None])[:, 0])
            entropies.append(-(found.exp() * found).sum(-1))
        return torch.cat(log_probs), torch.cat(entropies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        of_chosen, of_entropy = gradients
        if of_chosen is None and of_entropy is None:
            return None, None, None
        logits, chosen = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        begin = 0
        for part in _some_rows(logits):
            rows = slice(begin, begin + len(part))
            begin += len(part)
            found = tempered(part, ctx.temperature)
            p = found.exp()
            change = torch.zeros_like(p)
            if of_entropy is not None:
                entropy = -(p * found).sum(-1, keepdim=True)
                change -= of_entropy[rows, None] * p * (found + entropy)
            if of_chosen is not None:
                own = of_chosen[rows, None]
                change.addcmul_(p, own, value=-1).scatter_add_(1, chosen[rows, None], own)
            gradient[rows] = change if ctx.temperature in (0, 1) else change / ctx.temperature
        return gradient, None, None


_ENTRIES = 4_000_000
"""Entries of a table of log-probabilities that is made at once: 16 MB."""


def _some_rows(logits: Tensor, table: Tensor | None = None) -> tuple[Tensor, ...]:
    """Cut a table (the logits themselves where none is given) into rows whose logits are not too many at once."""
    rows: tuple[Tensor, ...] = torch.split(logits if table is None else table, max(1, _ENTRIES // logits.shape[1]))
    return rows


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
