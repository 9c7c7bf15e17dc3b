"""Making a search index in bounded memory.

Documents are read once. Their postings are sorted block by block (a *run* each); when all are read, the runs are
merged a range of terms at a time. With a folder, runs and result lie on disk; in memory stay the words with
their numbers, one block and one range.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from envs.webshop.analyzer import word_term
from envs.webshop.index_files import Index, denominators, encode_lengths, open_index, write_index
from envs.webshop.tokenizer import tokenize

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_TERMS = 4_000_000  # terms in a block, and postings in a range
_MOST_CACHED = 1 << 20
_LENGTH_BITS = 8


class Document(NamedTuple):
    """What is indexed of a product: its id, and its text."""

    id: str
    text: str


class _Run(NamedTuple):
    """Postings of one block, sorted by term and document."""

    terms: NDArray[np.int32]
    documents: NDArray[np.int32]
    pairs: NDArray[np.int64]  # frequency and encoded length in one number


class _Numbers(dict[str, int]):
    """The number of each word's term, -1 for a word without one; the words are forgotten when they are many.

    Attributes:
        terms: the number of each term; they are numbered in the order in which they first occur.
    """

    def __init__(self) -> None:
        self.terms: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_CACHED:
            self.clear()
        term = word_term(word)
        number = self[word] = self.terms.setdefault(term, len(self.terms)) if term else -1
        return number


@dataclass
class _Collected:
    """What is known when all documents are read."""

    ids: list[str] = field(default_factory=list)
    numbers: _Numbers = field(default_factory=_Numbers)
    runs: list[_Run] = field(default_factory=list)
    filled: int = 0
    total: int = 0


def build_index(documents: Iterable[tuple[str, str]], folder: Path | None, *, block: int = BLOCK_TERMS) -> Index:
    """Index documents, see :meth:`envs.webshop.search.SearchIndex.build`.

    The result does not depend on ``block``, the number of terms that are sorted at once.
    """
    if folder is None:
        return _merge(_collect(documents, block, None), block, None)

    def make(building: Path) -> Index:
        with tempfile.TemporaryDirectory(dir=building) as runs:
            return _merge(_collect(documents, block, Path(runs)), block, building)

    write_index(folder, make)
    return open_index(folder)


def _collect(documents: Iterable[tuple[str, str]], block: int, folder: Path | None) -> _Collected:
    """Read all documents, and sort their postings into runs, in memory or in ``folder``."""
    collected = _Collected()
    numbers: list[int] = []  # of all words of the block, document after document
    words: list[int] = []  # how many of them are each document's
    for document in documents:
        if isinstance(document, str) or len(document) != 2:
            raise TypeError(f"a document is a pair (id, text), not {document!r:.80}")
        before = len(numbers)
        collected.ids.append(document[0])
        numbers.extend(map(collected.numbers.__getitem__, tokenize(document[1])))
        words.append(len(numbers) - before)
        if len(numbers) >= block:
            _add_run(collected, numbers, words, folder)
            numbers, words = [], []
    _add_run(collected, numbers, words, folder)
    return collected


def _add_run(collected: _Collected, numbers: list[int], words: list[int], folder: Path | None) -> None:
    number = np.array(numbers, dtype=np.int64)
    place = np.repeat(np.arange(len(words)), words)[number >= 0]
    length = np.bincount(place, minlength=len(words))
    postings, frequency = np.unique(number[number >= 0] * len(words) + place, return_counts=True)
    term, place = np.divmod(postings, max(len(words), 1))
    run = _Run(
        term.astype(np.int32),
        (place + len(collected.ids) - len(words)).astype(np.int32),
        (frequency << _LENGTH_BITS) | encode_lengths(length)[place],
    )
    collected.runs.append(run if folder is None else _spill(run, folder, len(collected.runs)))
    collected.filled += int(np.count_nonzero(length))
    collected.total += len(number[number >= 0])


def _spill(run: _Run, folder: Path, number: int) -> _Run:
    """Keep a run on disk and return it memory-mapped."""
    paths = {name: folder / f"{number}-{name}.npy" for name in run._fields}
    for name, path in paths.items():
        np.save(path, getattr(run, name))
    return _Run(*(np.load(path, mmap_mode="r") for path in paths.values()))


def _merge(collected: _Collected, block: int, folder: Path | None) -> Index:
    """Put the runs together: every term's postings in one list, in the order of the documents."""
    counts = np.zeros(len(collected.numbers.terms), dtype=np.int64)
    for run in collected.runs:
        counts += np.bincount(run.terms, minlength=len(counts))
    starts = np.concatenate([[0], np.cumsum(counts)])
    pairs = np.unique(np.concatenate([np.unique(run.pairs) for run in collected.runs]))
    frequencies = (pairs >> _LENGTH_BITS).astype(np.int32)
    lengths = (pairs & ((1 << _LENGTH_BITS) - 1)).astype(np.uint8)
    denominator = denominators(frequencies, lengths, collected.filled, collected.total)
    documents = _new("documents", np.int32, int(starts[-1]), folder)
    codes = _new("codes", np.uint16 if len(pairs) <= 1 << 16 else np.uint32, int(starts[-1]), folder)
    peaks = np.zeros(len(counts), dtype=np.float32)
    for low, high in _ranges(starts, block):
        start, end = starts[low], starts[high]
        documents[start:end], pair = _merge_range(collected.runs, low, high)
        codes[start:end] = np.searchsorted(pairs, pair)
        peaks[low:high] = np.maximum.reduceat(denominator[codes[start:end]], starts[low:high] - start)
    words, word_starts, slots = _sorted_words(collected.numbers.terms)
    tie_ranks = np.empty(len(collected.ids), dtype=np.int32)
    tie_ranks[sorted(range(len(collected.ids)), key=collected.ids.__getitem__)] = np.arange(len(collected.ids))
    return Index(
        filled=collected.filled,
        total=collected.total,
        tie_ranks=tie_ranks,
        words=words,
        word_starts=word_starts,
        slots=slots,
        starts=starts,
        peaks=peaks,
        documents=documents,
        codes=codes,
        frequencies=frequencies,
        lengths=lengths,
    )


