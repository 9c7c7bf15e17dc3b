"""Decoding a batch: our own loop, with keys and values kept between the turns of an episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from policies.language.blocks import BLOCK, Graphs, logits_behind, pick, run_block
from policies.language.buffer import attention_mask
from policies.language.cache import Ids, Place, PrefixCache, Work, cache_argument
from policies.language.constraint import Trie
from policies.language.forward import forbid, logits_at

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
def decode(
    model: nn.Module,
    requests: Sequence[Request],
    rules: Rules,
    cache: PrefixCache,
    work: Work,
    graphs: Graphs | None = None,
) -> list[Answer]:
    """Answer every request.

    The answers depend on neither the cache nor the batch, beyond the rounding of floating-point sums.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        requests: the prompts; equal ones are computed once.
        rules: how to sample.
        cache: keys and values of earlier turns; those of these answers are added.
        work: its counts are raised.
        graphs: whether steps on a GPU are captured and replayed; None: they are not.
    """
    try:
        answers = _answered(model, requests, rules, cache, work, Graphs(wanted=False) if graphs is None else graphs)
    except BaseException:
        cache.clear()  # it no longer knows which rows are in use
        raise
    cache.trim()
    return answers


def _answered(
    model: nn.Module, requests: Sequence[Request], rules: Rules, cache: PrefixCache, work: Work, graphs: Graphs
) -> list[Answer]:
    distinct: dict[bytes, int] = {}
    prompt_of = [distinct.setdefault(request.ids.tobytes(), len(distinct)) for request in requests]
    firsts = [requests[prompt_of.index(number)] for number in range(len(distinct))]
    prompt = max(len(request.ids) for request in firsts)
    longest = prompt + max(_most_tokens(request, rules) for request in requests)
    rows, stays, logits = _prefill(model, firsts, longest, cache, work)
    work.reused += sum(len(request.ids) for request in requests) - sum(len(request.ids) for request in firsts)
    own = _own_rows(prompt_of, rows, stays, prompt, cache)
    return _Loop(model, requests, own, rules, cache, work, graphs).run(logits, prompt_of)


def _most_tokens(request: Request, rules: Rules) -> int:
    return rules.max_new_tokens if request.trie is None else max(map(len, request.trie.answers))


def _own_rows(
    prompt_of: Sequence[int], rows: list[int], stays: list[bool], tokens: int, cache: PrefixCache
) -> list[int]:
    """Give every request a row of its own: the first one its prompt's, where that need not stay, the others copies."""
    taken = list(stays)
    own = [-1] * len(prompt_of)
    for index, number in enumerate(prompt_of):
        if not taken[number]:
            own[index], taken[number] = rows[number], True
    copied = [index for index, row in enumerate(own) if row < 0]
    made = cache.rows(len(copied), tokens, in_use=rows)
    cache.buffer.copy([rows[prompt_of[index]] for index in copied], made, tokens)
    for index, row in zip(copied, made, strict=True):
        own[index] = row
    return own


def _prefill(
    model: nn.Module, requests: Sequence[Request], longest: int, cache: PrefixCache, work: Work
) -> tuple[list[int], list[bool], Tensor]:
    """Compute what the cache does not have.

    Returns:
        each prompt's row, whether the row stays for others, and the logits behind the prompt.
    """
    known = [cache.take(request.ids, request.ends) for request in requests]
    # At least the last token has to be computed, for its logits.
    kept = [
        0 if found is None else min(found.place.tokens, len(each.ids) - 1)
        for found, each in zip(known, requests, strict=True)
    ]
    at = [None if found is None or found.how == "beginning" else found.place.row for found in known]
    in_use = {found.place.row for found in known if found is not None}
    fresh = iter(cache.rows(at.count(None), longest, in_use))
    rows = [next(fresh) if row is None else row for row in at]
    branches = [
        (found.place.row, row, tokens)
        for found, row, tokens in zip(known, rows, kept, strict=True)
        if found is not None and found.how == "beginning"
    ]
    if branches:
        sources, targets, tokens = zip(*branches, strict=True)
        cache.buffer.copy(sources, targets, max(tokens))
    stays = [
        not each.ends if found is None else found.how == "whole" for found, each in zip(known, requests, strict=True)
    ]
    order = sorted(range(len(requests)), key=lambda index: (len(requests[index].ids) - kept[index], rows[index]))
    logits: list[Tensor] = [torch.empty(0)] * len(requests)
    for part in _parts(order, [len(each.ids) for each in requests], kept):
        new = [requests[index].ids[kept[index] :] for index in part]
        at_end = _extend(model, cache, [rows[index] for index in part], [kept[index] for index in part], new)
        for index, last in zip(part, at_end, strict=True):
            logits[index] = last
        work.prefilled += sum(map(len, new))
        work.reused += sum(kept[index] for index in part)
    for request, row, stay in zip(requests, rows, stays, strict=True):
        if stay:
            cache.put(request.ids, Place(row, len(request.ids)))
    return rows, stays, torch.stack(logits)


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


