"""Search of the shop: the products that Lucene would find for a query, in its order.

The score of a document for a query is the sum over the query's terms of BM25 as Lucene computes it
(S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework", 2009, section 3.3, without the constant
factor k1 + 1, and with a document length rounded to four significant bits)::

    weight = boost * log(1 + (N - n + 0.5) / (n + 0.5))
    score  = weight - weight / (1 + frequency / (k1 * (1 - b + b * length / average length)))

with k1 = 0.9 and b = 0.4; boost is how often the term stands in the query, n the number of documents with the
term, N that of all that are not empty. Each term's score is a float32, the sum is taken in float64 and rounded
to float32. Equal scores are ordered by document id, compared as text.

An index is made by :meth:`SearchIndex.build`, kept in a folder of memory-mapped arrays, and shared by all
processes that open it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.webshop.analyzer import analyze
from envs.webshop.index_build import Document, build_index
from envs.webshop.index_files import Index, open_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from envs.webshop.catalogue import Product

MOST_TERMS = 1024

AT_ONCE = 100_000  # a query with fewer postings has all of them scored together
_LOOK_UP = 16  # a posting that is looked up costs as much as this many that are read in a row
_SLACK = 1e-6  # of a threshold: two sums this close may be equal once rounded to float32


class TooManyTerms(ValueError):  # noqa: N818  (named after what the original raises)
    """A query has more different terms than Lucene takes."""


def document(product: Product) -> Document:
    """Return a product as a document to index: its id and its :func:`document_text`."""
    return Document(product.asin, document_text(product))


def document_text(product: Product) -> str:
    """Return what is searched of a product: title, description, first bullet point and options, in lower case."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options.items())
    bullet = product.bullets[0] if product.bullets else ""
    return f"{product.title} {product.description} {bullet} {options}".lower()


