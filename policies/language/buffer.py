"""Keys and values of many sequences in one buffer: written where a token stands, read where they lie.

Each sequence has a row, and its tokens the columns from 0 on, so nothing is moved when a conversation goes on, or when
others in the batch are longer. What lies behind a sequence's end is never looked at, and is overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"


class RowIndex(NamedTuple):
    """Some rows of a buffer, as they are read and as they are written."""

    read: slice | Tensor
    write: Tensor


class KeyValues:
    """The buffer of a model; its layers are made in the first forward pass.

    Attributes:
        rows: sequences that there is room for.
        tokens: tokens that there is room for, in each.
        prepared: what somebody has made for the addresses at which it lies; None again when it lies elsewhere.
    """

    def __init__(self) -> None:
        self.rows, self.tokens = 0, 0
        self.prepared: Any = None
        self._cache = Cache(layer_class_to_replicate=lambda: _Layer(self))  # type: ignore[arg-type]
        self._place = RowIndex(slice(0), torch.empty(0))
        self._positions = torch.empty(0)
        self._width = 0

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; 0 before the first forward pass."""
        parts = [part for layer in self._layers for part in (layer.keys, layer.values)]
        return sum(part[0].numel() * part.element_size() for part in parts) if self.rows else 0

    def reserve(self, rows: int, tokens: int) -> None:
        """Make room for so many rows of so many tokens at least; what is there stays."""
        if rows <= self.rows and tokens <= self.tokens:
            return
        was, self.prepared = self.rows, None
        self.rows, self.tokens = max(rows, self.rows), max(tokens, self.tokens)
        for layer in self._layers:
            layer.remake(list(range(was)))

    def keep(self, rows: Sequence[int]) -> None:
        """Give up all rows but these, which become the rows 0, 1, …"""
        self.rows, self.prepared = len(rows), None
        for layer in self._layers:
            layer.remake(list(rows))

    def copy(self, source: Sequence[int], target: Sequence[int], tokens: int) -> None:
        """Copy the first ``tokens`` tokens of each source row to the target row beside it."""
        if not source or not self._layers:
            return
        device = self._layers[0].keys.device
        where, to = (_chosen(each, device) for each in (source, target))
        for layer in self._layers:
            for part in (layer.keys, layer.values):
                part[to, :, :tokens] = part[where, :, :tokens]

    def at(self, rows: Sequence[int], positions: Tensor, width: int) -> Cache:
        """Return the buffer as the cache of one forward pass.

        Args:
            rows: of the sequences in the batch.
            positions: where its tokens stand, int64, shape (sequences, tokens).
            width: tokens of each row that may be looked at.
        """
        return self.move(positions, width, self.place(rows, positions.device))

    def move(self, positions: Tensor, width: int, place: RowIndex | None = None) -> Cache:
        """Return the cache of a further pass over the rows of the last one, or over those of a ``place``."""
        self._place = self._place if place is None else place
        self._positions, self._width = positions, width
        return self._cache

    def place(self, rows: Sequence[int], device: torch.device) -> RowIndex:
        """Return an index of rows, for passes that come again."""
        chosen = _chosen(rows, device)
        numbers = torch.arange(chosen.start, chosen.stop, device=device) if isinstance(chosen, slice) else chosen
        return RowIndex(chosen, numbers[:, None])

    def release(self) -> None:
        """Give the memory back now: what refers to each other in a circle is only found by and by."""
        self.rows, self.tokens, self.prepared = 0, 0, None
        self._cache.layers.clear()

    @property
    def _layers(self) -> list[Any]:
        return list(self._cache.layers)

    def write(self, part: Tensor, new: Tensor) -> Tensor:
        """Write new keys or values, shape (sequences, heads, tokens, width); return those that may be looked at."""
        part[self._place.write, :, self._positions] = new.transpose(1, 2)
        return part[self._place.read, :, : self._width]


class _Layer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """The part of one layer, as a model's forward pass speaks to it."""

    is_sliding = False
    keys: Any
    values: Any

    def __init__(self, buffer: KeyValues) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._buffer = buffer

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        # Zeros, as what lies behind a sequence's end is weighed with 0, and 0 times a stray NaN would be NaN.
        def room(like: Tensor) -> Tensor:
            return like.new_zeros(self._buffer.rows, like.shape[1], self._buffer.tokens, like.shape[3])

        self.keys, self.values, self.is_initialized = room(key_states), room(value_states), True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take in the keys and values of a pass."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._buffer.write(self.keys, key_states), self._buffer.write(self.values, value_states)

    def remake(self, rows: list[int]) -> None:
        """Make room anew as the buffer says, with some of the rows at its beginning."""
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(self._buffer.rows, old.shape[1], self._buffer.tokens, old.shape[3])
            new[: len(rows), :, : old.shape[2]] = old[_chosen(rows, old.device)]
            setattr(self, name, new)

    def get_mask_sizes(self, query_length: Any) -> tuple[int, int]:
        """Return what is looked at where no mask is given: the tokens of the pass itself (older versions pass them)."""
        return (query_length if isinstance(query_length, int) else query_length.shape[0]), 0

    def get_seq_length(self, *_: Any) -> int:
        """Return 0: where tokens stand is said by their positions."""
        return 0

    def get_max_length(self) -> int:
        """Return -1: there is no end."""
        return -1

    get_max_cache_shape = get_max_length


def _chosen(rows: Sequence[int], device: torch.device) -> slice | Tensor:
    """Return an index of rows: a slice where they lie together, which copies nothing and waits for nothing."""
    first = rows[0] if rows else 0
    together = list(rows) == list(range(first, first + len(rows)))
    return slice(first, first + len(rows)) if together else torch.tensor(rows, device=device)


def attention_mask(model: nn.Module, positions: Tensor, width: int) -> Tensor | dict[str, Tensor]:
    """Return what each token may look at in its row: itself and what stands before it, as far as its layer sees.

    Args:
        model: a causal language model of transformers.
        positions: where the tokens stand, int64, shape (sequences, tokens).
        width: columns of the rows.

    Returns:
        a mask of shape (sequences, 1, tokens, width), or where the layers of a model differ one for each kind of them.
    """
    config: Any = model.config
    config, weight = config.get_text_config(), next(model.parameters())
    least = torch.finfo(weight.dtype).min
    columns = torch.arange(width, device=positions.device)
    allowed = columns <= positions[:, None, :, None]

    def of(kind: str) -> Tensor:
        seen = allowed
        if kind == SLIDING:
            seen = seen & (columns > positions[:, None, :, None] - config.sliding_window)
        elif kind == CHUNKED:
            size = config.attention_chunk_size
            seen = seen & (columns // size == positions[:, None, :, None] // size)
        if config._attn_implementation != "eager":
            return seen
        return torch.zeros(seen.shape, dtype=weight.dtype, device=weight.device).masked_fill(~seen, least)

    kinds = sorted(set(_layer_kinds(config)))
    masks = {kind: of(kind) for kind in kinds}
    return masks[kinds[0]] if len(kinds) == 1 else masks


def _layer_kinds(config: Any) -> list[str]:
    """Return how far each kind of layer sees."""
    if named := getattr(config, "layer_types", None):
        return list(named)
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return [SLIDING if slides else FULL]
