"""Keys and values of conversations, kept from one turn to the next.

The store only saves work: it is looked up by the exact token ids, and whatever it has forgotten is computed again.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from transformers.cache_utils import Cache

from policies.language.buffer import KeyValues

Ids = npt.NDArray[np.int32]


class Place(NamedTuple):
    """Where the keys and values of a sequence lie.

    Attributes:
        row: of the buffer.
        tokens: how many of the sequence's tokens it holds.
    """

    row: int
    tokens: int


class Found(NamedTuple):
    """What is known of a prompt.

    Attributes:
        place: where its keys and values lie.
        how: ``whole``: of the whole prompt, in a row that stays for others with the same one. ``end``: up to an earlier
            answer, at the end of a row that is handed over. ``beginning``: up to an earlier answer, or all of it, in a
            row that has gone on from there and has to be copied: the prompt is a branch of what stands in it.
    """

    place: Place
    how: Literal["whole", "end", "beginning"]


@dataclass(slots=True)
class Work:
    """How many tokens went through the model, and how many did not have to.

    Attributes:
        prefilled: tokens of prompts that were computed.
        reused: tokens of prompts that were found in the cache, or shared with an equal prompt.
        decoded: sampled tokens that were fed back.
    """

    prefilled: int = 0
    reused: int = 0
    decoded: int = 0

    @property
    def computed(self) -> int:
        """All tokens that went through the model."""
        return self.prefilled + self.decoded


class PrefixCache:
    """Where the keys and values of token sequences lie in one buffer; the least recently used ones go first.

    Args:
        limit: bytes that may be held between two calls.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.buffer = KeyValues()
        self._kept: OrderedDict[bytes, Place] = OrderedDict()
        self._beginnings: dict[bytes, Place] = {}  # of the same rows: what each was asked for and put for, turn by turn
        self._in_row: dict[int, list[bytes]] = {}  # the beginnings of each row, ascending
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self.buffer.rows * self.buffer.row_bytes

    def put(self, ids: Ids, place: Place) -> None:
        """Remember where the keys and values of ``ids`` (or of their beginning, if they are fewer) lie."""
        key = _key(ids)
        before = self._kept.pop(key, None)
        if before is not None and before.row != place.row:
            self.give_back(before.row)
        self._kept[key] = place
        self._begin(key, place)

    def mark(self, prompt: Ids, row: int) -> None:
        """Remember that the row in which ``prompt`` was answered begins with it, for branches; before ``put``."""
        self._begin(_key(prompt), Place(row, len(prompt)))

    def _begin(self, key: bytes, place: Place) -> None:
        before = self._beginnings.get(key)
        self._beginnings[key] = place
        if before is None or before.row != place.row:  # a first prompt that comes again is put again
            self._in_row.setdefault(place.row, []).append(key)

    def take(self, ids: Ids, ends: Sequence[int]) -> Found | None:
        """Return where the longest known beginning of ``ids`` lies.

        What is found at the end of its row is handed over and forgotten: the episode continues from it. The whole of
        ``ids`` stays, for the other episodes that begin with it, and so does a row that has gone on from there.

        Args:
            ids: the prompt.
            ends: where earlier answers ended within it, ascending.
        """
        for end in (len(ids), *reversed(ends)):
            key = _key(ids[:end])
            if key in self._kept and end == len(ids):
                self._kept.move_to_end(key)
                return Found(self._kept[key], "whole")
            if key in self._kept:
                return Found(self._kept.pop(key), "end")
            if (place := self._beginnings.get(key)) is not None:
                last = self._in_row[place.row][-1]
                if last in self._kept:
                    self._kept.move_to_end(last)
                return Found(place, "beginning")
        return None

    def rows(self, count: int, tokens: int, in_use: Collection[int] = ()) -> list[int]:
        """Return free rows of the buffer, with room for so many tokens in every row.

        Where the limit is reached the oldest are forgotten first, but none that are ``in_use``.
        """
        buffer = self.buffer
        # In steps, so that a conversation that grows does not make room anew at every turn.
        tokens = buffer.tokens if tokens <= buffer.tokens else max(tokens, buffer.tokens * 5 // 4)
        each = buffer.row_bytes * tokens // max(1, buffer.tokens)
        for key in list(self._kept):
            if len(self._free) >= count or (buffer.rows + count - len(self._free)) * each <= self.limit:
                break
            if self._kept[key].row not in in_use:
                self._forget(key)
        rows = buffer.rows
        if (lacking := count - len(self._free)) > 0:
            spare = rows // 2 if not each else min(rows // 2, self.limit // each - rows)
            rows += max(lacking, spare)
            self._free += range(buffer.rows, rows)
        buffer.reserve(rows, tokens)
        found, self._free = self._free[:count], self._free[count:]
        return found

    def give_back(self, row: int) -> None:
        """Let others have a row."""
        for key in self._in_row.pop(row, ()):
            if (place := self._beginnings.get(key)) is not None and place.row == row:
                del self._beginnings[key]
        bisect.insort(self._free, row)

    def trim(self) -> None:
        """Forget as much as the limit wants."""
        if self.used <= self.limit:
            return
        most = self.limit // self.buffer.row_bytes
        while len(self._kept) > most:
            self._forget(next(iter(self._kept)))
        if not self._kept:
            self.clear()
            return
        order = sorted(place.row for place in self._kept.values())
        number = {row: index for index, row in enumerate(order)}
        self._kept = OrderedDict((key, Place(number[each.row], each.tokens)) for key, each in self._kept.items())
        self._beginnings = {key: Place(number[each.row], each.tokens) for key, each in self._beginnings.items()}
        self._in_row = {number[row]: keys for row, keys in self._in_row.items()}
        self.buffer.keep(order)
        self._free = []

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._kept.clear()
        self._beginnings, self._in_row, self._free = {}, {}, []
        self.buffer.release()
        self.buffer = KeyValues()

    def __deepcopy__(self, memo: object) -> PrefixCache:
        """Return an empty one: what is kept is quickly computed again, and a graph on it cannot be copied."""
        return PrefixCache(self.limit)

    def _forget(self, key: bytes) -> None:
        if (place := self._kept.pop(key, None)) is not None:
            self.give_back(place.row)


def _key(ids: Ids) -> bytes:
    """Return what stands for a sequence of tokens; the tokens of every turn of long conversations would be much."""
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()


def cache_argument(model: Any, cache: Cache) -> dict[str, Cache]:
    """Return a cache as the argument of a model's forward pass; its name changed within transformers 5.

    Args:
        model: a causal language model, perhaps with adapters around it.
        cache: of the tokens that come first.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return {_cache_name(type(inner).forward): cache}


@functools.cache
def _cache_name(forward: Callable[..., Any]) -> str:
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


def weights_version(module: torch.nn.Module) -> tuple[int, ...]:
    """Return numbers that differ after any change of the weights in place or by replacement."""
    return tuple(number for each in module.parameters() for number in (each.data_ptr(), each._version))
