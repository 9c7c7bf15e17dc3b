"""Keys and values of conversations, kept from one turn to the next.

The store only saves work: it is looked up by the exact token ids, and whatever it has forgotten is computed again.
"""

from __future__ import annotations

import bisect
import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self.buffer.rows * self.buffer.row_bytes

    def put(self, ids: Ids, place: Place) -> None:
        """Remember where the keys and values of ``ids`` (or of their beginning, if they are fewer) lie."""
        key = ids.tobytes()
        before = self._kept.pop(key, None)
        if before is not None and before.row != place.row:
            self.give_back(before.row)
        self._kept[key] = place

    def take(self, ids: Ids, ends: Sequence[int]) -> tuple[Place, bool] | None:
        """Return where the longest known beginning of ``ids`` lies, and whether it stays for others.

        What is found at one of the ``ends`` is handed over and forgotten: the episode continues from it. Only the
        whole of ``ids`` stays, for the other episodes that begin with it.

        Args:
            ids: the prompt.
            ends: where earlier answers ended within it, ascending.
        """
        whole = ids.tobytes()
        if whole in self._kept:
            self._kept.move_to_end(whole)
            return self._kept[whole], True
        for end in reversed(ends):
            if (place := self._kept.pop(ids[:end].tobytes(), None)) is not None:
                return place, False
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
        bisect.insort(self._free, row)

    def trim(self) -> None:
        """Forget as much as the limit wants."""
        if self.used <= self.limit:
            return
        most = self.limit // self.buffer.row_bytes
        while len(self._kept) > most:
            self._kept.popitem(last=False)
        if not self._kept:
            self.clear()
            return
        order = sorted(place.row for place in self._kept.values())
        number = {row: index for index, row in enumerate(order)}
        self._kept = OrderedDict((key, Place(number[each.row], each.tokens)) for key, each in self._kept.items())
        self.buffer.keep(order)
        self._free = []

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._kept.clear()
        self._free = []
        self.buffer = KeyValues()

    def _forget(self, key: bytes) -> None:
        if (place := self._kept.pop(key, None)) is not None:
            self.give_back(place.row)


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
