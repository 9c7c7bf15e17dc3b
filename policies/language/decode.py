"""Decoding a batch: our own loop, with keys and values kept between the turns of an episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from policies.language.cache import Ids, PrefixCache, Row, Work, cache_argument, length, stack, unstack
from policies.language.constraint import Trie
from policies.language.forward import forbid, logits_at, tempered

PREFILL_TOKENS = 32_768
"""Most tokens, padding included, of one forward pass over prompts."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to answer.

    Attributes:
        ids: the prompt, at least one token.
        ends: where earlier answers ended in it; only there is it looked up in the cache.
        seed: of the draws.
        trie: the answers that may be given, or None for any.
    """

    ids: Ids
    ends: tuple[int, ...] = ()
    seed: int = 0
    trie: Trie | None = None


@dataclass(slots=True)
class Answer:
    """What was sampled.

    Attributes:
        tokens: the ids.
        log_probs: of each, under the temperature and the constraint.
        finish: ``stop`` (a stop string), ``end`` (the end token, or the only answer left) or ``length``.
    """

    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    finish: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How to sample.

    Attributes:
        temperature: 0 takes the likeliest token; log-probabilities are then those of temperature 1.
        max_new_tokens: longest answer.
        end_tokens: ids that end an answer (and belong to it).
        is_stopped: says from the ids sampled so far whether a stop string is complete.
        stop: these strings, for engines that look themselves.
    """

    temperature: float
    max_new_tokens: int
    end_tokens: frozenset[int]
    is_stopped: Callable[[Sequence[int]], bool]
    stop: tuple[str, ...] = ()


@torch.no_grad()
def decode(model: nn.Module, requests: Sequence[Request], rules: Rules, cache: PrefixCache, work: Work) -> list[Answer]:
    """Answer every request.

    The answers depend on neither the cache nor the batch, beyond the rounding of floating-point sums.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        requests: the prompts; equal ones are computed once.
        rules: how to sample.
        cache: keys and values of earlier turns; those of these answers are added.
        work: its counts are raised.
    """
    distinct: dict[bytes, int] = {}
    place = [distinct.setdefault(request.ids.tobytes(), len(distinct)) for request in requests]
    firsts = [requests[place.index(number)] for number in range(len(distinct))]
    rows, logits = _prefill(model, firsts, cache, work)
    work.reused += sum(len(request.ids) for request in requests) - sum(len(request.ids) for request in firsts)
    for request, row in zip(firsts, rows, strict=True):
        if not request.ends:
            cache.put(request.ids, row)
    return _Loop(model, requests, rules, cache, work).run([rows[each] for each in place], logits[place])


def _prefill(model: nn.Module, requests: Sequence[Request], cache: PrefixCache, work: Work) -> tuple[list[Row], Tensor]:
    """Compute what the cache does not have; return each prompt's keys and values and the logits behind it."""
    known = [cache.take(request.ids, request.ends) for request in requests]
    # At least the last token has to be computed, for its logits.
    kept = [
        0 if row is None else min(length(row), len(each.ids) - 1) for row, each in zip(known, requests, strict=True)
    ]
    order = sorted(range(len(requests)), key=lambda index: (len(requests[index].ids) - kept[index], index))
    rows: list[Row] = [[] for _ in requests]
    logits: list[Tensor] = [torch.empty(0)] * len(requests)
    for part in _parts(order, [len(each.ids) for each in requests], kept):
        new = [requests[index].ids[kept[index] :] for index in part]
        old = [_cut(known[index], kept[index]) for index in part]
        found, at_end = _extend(model, old, new)
        for index, row, last in zip(part, found, at_end, strict=True):
            rows[index], logits[index] = row, last
        work.prefilled += sum(map(len, new))
        work.reused += sum(kept[index] for index in part)
    return rows, torch.stack(logits)


