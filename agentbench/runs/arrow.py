"""Arrow's columns from and to Python without pandas, which pyarrow imports for a single conversion: 0.3 s and 40 MB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_KINDS: dict[pa.DataType, type] = {pa.int64(): np.int64, pa.int32(): np.int32, pa.float64(): np.float64}
_LARGEST = 2**31 - 1
"""Bytes of text that one array of Arrow's strings can hold."""


def table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return the same as ``pyarrow.Table.from_pylist``; of numbers, truths, texts and lists of texts."""
    made = [array([row.get(each.name) for row in rows], each.type) for each in schema]
    return pa.Table.from_arrays(made, schema=schema)


def array(values: Sequence[Any], kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """Return values, None for null, as an array of a kind.

    Raises:
        ValueError, TypeError, OverflowError: a value is of another kind.
    """
    if kind in _KINDS or pa.types.is_boolean(kind):
        return _of_numbers(values, kind)
    if pa.types.is_list(kind) and kind.value_type == pa.string():
        content = array([text for each in values if each is not None for text in each], pa.string())
        offsets = _offsets([0 if each is None else len(each) for each in values])
        if isinstance(content, pa.Array):
            buffers = [_validity(values), pa.py_buffer(offsets.astype(np.int32))]
            return pa.Array.from_buffers(kind, len(values), buffers, children=[content])
    elif kind == pa.string():
        joined = "".join(["" if text is None else text for text in values])
        encoded = None if joined.isascii() else [b"" if text is None else text.encode() for text in values]
        sizes = map(len, encoded) if encoded is not None else (0 if text is None else len(text) for text in values)
        offsets = _offsets(list(sizes))
        if offsets[-1] <= _LARGEST:
            data = joined.encode() if encoded is None else b"".join(encoded)
            buffers = [_validity(values), pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
            return pa.Array.from_buffers(kind, len(values), buffers)
    return pa.array(values, kind)  # by pandas


def columns(found: pa.Table) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a table: :func:`numbers` where none is null and it can be, else objects, None for null."""
    named = zip(found.column_names, found.columns, strict=True)
    return {name: numbers(column) if _has_numbers(column) else _objects(column) for name, column in named}


def numbers(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return whole numbers, floats or truths without nulls as numpy's."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return np.concatenate([np.empty(0, _dtype(column.type)), *map(_numbers, chunks)])


def codes(column: pa.ChunkedArray | pa.DictionaryArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Return the place of each of the values that Arrow holds as a dictionary (-1: null), and the different values."""
    coded = column.unify_dictionaries().combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    places = _filled(coded.indices).astype(np.int64)
    if coded.indices.null_count:
        places[~_bits(coded.indices.buffers()[0], coded.indices)] = -1
    return places, coded.dictionary


def lists(column: pa.ListArray) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Return the length of each list (-1: null), and what is in all of them, end to end."""
    offsets = numbers(column.offsets).astype(np.int64)
    lengths = np.diff(offsets)
    if column.null_count:
        lengths[~_bits(column.buffers()[0], column)] = -1
    return lengths, column.values.slice(offsets[0], offsets[-1] - offsets[0])


def _of_numbers(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    known = [0 if each is None else each for each in values] if None in values else values
    found: npt.NDArray[Any] = np.array(known, dtype=_dtype(kind))
    content = np.packbits(found, bitorder="little") if found.dtype == np.bool_ else found
    return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(content)])


def _offsets(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *sizes], dtype=np.int64)


def _validity(values: Sequence[Any]) -> pa.Buffer | None:
    if None not in values:
        return None
    return pa.py_buffer(np.packbits([each is not None for each in values], bitorder="little"))


def _dtype(kind: pa.DataType) -> type:
    return np.bool_ if pa.types.is_boolean(kind) else _KINDS[kind]


def _has_numbers(column: pa.ChunkedArray) -> bool:
    return not column.null_count and (column.type in _KINDS or bool(pa.types.is_boolean(column.type)))


def _objects(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    found: npt.NDArray[np.object_] = np.empty(len(column), dtype=object)
    found[:] = column.to_pylist()
    return found


def _numbers(chunk: pa.Array) -> npt.NDArray[Any]:
    if chunk.null_count:
        raise ValueError(f"{chunk.null_count} values are missing")
    return _filled(chunk)


def _filled(chunk: pa.Array) -> npt.NDArray[Any]:
    """Return numbers, whatever stands where one is null."""
    content = chunk.buffers()[1]
    if not len(chunk) or content is None:
        return np.zeros(len(chunk), _dtype(chunk.type))
    if pa.types.is_boolean(chunk.type):
        return _bits(content, chunk)
    kind = np.dtype(_dtype(chunk.type))
    return np.frombuffer(content, dtype=kind, count=len(chunk), offset=chunk.offset * kind.itemsize)


def _bits(content: pa.Buffer, chunk: pa.Array) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8), count=chunk.offset + len(chunk), bitorder="little")
    return bits[chunk.offset :].astype(np.bool_)