def _extend(model: nn.Module, cache: PrefixCache, rows: list[int], kept: list[int], new: list[Ids]) -> Tensor:
    """Run new tokens behind those that are kept, filled up on the right; return the last logits of each row."""
    device = next(model.parameters()).device
    longest = max(map(len, new))
    numbers = np.zeros((len(new), longest + 2), np.int64)
    for index, each in enumerate(new):
        numbers[index, : len(each)] = each
        numbers[index, -2:] = kept[index], len(each)
    there = torch.from_numpy(numbers).to(device)  # in one copy
    ids, past, lengths = there[:, :longest], there[:, longest], there[:, longest + 1]
    columns = torch.arange(longest, device=device)
    # What fills up a row stands behind its end, where no token that counts looks: without a past no mask is needed,
    # and without a mask attention has its fastest kernels. Behind a long past it may reach beyond the last column:
    # then it goes into that, which no prompt takes, as an answer of a token or more has room behind each.
    most = cache.buffer.tokens
    positions = (past[:, None] + columns).clamp_max(most - 1)
    width = min(max(kept) + longest, most)
    mask = attention_mask(model, positions, width) if any(kept) else None
    with logits_at(model, columns == lengths[:, None] - 1):
        logits: Tensor = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **cache_argument(model, cache.buffer.at(rows, positions, width)),
        ).logits
    return logits


