"""The arrays of a search index, and the folder in which they are kept.

A folder holds one ``.npy`` file an array and ``index.json``: version, counts, and size and checksum of every
file. It is written under another name and renamed when complete, so an index is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.base.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
K1 = np.float32(0.9)
B = np.float32(0.4)

_HEADER = "index.json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Index:
    """An inverted index. A *posting* says that a term occurs in a document; a term's postings are a *list*.

    The lists are in the order in which the terms first occur in the documents; the words are sorted.

    Attributes:
        filled: number of documents that have a term.
        total: number of terms in all documents, repetitions counted.
        tie_ranks: (documents,) int32: place of each document when they are sorted by id.
        words: (bytes,) uint8: all terms in UTF-8, sorted, one after the other.
        word_starts: (terms + 1,) int64: where each term begins in ``words``.
        slots: (terms,) int32: number of the list of each term of ``words``.
        starts: (terms + 1,) int64: where each list begins in ``documents`` and ``codes``.
        peaks: (terms,) float32: the largest denominator (see :meth:`denominators`) in each list.
        documents: (postings,) int32: document of each posting, ascending within a list.
        codes: (postings,) uint16 or uint32: place of the posting's frequency and length in the two arrays below.
        frequencies: (codes,) int32: how often the term occurs in the document.
        lengths: (codes,) uint8: the document's rounded length, see :func:`encode_lengths`.
    """

    filled: int
    total: int
    tie_ranks: NDArray[np.int32]
    words: NDArray[np.uint8]
    word_starts: NDArray[np.int64]
    slots: NDArray[np.int32]
    starts: NDArray[np.int64]
    peaks: NDArray[np.float32]
    documents: NDArray[np.int32]
    codes: NDArray[Any]
    frequencies: NDArray[np.int32]
    lengths: NDArray[np.uint8]

    def denominators(self) -> NDArray[np.float32]:
        """Return ``1 + frequency / (k1 * (1 - b + b * length / average length))`` for each code, (codes,) float32."""
        return denominators(self.frequencies, self.lengths, self.filled, self.total)


def denominators(
    frequencies: NDArray[np.int32], lengths: NDArray[np.uint8], filled: int, total: int
) -> NDArray[np.float32]:
    """Return the denominator of the BM25 score, see :meth:`Index.denominators`; float32 at every step."""
    one = np.float32(1)
    average = np.float32(total / max(filled, 1))
    inverse = one / (K1 * ((one - B) + B * decode_lengths().astype(np.float32) / average)) if total else np.ones(256)
    result: NDArray[np.float32] = one + frequencies.astype(np.float32) * inverse[lengths].astype(np.float32)
    return result


def encode_lengths(lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Round lengths (terms in a document) down to what Lucene keeps of them in one byte, and return that byte.

    Up to 39 a length is kept exactly; beyond, 24 less than it is kept to four significant bits.
    """
    return (np.searchsorted(decode_lengths(), lengths, side="right") - 1).astype(np.uint8)


def decode_lengths() -> NDArray[np.int64]:
    """Return the length that each byte stands for, (256,) ascending."""
    byte = np.arange(256 - 24, dtype=np.int64)
    exponent = np.maximum((byte >> 3) - 1, 0)
    beyond = np.where(byte < 8, byte, ((byte & 7) | 8) << exponent)
    return np.concatenate([np.arange(24), 24 + beyond])


def write_index(folder: Path, make: Callable[[Path], Index]) -> None:
    """Make an index in a folder that appears when it is complete and replaces an older one.

    Args:
        folder: where the index shall be.
        make: makes the index; gets the folder where it may write arrays as ``NAME.npy``.

    Raises:
        UserError: the folder cannot be written.
    """
    building = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)  # of a killed process with the same number
    try:
        building.mkdir(parents=True)
        try:
            _write(building, make(building))
            _put(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    except OSError as problem:
        raise UserError(f"the search index cannot be written to {folder}: {problem}") from problem


def _write(folder: Path, index: Index) -> None:
    header: dict[str, Any] = {"version": VERSION, "filled": index.filled, "total": index.total, "files": {}}
    for name in _array_names():
        path = folder / f"{name}.npy"
        if not path.exists():  # the large ones are written as they are made
            np.save(path, getattr(index, name))
        header["files"][path.name] = {"bytes": path.stat().st_size, "crc32": _checksum(path)}
    (folder / _HEADER).write_text(json.dumps(header, indent=1), encoding="utf-8")


def _put(building: Path, folder: Path) -> None:
    old = building.with_name(f"{building.name}.old")
    if folder.exists():
        folder.replace(old)
    building.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def open_index(folder: Path, *, check: bool = False) -> Index:
    """Map the arrays of an index into memory; ``check`` reads and compares all checksums.

    Raises:
        UserError: there is no index, it is of another version, or it is damaged.
    """
    again = "build it again (agentbench install webshop)"
    path = folder / _HEADER
    if not path.is_file():
        raise UserError(f"{folder} is not a search index (it has no {_HEADER}): {again}")
    try:
        header = json.loads(path.read_bytes())
        version = header["version"]
        if version == VERSION:
            for name, entry in header["files"].items():
                _check(folder / name, entry, check)
            arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _array_names()}
            return Index(filled=int(header["filled"]), total=int(header["total"]), **arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise UserError(f"the search index in {folder} is damaged ({problem}): {again}") from problem
    raise UserError(f"the search index in {folder} is of version {version}, and {VERSION} is needed: {again}")


def _check(path: Path, entry: dict[str, int], check: bool) -> None:
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise ValueError(f"{path.name} has {size} bytes and should have {entry['bytes']}")
    if check and _checksum(path) != entry["crc32"]:
        raise ValueError(f"the content of {path.name} has changed")


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _array_names() -> list[str]:
    return [field.name for field in fields(Index) if field.name not in ("filled", "total")]