def _parts(order: Sequence[int], lengths: Sequence[int], kept: Sequence[int]) -> list[list[int]]:
    """Cut prompts, shortest new part first, into batches of similar length."""
    parts: list[list[int]] = []
    for index in order:
        new = lengths[index] - kept[index]
        if parts:
            least = lengths[parts[-1][0]] - kept[parts[-1][0]]
            if new <= 2 * least + 16 and (len(parts[-1]) + 1) * new <= PREFILL_TOKENS:
                parts[-1].append(index)
                continue
        parts.append([index])
    return parts


def _cut(row: Row | None, tokens: int) -> Row | None:
    return None if row is None or tokens == 0 else [(keys[:, :tokens], values[:, :tokens]) for keys, values in row]


def _extend(model: nn.Module, old: list[Row | None], new: list[Ids]) -> tuple[list[Row], Tensor]:
    """Run new tokens behind old ones, both filled up on the right; return all keys and values, and the last logits."""
    device = next(model.parameters()).device
    kept = torch.tensor([0 if row is None else length(row) for row in old], device=device)
    past, width = _stack_some(old), int(kept.max())
    longest = max(map(len, new))
    ids = np.zeros((len(new), longest), np.int64)
    for index, each in enumerate(new):
        ids[index, : len(each)] = each
    lengths = torch.tensor([len(each) for each in new], device=device)
    columns = torch.arange(width + longest, device=device)
    mask = torch.where(columns < width, columns < kept[:, None], columns - width < lengths[:, None])
    last = torch.arange(longest, device=device) == lengths[:, None] - 1
    with logits_at(model, last):
        logits: Tensor = model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=mask.long(),
            position_ids=kept[:, None] + torch.arange(longest, device=device),
            use_cache=True,
            **cache_argument(model, past),
        ).logits
    return [unstack(past, index, mask[index].nonzero()[:, 0]) for index in range(len(new))], logits


def _stack_some(rows: list[Row | None]) -> DynamicCache:
    some = next((row for row in rows if row is not None), None)
    if some is None:
        return DynamicCache()
    nothing = [(keys[:, :0], values[:, :0]) for keys, values in some]
    return stack([nothing if row is None else row for row in rows])


