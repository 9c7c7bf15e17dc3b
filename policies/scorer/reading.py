"""How the scorer reads text: actions as a verb and phrases, tasks and observations as words."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

VERBS, WORDS = 64, 4096
"""Number of hash buckets for verbs and for words."""
MAX_TASK_WORDS = 48
"""Words of the task that are looked at; later ones are skipped."""

CODE_LENGTH = 8
"""Letters and digits mixed are a code from this length on; a shorter mix is a size or a model (``3x``, ``120v``)."""

_JOINTS = frozenset(("from", "to", "with", "in", "on", "into", "onto", "under", "at", "using"))
_STOP = _JOINTS | frozenset(("a", "an", "the", "and", "or", "it", "is", "some", "of", "you", "your", "for", "that"))
_TOKEN = re.compile(r"[a-z0-9]+")

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActionParts:
    """An action, taken apart.

    Attributes:
        verb: bucket of the first word, in [0, VERBS).
        phrases: first and last phrase; the same one twice if there is only one, empty ones if none.
        words: bucket of the first word of each phrase, in [0, WORDS); 0 for an empty phrase.
    """

    verb: int
    phrases: tuple[Phrase, Phrase]
    words: tuple[int, int]


def is_code(word: str) -> bool:
    """Whether a word is a code, which names one thing and says nothing of it (``b09rvf4jp1``)."""
    return len(word) >= CODE_LENGTH and not word.isalpha() and not word.isdigit()


def bucket(word: str, buckets: int) -> int:
    """Hash a word into [1, buckets): the same in every process."""
    return 1 + zlib.crc32(word.encode()) % (buckets - 1)


@lru_cache(maxsize=200_000)
def parse(action: str) -> ActionParts:
    """Take an action apart: ``verb phrase``, ``verb phrase joint phrase`` or ``verb[phrase]``."""
    tokens = _TOKEN.findall(action.lower())
    if not tokens:
        return ActionParts(0, ((), ()), (0, 0))
    phrases: list[list[str]] = [[]]
    for token in tokens[1:]:
        if token in _JOINTS:
            phrases.append([])
        else:
            phrases[-1].append(token)
    found = [tuple(phrase) for phrase in phrases if phrase] or [()]
    first, last = found[0], found[-1]
    words = tuple(bucket(phrase[0], WORDS) if phrase else 0 for phrase in (first, last))
    return ActionParts(bucket(tokens[0], VERBS), (first, last), (words[0], words[1]))


@lru_cache(maxsize=50_000)
def content_words(text: str) -> frozenset[str]:
    """Return the words of a text that mean something: no numbers, no function words."""
    return frozenset(token for token in _TOKEN.findall(text.lower()) if token not in _STOP and not token.isdigit())


@lru_cache(maxsize=20_000)
def task_words(instruction: str) -> tuple[dict[str, float], npt.NDArray[np.int64]]:
    """Return where each word of the task stands (in (0, 1]), and the buckets of its words."""
    tokens = [token for token in _TOKEN.findall(instruction.lower()) if token not in _STOP]
    places: dict[str, float] = {}
    for place, token in enumerate(tokens):
        places.setdefault(token, (place + 1) / len(tokens))
    buckets = np.zeros(MAX_TASK_WORDS, np.int64)
    for place, token in enumerate(tokens[:MAX_TASK_WORDS]):
        buckets[place] = bucket(token, WORDS)
    return places, buckets


@lru_cache(maxsize=200_000)
def in_task(phrase: Phrase, instruction: str) -> tuple[float, float]:
    """Return the share of a phrase's words that stand in the task (numbers do not count), and where the last does."""
    task, _ = task_words(instruction)
    words = [word for word in phrase if not word.isdigit()]
    share = sum(word in task for word in words) / len(words) if words else 0.0
    return share, max((task.get(word, 0.0) for word in phrase), default=0.0)


@lru_cache(maxsize=200_000)
def run_in_task(phrase: Phrase, instruction: str) -> int:
    """Return the number of a phrase's words if they stand in the task side by side, in this order, else 0."""
    task, size = _TOKEN.findall(instruction.lower()), len(phrase)
    found = size and any(tuple(task[at : at + size]) == phrase for at in range(len(task) - size + 1))
    return size if found else 0


def passages(observation: str, phrases: Collection[Phrase]) -> dict[Phrase, frozenset[str]]:
    """Return what the observation says after it names a phrase, up to the next phrase: a product's title, say.

    The content words of at most 40 words; of the last place where the phrase is named.
    """
    tokens = _TOKEN.findall(observation.lower())
    begins: dict[str, list[Phrase]] = {}
    for phrase in phrases:
        if phrase:
            begins.setdefault(phrase[0], []).append(phrase)
    found: dict[Phrase, frozenset[str]] = {}
    end, current = len(tokens), len(tokens)
    for at in range(len(tokens) - 1, -1, -1):
        for phrase in begins.get(tokens[at], ()):
            start = at + len(phrase)
            if phrase not in found and tuple(tokens[at:start]) == phrase:
                words = tokens[start : min(end, start + 40)]
                found[phrase] = frozenset(each for each in words if each not in _STOP and not each.isdigit())
                current = at
        end = current
    return found


@lru_cache(maxsize=200_000)
def in_sight(observation: str, besides: Phrase, instruction: str) -> float:
    """Return how many words of the task the observation has, apart from those of a phrase."""
    task, _ = task_words(instruction)
    return float(sum(word in task for word in content_words(observation).difference(besides)))
