"""Index terms of a text, as Lucene's EnglishAnalyzer makes them.

Words (:mod:`envs.webshop.tokenizer`) lose a possessive ``'s``, are put in lower case, dropped if they are among
33 English stop words, and stemmed (:mod:`envs.webshop.porter`).
"""

from __future__ import annotations

from envs.webshop.porter import stem
from envs.webshop.tokenizer import tokenize

STOP_WORDS = frozenset(
    {
        "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no",
        "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to",
        "was", "will", "with",
    }
)  # fmt: skip

_APOSTROPHES = "'\u2019\uff07"
_MOST_CACHED = 1 << 18


class _Terms(dict[str, str]):
    """The term of each word seen, ``""`` for a word that has none; forgets all when it grows large."""

    def __missing__(self, word: str) -> str:
        if len(self) >= _MOST_CACHED:
            self.clear()
        term = self[word] = word_term(word)
        return term


_terms = _Terms()


def analyze(text: str) -> list[str]:
    """Return the index terms of ``text``, in order, with repetitions."""
    return [term for term in map(_terms.__getitem__, tokenize(text)) if term]


def word_term(word: str) -> str:
    """Return the index term of one word, or ``""`` for a stop word."""
    if len(word) >= 2 and word[-1] in "sS" and word[-2] in _APOSTROPHES:
        word = word[:-2]
    word = _lower(word)
    return "" if word in STOP_WORDS else stem(word)


def _lower(word: str) -> str:
    """Lower the case of each character for itself, as Java does: never two characters for one."""
    return word.lower() if word.isascii() else "".join(character.lower()[0] for character in word)
