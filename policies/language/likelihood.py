"""Judging sampled answers: log-probabilities and entropies of exactly the sampled tokens, with gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from policies.contract import Likelihood
from policies.language.forward import chosen_log_probs, forbid, hidden_at, logits_at
from policies.language.sequences import Sampled, TokenSequence, batches


def score_tokens(
    model: nn.Module,
    traces: Sequence[Sampled],
    temperature: float,
    sequences: Sequence[TokenSequence],
    padded_tokens: int,
    critic: nn.Module | None = None,
) -> Likelihood:
    """Return the likelihood of sampled answers under the model's weights.

    Args:
        model: a causal language model of transformers.
        traces: the answers.
        temperature: that they were sampled at.
        sequences: the same answers as sequences (:func:`~policies.language.sequences.lay_out`).
        padded_tokens: most tokens, padding included, of one forward pass.
        critic: makes values of the hidden states before the answers.
    """
    width = max(trace.tokens for trace in traces)
    places: list[Tensor] = []
    log_probs: list[Tensor] = []
    entropies: list[Tensor] = []
    values: list[Tensor] = []
    steps: list[int] = []
    for batch in batches(sequences, padded_tokens):
        if critic is None:
            found, entropy, place = _pass(model, batch, traces, temperature, width)
        else:
            begins = [(row, step) for row, each in enumerate(batch) for step in each.steps]
            rows, columns = ([row for row, _ in begins], [len(traces[step].prompt) - 1 for _, step in begins])
            with hidden_at(model, *_on_device(model, rows, columns)) as seen:
                found, entropy, place = _pass(model, batch, traces, temperature, width)
            values += [critic(hidden) for hidden in seen]
            steps += [step for _, step in begins]
        log_probs.append(found)
        entropies.append(entropy)
        places.append(place)
    counts = torch.tensor([trace.tokens for trace in traces], device=log_probs[0].device)
    mask = torch.arange(width, device=counts.device) < counts[:, None]
    order = torch.cat(places)

    def table(flat: list[Tensor]) -> Tensor:
        joined = torch.cat(flat)
        return joined.new_zeros(len(traces) * width).index_copy(0, order, joined).view(len(traces), width)

    if critic is None:
        return Likelihood(table(log_probs), table(entropies), mask)
    joined = torch.cat(values)
    (own,) = _on_device(model, steps)
    return Likelihood(table(log_probs), table(entropies), mask, torch.zeros_like(joined).index_copy(0, own, joined))


def _on_device(model: nn.Module, *numbers: list[int]) -> list[Tensor]:
    device = next(model.parameters()).device
    return [torch.tensor(each, device=device) for each in numbers]


def _pass(
    model: nn.Module, batch: Sequence[TokenSequence], traces: Sequence[Sampled], temperature: float, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one batch; return log-probability, entropy and place (step * width + token) of each sampled token."""
    device = next(model.parameters()).device
    longest = max(len(each.ids) for each in batch)
    ids = np.zeros((len(batch), longest), np.int64)
    wanted = np.zeros((len(batch), longest), np.bool_)
    places: list[int] = []
    allowed: list[list[int] | None] = []
    for row, sequence in enumerate(batch):
        ids[row, : len(sequence.ids)] = sequence.ids
        for step in sequence.steps:
            trace = traces[step]
            begin = len(trace.prompt)
            # The logits that predict a token stand one position before it.
            wanted[row, begin - 1 : begin - 1 + trace.tokens] = True
            places += range(step * width, step * width + trace.tokens)
            allowed += _allowed(trace)
    tokens = torch.tensor([token for each in batch for step in each.steps for token in traces[step].answer.tolist()])
    # What fills up a row stands behind its end, where no token that counts looks: no mask is needed, and without one
    # attention has its fastest kernels.
    with logits_at(model, torch.from_numpy(wanted).to(device)):
        out = model(input_ids=torch.from_numpy(ids).to(device), use_cache=False)
    logits = forbid(out.logits, allowed)
    chosen, entropy = chosen_log_probs(logits, tokens.to(device), temperature)
    return chosen, entropy, torch.tensor(places, device=device)


def _allowed(trace: Sampled) -> list[list[int] | None]:
    if trace.trie is None:
        return [None] * trace.tokens
    answer = trace.answer.tolist()
    return [trace.trie.allowed(answer[:place]) for place in range(len(answer))]