class SearchIndex:
    """An index of documents, in memory or memory-mapped from a folder.

    Args:
        index: the arrays, see :class:`envs.webshop.index_files.Index`.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._denominators = index.denominators()
        self._words = index.words.data
        self._word_starts = index.word_starts.data

    @classmethod
    def build(cls, documents: Iterable[tuple[str, str]], folder: Path | None = None) -> SearchIndex:
        """Index documents, in memory or into a new folder.

        Args:
            documents: pairs ``(id, text)``; a search answers with their places in this order.
            folder: where to keep the index; it appears when it is complete, and replaces what was there.
                Memory use then grows with the number of different words, not with the number of documents.

        Raises:
            TypeError: a document is not a pair of texts.
            UserError: the folder cannot be written.
        """
        return cls(build_index(documents, folder))

    @classmethod
    def open(cls, folder: Path, *, check: bool = False) -> SearchIndex:
        """Open an index that :meth:`build` wrote, without reading it.

        Args:
            folder: where the index lies.
            check: also read all of it and compare its checksums.

        Raises:
            UserError: there is no index, it is of another version, or it is damaged; says what to do.
        """
        return cls(open_index(folder, check=check))

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._index.tie_ranks)

    def search(self, query: str, k: int = 50) -> list[int]:
        """Return the places of the ``k`` documents that fit the query best (or of all that fit), best first.

        Nothing in a query is syntax; a query without a known word finds nothing.

        Raises:
            TooManyTerms: the query has more than 1,024 different terms.
        """
        return [place for place, _ in self.search_scores(query, k)]

    def search_scores(self, query: str, k: int = 50) -> list[tuple[int, float]]:
        """Return what :meth:`search` does, with the score of each document (a float32 value)."""
        boosts = Counter(analyze(query))
        if len(boosts) > MOST_TERMS:
            raise TooManyTerms(f"the query has {len(boosts)} different terms; at most {MOST_TERMS} are possible")
        found = [(slot, boost) for term, boost in boosts.items() if (slot := self._slot(term)) is not None]
        if not found or k <= 0:
            return []
        slots = np.array([slot for slot, _ in found])
        weights = self._weights(slots, np.array([boost for _, boost in found], dtype=np.float32))
        postings = int((self._index.starts[slots + 1] - self._index.starts[slots]).sum())
        places, scores = self._sum_all(slots, weights) if postings < AT_ONCE else self._sum_best(slots, weights, k)
        return self._best(places, scores, k)

    def _slot(self, term: str) -> int | None:
        """Return the number of the term's postings list, or ``None`` if no document has the term."""
        encoded = term.encode()
        place = bisect_left(range(len(self._index.slots)), encoded, key=self._word)
        if place < len(self._index.slots) and self._word(place) == encoded:
            return int(self._index.slots[place])
        return None

    def _word(self, place: int) -> bytes:
        return self._words[self._word_starts[place] : self._word_starts[place + 1]].tobytes()

    def _weights(self, slots: NDArray[np.int64], boosts: NDArray[np.float32]) -> NDArray[np.float32]:
        frequency = self._index.starts[slots + 1] - self._index.starts[slots]
        rarity = np.log(1 + (self._index.filled - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
        weights: NDArray[np.float32] = boosts * rarity
        return weights

    def _scores(self, slot: int, weight: np.float32) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        start, end = self._index.starts[slot], self._index.starts[slot + 1]
        return self._index.documents[start:end], weight - weight / self._denominators[self._index.codes[start:end]]

    def _sum_all(
        self, slots: NDArray[np.int64], weights: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the places of all documents that have one of the terms, and their scores."""
        lists = [self._scores(slot, weight) for slot, weight in zip(slots.tolist(), weights, strict=True)]
        totals = np.bincount(
            np.concatenate([places for places, _ in lists]), np.concatenate([scores for _, scores in lists])
        )
        places = np.flatnonzero(totals)
        return places, totals[places].astype(np.float32)

    def _sum_best(
        self, slots: NDArray[np.int64], weights: NDArray[np.float32], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return what :meth:`_sum_all` does, at least for the ``k`` best documents, with fewer postings read.

        Terms are added from the one that can score most to the one that can score least. A document whose sum
        so far, with all that the remaining terms can add, stays below the k-th best sum so far, is out. While
        one with sum zero is not out, whole lists are read; then only the postings of the documents that are in.
        (The MaxScore method: H. Turtle and J. Flood, "Query evaluation: strategies and optimizations", 1995.)
        """
        most = (weights - weights / self._index.peaks[slots]).astype(np.float64)
        order = np.argsort(-most, kind="stable")
        remaining = np.append(np.cumsum(most[order][::-1])[::-1], 0.0)
        totals = np.zeros(len(self))
        places: NDArray[np.int64] | None = None
        threshold = 0.0
        for number, (slot, weight) in enumerate(zip(slots[order].tolist(), weights[order], strict=True)):
            if places is None and threshold > remaining[number]:
                places = np.flatnonzero(totals >= threshold - remaining[number])
            added = self._add(totals, slot, weight, places)
            if remaining[number + 1] < remaining[0] / 2:  # before, the threshold can't be above what remains
                threshold = max(threshold, _kth_largest(totals[added], k, threshold) * (1 - _SLACK))
                if places is not None:
                    places = places[totals[places] >= threshold - remaining[number + 1]]
        if places is None:
            places = np.flatnonzero(totals >= threshold if threshold > 0 else totals)
        return places, totals[places].astype(np.float32)

    def _add(
        self, totals: NDArray[np.float64], slot: int, weight: np.float32, places: NDArray[np.int64] | None
    ) -> NDArray[Any]:
        """Add a term's scores to the totals, at least at ``places``; return the places where a total may count."""
        start, end = self._index.starts[slot], self._index.starts[slot + 1]
        if places is None or len(places) * _LOOK_UP > end - start:
            documents, scores = self._scores(slot, weight)
            np.add.at(totals, documents, scores.astype(np.float64))
            return documents if places is None else places
        documents = self._index.documents[start:end]
        found = np.searchsorted(documents, places.astype(np.int32))
        found[found == len(documents)] = 0
        has = documents[found] == places
        totals[places[has]] += weight - weight / self._denominators[self._index.codes[start + found[has]]]
        return places

    def _best(self, places: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        if len(places) > k:
            kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
            places, scores = places[kept], scores[kept]
        order = np.lexsort((self._index.tie_ranks[places], -scores))[:k]
        return list(zip(places[order].tolist(), scores[order].tolist(), strict=True))


def _kth_largest(values: NDArray[np.float64], k: int, above: float) -> float:
    """Return the k-th largest of the values above a limit, or 0 if there are fewer."""
    values = values[values > above]
    return float(np.partition(values, len(values) - k)[len(values) - k]) if len(values) >= k else 0.0