def _ranges(starts: NDArray[np.int64], block: int) -> Iterator[tuple[int, int]]:
    """Cut the terms into ranges of at most ``block`` postings, or of one term."""
    low, last = 0, len(starts) - 1
    while low < last:
        high = int(np.searchsorted(starts, starts[low] + block, side="right")) - 1
        high = min(max(high, low + 1), last)
        yield low, high
        low = high


def _merge_range(runs: list[_Run], low: int, high: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return documents and pairs of the terms from ``low`` to before ``high``, sorted by term and document."""
    cuts = [slice(*np.searchsorted(run.terms, [low, high]).tolist()) for run in runs]
    order = np.argsort(np.concatenate([run.terms[cut] for run, cut in zip(runs, cuts, strict=True)]), kind="stable")
    documents = np.concatenate([run.documents[cut] for run, cut in zip(runs, cuts, strict=True)])
    pairs = np.concatenate([run.pairs[cut] for run, cut in zip(runs, cuts, strict=True)])
    return documents[order], pairs[order]


def _new(name: str, kind: type[np.generic], size: int, folder: Path | None) -> NDArray[Any]:
    if folder is None or size == 0:  # an empty file cannot be mapped
        return np.empty(size, dtype=kind)
    return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=(size,))


def _sorted_words(numbers: dict[str, int]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int32]]:
    ordered = sorted(numbers)  # by code point, which is the order of UTF-8 too
    encoded = [word.encode() for word in ordered]
    starts = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    slots = np.array([numbers[word] for word in ordered], dtype=np.int32)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), starts, slots
