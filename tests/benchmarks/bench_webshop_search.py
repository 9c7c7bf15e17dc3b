"""Search of the shop at both ends of its scale: queries a second on 1,000 products, milliseconds on 1.18 million.

    python tests/benchmarks/bench_webshop_search.py [--documents 1180000] [--folder FOLDER] [--items FILE.json]

The large catalogue is generated: how common its words are, how long its texts, and how many of them have
characters outside ASCII is fitted to the 1,000 products. Times are CPU seconds of this one process. Every answer
of the large index is compared with the exhaustive sum over all postings.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from envs.webshop import search as search_module
from envs.webshop.catalogue import load_catalogue
from envs.webshop.generator import generate_catalogue
from envs.webshop.search import SearchIndex, document

# Share of the documents that have the word of a rank; between the ranks a straight line in logarithms.
_RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 3_000_000]
_SHARES = [0.438, 0.43, 0.371, 0.273, 0.203, 0.162, 0.112, 0.071, 0.047, 0.028, 0.014, 0.006, 0.002, 1e-7]
_MEDIAN_LENGTH, _SPREAD_OF_LENGTH = 76.5, 0.83  # log-normal: mean 108 words
_NOT_ASCII = 0.38
_STEMS = [consonant + vowel for consonant in "bdklmnr" for vowel in "aeiou"]
_ENDINGS = ["", "n", "rt", "st", "ing", "ed", "s", "er", "ness", "tion", "x2", "-5"]


def word(rank: int) -> str:
    """Return a made-up word for each rank, with the endings that English words have."""
    ending = _ENDINGS[rank % len(_ENDINGS)]
    syllables = [_STEMS[rank % len(_STEMS)]]
    while rank := rank // len(_STEMS):
        syllables.append(_STEMS[rank % len(_STEMS)])
    return "".join(syllables) + ending


class Texts:
    """Texts and queries with the frequencies of words above."""

    def __init__(self) -> None:
        ranks = np.arange(1, _RANKS[-1] + 1)
        shares = np.exp(np.interp(np.log(ranks), np.log(_RANKS), np.log(_SHARES)))
        self.edges = np.cumsum(-np.log1p(-shares))
        self.edges /= self.edges[-1]
        self.words = [word(rank) for rank in ranks.tolist()]

    def draw(self, count: int, random: np.random.Generator) -> list[str]:
        """Return words as they follow each other in a text."""
        return [self.words[rank] for rank in np.searchsorted(self.edges, random.random(count)).tolist()]

    def documents(self, count: int) -> Iterator[tuple[str, str]]:
        """Yield ids and texts of a catalogue, the same at every call."""
        random = np.random.default_rng(1)
        for place in range(count):
            words = self.draw(int(random.lognormal(np.log(_MEDIAN_LENGTH), _SPREAD_OF_LENGTH)) + 1, random)
            if random.random() < _NOT_ASCII:
                words[len(words) // 2] += "’s™"
            yield f"B0{(place * 7919 + 12345) % 99999989:08d}", " ".join(words)

    def queries(self) -> dict[str, list[str]]:
        """Return queries by kind: of few words, as long as an instruction, very long, of the commonest words."""
        random = np.random.default_rng(2)
        common = self.words[:40]
        return {
            "3 words": [" ".join(self.draw(3, random)) for _ in range(200)],
            "an instruction (11 words)": [" ".join(self.draw(11, random)) for _ in range(200)],
            "30 words": [" ".join(self.draw(30, random)) for _ in range(100)],
            "6 of the 40 commonest": [" ".join(random.choice(common, 6, replace=False)) for _ in range(50)],
            "the 12 commonest": [" ".join(self.words[:12])],
        }


def peak_memory() -> float:
    """Return the largest resident size of this process so far in MiB, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bench_small(items: Path | None) -> None:
    """Print queries a second on 1,000 products: the given ones, or generated ones."""
    catalogue = load_catalogue(items.parent) if items else generate_catalogue(seed=0, products=1000)
    start = time.process_time()
    index = SearchIndex.build(map(document, catalogue.products))
    print(
        f"{len(index):,} products, {'official' if items else 'generated'}: built in {time.process_time() - start:.2f} s"
    )
    queries = [" ".join(product.title.lower().split()[:8]) for product in catalogue.products]
    instructions = [product.instruction for product in catalogue.products if product.instruction]
    for name, some in (("titles cut at 8 words", queries), ("instructions", instructions)):
        start = time.process_time()
        for query in some:
            index.search(query)
        print(f"  {name}: {len(some) / (time.process_time() - start):,.0f} queries a second")


def bench_large(count: int, folder: Path) -> None:
    """Print what building and searching a large index costs, and check every answer."""
    texts = Texts()
    start = time.process_time()
    characters = sum(len(text) for _, text in texts.documents(count // 20)) * 20
    generating = (time.process_time() - start) * 20
    before = peak_memory()
    print(f"{count:,} documents of {characters / count:,.0f} characters; {before:,.0f} MiB used before building")
    start = time.process_time()
    index = SearchIndex.build(texts.documents(count), folder)
    seconds = time.process_time() - start
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    print(f"  built in {seconds:,.0f} s, of which about {generating:,.0f} s are the making of the texts")
    print(f"  peak memory {peak_memory():,.0f} MiB, mapped files included; {size:,.0f} MiB on disk")
    for name, queries in texts.queries().items():
        times, wrong = [], 0
        for query in queries:
            index.search(query)  # read from disk first
            start = time.process_time()
            found = index.search(query)
            times.append((time.process_time() - start) * 1e3)
            wrong += found != exhaustively(index, query)
        median, high, most = np.percentile(times, [50, 95, 100])
        print(f"  {name}: median {median:.1f}, 95 % {high:.1f}, most {most:.1f} ms; {wrong} of {len(times)} wrong")


def exhaustively(index: SearchIndex, query: str) -> list[int]:
    """Answer a query by summing all its postings."""
    usual = search_module.AT_ONCE
    search_module.AT_ONCE = 1 << 62
    try:
        return index.search(query)
    finally:
        search_module.AT_ONCE = usual


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_180_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--items", type=Path)
    chosen = parser.parse_args()
    bench_small(chosen.items)
    folder = chosen.folder / "bench_webshop_search"
    try:
        bench_large(chosen.documents, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
