"""Keys and values of conversations, kept from one turn to the next.

The store only saves work: it is looked up by the exact token ids, and whatever it has forgotten is computed again.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache

Ids = npt.NDArray[np.int32]
Row = list[tuple[Tensor, Tensor]]
"""Keys and values of one sequence: for each layer two tensors of shape (heads, tokens, width)."""


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
    """The keys and values of token sequences; the least recently used ones go first.

    Args:
        limit: bytes that may be held.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._rows: OrderedDict[bytes, Row] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, ids: Ids, row: Row) -> None:
        """Remember the keys and values of ``ids`` (or of their beginning, if the row is shorter)."""
        key = ids.tobytes()
        self._forget(key)
        if (size := _bytes(row)) > self.limit:
            return
        self._rows[key] = row
        self.used += size
        while self.used > self.limit:
            self._forget(next(iter(self._rows)))

    def take(self, ids: Ids, ends: Sequence[int]) -> Row | None:
        """Return the keys and values of the longest known beginning of ``ids``.

        What is found at one of the ``ends`` is handed over and forgotten: the episode continues from it. Only the
        whole of ``ids`` is kept, for the other episodes that begin with it.

        Args:
            ids: the prompt.
            ends: where earlier answers ended within it, ascending.
        """
        whole = ids.tobytes()
        if whole in self._rows:
            self._rows.move_to_end(whole)
            return self._rows[whole]
        for end in reversed(ends):
            if (key := ids[:end].tobytes()) in self._rows:
                row = self._rows[key]
                self._forget(key)
                return row
        return None

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._rows.clear()
        self.used = 0

    def _forget(self, key: bytes) -> None:
        row = self._rows.pop(key, None)
        if row is not None:
            self.used -= _bytes(row)


def cache_argument(model: Any, cache: DynamicCache) -> dict[str, DynamicCache]:
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


def length(row: Row) -> int:
    """Return how many tokens a row covers."""
    return row[0][0].shape[1]


def stack(rows: Sequence[Row]) -> DynamicCache:
    """Make one batch of rows, filled up with zeros on the right to the longest one."""
    longest = max(length(row) for row in rows)
    cache = DynamicCache()
    for layer in range(len(rows[0])):
        pair = []
        for part in (0, 1):
            first = rows[0][layer][part]
            padded = first.new_zeros((len(rows), first.shape[0], longest, first.shape[2]))
            for index, row in enumerate(rows):
                padded[index, :, : length(row)] = row[layer][part]
            pair.append(padded)
        cache.update(pair[0], pair[1], layer)
    return cache


def unstack(cache: DynamicCache, index: int, columns: Tensor) -> Row:
    """Copy one row of a batch: the tokens at ``columns``, int64, shape (tokens,)."""
    layers: Sequence[Any] = cache.layers
    return [(layer.keys[index, :, columns], layer.values[index, :, columns]) for layer in layers]


def _bytes(row: Row) -> int:
    return sum(part.numel() * part.element_size() for pair in row for part in pair)


def weights_version(module: torch.nn.Module) -> tuple[int, ...]:
    """Return numbers that differ after any change of the weights in place or by replacement."""
    return tuple(number for each in module.parameters() for number in (each.data_ptr(), each._version))