class _Loop:
    """One token a turn for every answer that is not finished."""

    def __init__(
        self,
        model: nn.Module,
        requests: Sequence[Request],
        rows: Sequence[int],
        rules: Rules,
        cache: PrefixCache,
        work: Work,
        graphs: Graphs,
    ) -> None:
        self.model, self.requests, self.rows, self.rules = model, requests, rows, rules
        self.cache, self.work, self.graphs = cache, work, graphs
        self.device = next(model.parameters()).device
        self.answers = [Answer() for _ in requests]
        self.generators = [np.random.default_rng(request.seed) for request in requests]
        self.fed = [0] * len(requests)
        self.constrained = any(request.trie is not None for request in requests)

    def run(self, logits: Tensor, prompt_of: Sequence[int]) -> list[Answer]:
        """Sample until every answer is finished.

        Args:
            logits: behind each distinct prompt.
            prompt_of: for each request the number of its prompt.
        """
        # By their rows, as those that lie together are read where they lie.
        batch = sorted(range(len(self.rows)), key=lambda index: self.rows[index])
        begin = np.array([(prompt_of[index], len(self.requests[index].ids)) for index in batch]).T
        prompts, lengths = torch.from_numpy(begin).to(self.device)
        logits, width, count, is_new = logits[prompts], int(begin[1].max()), 0, True
        tokens = torch.empty(0)
        while batch:
            draws, sampled = self._draws(batch, count), []
            if not count:
                tokens, found = self._sample(batch, logits, draws.pop(0))
                sampled, count = [found], 1
            is_on_gpu, is_fixed = self.device.type == "cuda", self._is_fixed()
            self.graphs.steps += len(draws) * is_on_gpu
            if is_fixed:
                further, tokens = self._block(batch, tokens, lengths + (count - 1), width + count - 1, draws)
                sampled, count, is_new = sampled + further, count + len(draws), True
            else:
                for draw in draws:
                    logits = self._step(batch, tokens, lengths + (count - 1), width + count, is_new)
                    tokens, found = self._sample(batch, logits, draw)
                    sampled, count, is_new = [*sampled, found], count + 1, False
            self._take(batch, torch.stack(sampled), count)
            places = [place for place, index in enumerate(batch) if self.answers[index].finish is None]
            # A row more costs a GPU next to nothing, and to read rows that do not lie together is to copy them.
            most = len(batch) - 1 if not is_on_gpu else 0 if is_fixed else len(batch) // 2
            if len(places) <= most:
                chosen, is_new = torch.tensor(places, dtype=torch.int64, device=self.device), True
                tokens, lengths, batch = tokens[chosen], lengths[chosen], [batch[place] for place in places]
        return self.answers

    def _is_fixed(self) -> bool:
        """Tell whether the next tokens are sampled by steps of a fixed shape (:mod:`policies.language.blocks`)."""
        return not self.constrained and self.graphs.apply_to(self.device)

    def _block(
        self, batch: list[int], tokens: Tensor, positions: Tensor, width: int, draws: list[Any]
    ) -> tuple[list[Tensor], Tensor]:
        """Sample a token for each draw by steps of a fixed shape; ``width`` columns are there before the first."""
        rows, temperature = [self.rows[index] for index in batch], self.rules.temperature
        buffer, width = self.cache.buffer, width + len(draws)
        return run_block(self.model, buffer, rows, tokens, positions, width, temperature, draws, self.graphs)

    def _step(self, batch: list[int], tokens: Tensor, positions: Tensor, width: int, is_new: bool) -> Tensor:
        """Feed the newest token of every answer; return the logits behind it.

        Args:
            batch: the answers.
            tokens: of each the newest, shape (answers,).
            positions: where it stands, shape (answers,).
            width: columns of the buffer that are looked at.
            is_new: whether the batch is another than in the step before.
        """
        where, buffer = positions[:, None], self.cache.buffer
        past = buffer.at([self.rows[index] for index in batch], where, width) if is_new else buffer.move(where, width)
        return logits_behind(self.model, past, tokens, positions, width)

    def _draws(self, batch: list[int], count: int) -> list[Any]:
        """Return the draws of the next tokens: of one, or of a block where the host need not look in between."""
        block = 1
        if (self.device.type == "cuda" or self._is_fixed()) and not self.constrained:
            block = min(BLOCK, self.rules.max_new_tokens - count)
        if self.rules.temperature == 0:
            return [None] * block
        draws = np.zeros((block, len(batch)))
        for place, index in enumerate(batch):
            if self.answers[index].finish is None:
                draws[:, place] = self.generators[index].random(block)
        exact = torch.from_numpy(draws) if self.device.type != "mps" else torch.from_numpy(draws).float()
        return list(exact.to(self.device))

    def _sample(self, batch: list[int], logits: Tensor, draw: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the next token of every answer; and it with its log-probability, shape (2, answers)."""
        if self.constrained:
            logits = forbid(logits, [self._allowed(index) for index in batch])
        tokens, log_probs = pick(logits, self.rules.temperature, draw)
        # A float32 holds every number of a token, up to 2**24 of them.
        return tokens, torch.stack((tokens.to(log_probs), log_probs))

    def _allowed(self, index: int) -> Sequence[int] | None:
        trie, answer = self.requests[index].trie, self.answers[index]
        return None if trie is None or answer.finish is not None else trie.allowed(answer.tokens)

    def _take(self, batch: list[int], sampled: Tensor, count: int) -> None:
        """Take in what was sampled, shape (tokens, 2, answers), after which ``count`` tokens stand in every answer."""
        going = [index for index in batch if self.answers[index].finish is None]
        for tokens, log_probs in sampled.tolist():  # in one copy, as each waits for the device
            for index, token, log_prob in zip(batch, tokens, log_probs, strict=True):
                if self.answers[index].finish is None:
                    self.answers[index].tokens.append(int(token))
                    self.answers[index].log_probs.append(log_prob)
                    self._check(index)
        for index in going:
            # The newest token has not been fed.
            self.work.decoded += min(count - 1, len(self.answers[index].tokens)) - self.fed[index]
            self.fed[index] = min(count - 1, len(self.answers[index].tokens))
            if self.answers[index].finish is not None:
                self._keep(index)

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

    def _keep(self, index: int) -> None:
        ids = np.concatenate([self.requests[index].ids, np.array(self.answers[index].tokens, np.int32)])
        self.cache.mark(self.requests[index].ids, self.rows[index])
        self.cache.put(ids, Place(self.rows[index], len(self.requests[index].ids) + self.fed[index]))


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