class _Loop:
    """One token a turn for every answer that is not finished."""

    def __init__(
        self, model: nn.Module, requests: Sequence[Request], rules: Rules, cache: PrefixCache, work: Work
    ) -> None:
        self.model, self.requests, self.rules, self.cache, self.work = model, requests, rules, cache, work
        self.device = next(model.parameters()).device
        self.answers = [Answer() for _ in requests]
        self.generators = [np.random.default_rng(request.seed) for request in requests]

    def run(self, rows: list[Row], logits: Tensor) -> list[Answer]:
        """Sample until every answer is finished."""
        active = list(range(len(self.requests)))
        self._sample(active, logits)
        fed = 0
        lengths = torch.tensor([len(request.ids) for request in self.requests], device=self.device)
        for index in self._finished(active):
            self._keep(index, rows[index])
        active = [index for index in active if self.answers[index].finish is None]
        if not active:
            return self.answers
        past = stack([rows[index] for index in active])
        rows.clear()
        width, lengths = int(lengths[active].max()), lengths[active]
        while active:
            logits = self._step(active, past, width, lengths, fed)
            fed += 1
            self._sample(active, logits)
            if finished := self._finished(active):
                columns = torch.arange(width + fed, device=self.device)
                for place, index in enumerate(active):
                    if index in finished:
                        chosen = columns[(columns < lengths[place]) | (columns >= width)]
                        self._keep(index, unstack(past, place, chosen))
                places = [place for place, index in enumerate(active) if index not in finished]
                active = [active[place] for place in places]
                lengths = lengths[places]
                if active:
                    past.batch_select_indices(torch.tensor(places, device=self.device))
        return self.answers

    def _step(self, active: list[int], past: DynamicCache, width: int, lengths: Tensor, fed: int) -> Tensor:
        """Feed the newest token of every active answer; return the logits behind it."""
        tokens = torch.tensor([[self.answers[index].tokens[fed]] for index in active], device=self.device)
        columns = torch.arange(width + fed + 1, device=self.device)
        mask = (columns < lengths[:, None]) | (columns >= width)
        out = self.model(
            input_ids=tokens,
            attention_mask=mask.long(),
            position_ids=(lengths + fed)[:, None],
            use_cache=True,
            **cache_argument(self.model, past),
        )
        self.work.decoded += len(active)
        logits: Tensor = out.logits[:, -1]
        return logits

    def _sample(self, active: list[int], logits: Tensor) -> None:
        tries = [self.requests[index].trie for index in active]
        allowed = [
            None if trie is None else trie.allowed(self.answers[index].tokens)
            for index, trie in zip(active, tries, strict=True)
        ]
        log_probs = tempered(forbid(logits, allowed), self.rules.temperature)
        if self.rules.temperature == 0:
            chosen = log_probs.argmax(-1)
        else:
            draws = [self.generators[index].random() for index in active]
            chosen = _draw(log_probs, torch.tensor(draws, dtype=torch.float64))
        found = log_probs.gather(1, chosen[:, None])[:, 0]
        # In one copy, as each waits for the device. A float32 holds every number of a token, up to 2**24 of them.
        tokens, found_log_probs = torch.stack((chosen.to(found), found)).tolist()
        for index, token, log_prob in zip(active, tokens, found_log_probs, strict=True):
            self.answers[index].tokens.append(int(token))
            self.answers[index].log_probs.append(log_prob)
            self._check(index)

    def _check(self, index: int) -> None:
        """Finish an answer that is complete, or of which only one continuation is left."""
        answer, trie = self.answers[index], self.requests[index].trie
        if trie is not None:
            rest = trie.rest(answer.tokens)
            if rest is not None:
                # What has to come needs no forward pass: the next turn's prompt takes it in.
                answer.tokens += rest
                answer.log_probs += [0.0] * len(rest)
                answer.finish = "end"
        elif answer.tokens[-1] in self.rules.end_tokens:
            answer.finish = "end"
        elif self.rules.is_stopped(answer.tokens):
            answer.finish = "stop"
        elif len(answer.tokens) >= self.rules.max_new_tokens:
            answer.finish = "length"

    def _finished(self, active: list[int]) -> set[int]:
        return {index for index in active if self.answers[index].finish is not None}

    def _keep(self, index: int, row: Row) -> None:
        ids = np.concatenate([self.requests[index].ids, np.array(self.answers[index].tokens, np.int32)])
        self.cache.put(ids, row)


def _draw(log_probs: Tensor, draws: Tensor) -> Tensor:
    """Draw a token a row by inverting the cumulated probabilities, in float64 where the device has it."""
    exact = log_probs.double() if log_probs.device.type != "mps" else log_probs
    cumulated = exact.exp().cumsum(-1)
    target = draws.to(cumulated)[:, None] * cumulated[:, -1:]
    index = torch.searchsorted(cumulated, target, right=True)[:, 0].clamp_max(log_probs.shape[1] - 1)
    # Rounding can only lead behind the last token that has a probability at all.
    possible = log_probs.gather(1, index[:, None])[:, 0] > -1e29
    return torch.where(possible, index, log_probs.argmax(-1))


def stop_check(tokenizer: Any, stops: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Return a function that says from sampled ids whether a stop string is complete.

    Only the last ids are decoded: each is at least one byte, so a stop string spans at most as many as it has bytes.
    """
    reach = max((len(stop.encode()) for stop in stops), default=0) + 1

    def is_stopped(tokens: Sequence[int]) -> bool:
        if not stops:
            return False
        tail = tokenizer.decode(list(tokens[-reach:]), skip_special_tokens=False)
        return any(stop in tail for stop in stops)

    return is_stopped
