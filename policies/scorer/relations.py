"""Relational features: what an action has to do with the task, the observation and the past, in any text game.

Nothing here knows a benchmark. An action is read as a verb and up to two phrases (``take`` / ``mug 1`` / ``desk 2``;
``click`` / ``large``); its features say which of their words stand in the task and in the observation, whether and how
long ago the action or its phrases occurred in the episode, and what was seen the last time.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from policies.contract import Prompt, Turn

VERBS, WORDS = 64, 4096
"""Number of hash buckets for verbs and for words."""
MAX_TASK_WORDS = 24
"""Words of the task that are looked at; later ones are passed over."""
ACTION_FEATURES = 28
STATE_FEATURES = 4

_JOINTS = frozenset(("from", "to", "with", "in", "on", "into", "onto", "under", "at", "using"))
_STOP = _JOINTS | frozenset(("a", "an", "the", "and", "or", "it", "is", "some", "of", "you", "your", "for", "that"))
_TOKEN = re.compile(r"[a-z0-9]+")

Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """An action, taken apart.

    Attributes:
        verb: bucket of the first word, in [0, VERBS).
        phrases: first and last phrase; the same one twice if there is only one, empty ones if none.
        words: bucket of the first word of each phrase, in [0, WORDS); 0 for an empty phrase.
    """

    verb: int
    phrases: tuple[Phrase, Phrase]
    words: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Features:
    """One decision, as numbers.

    Attributes:
        task_words: int64, shape (MAX_TASK_WORDS,): buckets of the task's words, 0 where there are no more.
        state: float32, shape (STATE_FEATURES + 3 * VERBS,): the step, how much of the task is in sight, which
            verbs are offered, which were used and which were used on something that the task names.
        last_verb: bucket of the verb of the last action; 0 at the start.
        verbs: int64, shape (actions,).
        words: int64, shape (actions, 2).
        relations: float32, shape (actions, ACTION_FEATURES).
    """

    task_words: npt.NDArray[np.int64]
    state: npt.NDArray[np.float32]
    last_verb: int
    verbs: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]
    relations: npt.NDArray[np.float32]


def bucket(word: str, buckets: int) -> int:
    """Hash a word into [1, buckets): the same in every process."""
    return 1 + zlib.crc32(word.encode()) % (buckets - 1)


@lru_cache(maxsize=200_000)
def parse(action: str) -> Parsed:
    """Take an action apart: ``verb phrase``, ``verb phrase joint phrase`` or ``verb[phrase]``."""
    tokens = _TOKEN.findall(action.lower())
    if not tokens:
        return Parsed(0, ((), ()), (0, 0))
    phrases: list[list[str]] = [[]]
    for token in tokens[1:]:
        if token in _JOINTS:
            phrases.append([])
        else:
            phrases[-1].append(token)
    found = [tuple(phrase) for phrase in phrases if phrase] or [()]
    first, last = found[0], found[-1]
    words = tuple(bucket(phrase[0], WORDS) if phrase else 0 for phrase in (first, last))
    return Parsed(bucket(tokens[0], VERBS), (first, last), (words[0], words[1]))


@lru_cache(maxsize=50_000)
def content_words(text: str) -> frozenset[str]:
    """Return the words of a text that mean something: no numbers, no function words."""
    return frozenset(token for token in _TOKEN.findall(text.lower()) if token not in _STOP and not token.isdigit())


@lru_cache(maxsize=20_000)
def _task(instruction: str) -> tuple[dict[str, float], npt.NDArray[np.int64]]:
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
def _in_task(phrase: Phrase, instruction: str) -> tuple[float, float]:
    """Return the share of a phrase's words that stand in the task (numbers do not count), and where the last does."""
    task, _ = _task(instruction)
    words = [word for word in phrase if not word.isdigit()]
    share = sum(word in task for word in words) / len(words) if words else 0.0
    return share, max((task.get(word, 0.0) for word in phrase), default=0.0)


@lru_cache(maxsize=200_000)
def _in_sight(observation: str, besides: Phrase, instruction: str) -> float:
    """Return how many words of the task the observation has, apart from those of a phrase."""
    task, _ = _task(instruction)
    return float(sum(word in task for word in content_words(observation).difference(besides)))


class _Past:
    """What happened in the episode so far, gathered in one pass over its turns."""

    def __init__(self, prompt: Prompt, instruction: str) -> None:
        self.now = len(prompt.history)
        self.actions: dict[str, tuple[int, int]] = {}
        self.phrases: dict[Phrase, tuple[int, int]] = {}
        self.firsts: dict[Phrase, int] = {}
        self.seen: dict[Phrase, float] = {}
        self.verbs = [0] * VERBS
        self.task_verbs = [0] * VERBS
        self.last = Parsed(0, ((), ()), (0, 0))
        for when, turn in enumerate(prompt.history):
            last_turn = when + 1 == self.now
            after = prompt.observation if last_turn else prompt.history[when + 1].observation
            parsed = self.last = parse(turn.action)
            self._count(turn, parsed, when)
            first, last = parsed.phrases
            if after != turn.observation and _in_task(first, instruction)[0] > 0:
                self.task_verbs[parsed.verb] += 1
                self.firsts[first] = parsed.verb
            if last:
                self.seen[last] = _in_sight(after, last, instruction)

    def _count(self, turn: Turn, parsed: Parsed, when: int) -> None:
        self.verbs[parsed.verb] += 1
        self.actions[turn.action] = (self.actions.get(turn.action, _NEVER)[0] + 1, when)
        first, last = parsed.phrases
        self.phrases[first] = (self.phrases.get(first, _NEVER)[0] + 1, when)
        if last != first:
            self.phrases[last] = (self.phrases.get(last, _NEVER)[0] + 1, when)


_NEVER = (0, -1)


def features(prompt: Prompt, actions: Sequence[str]) -> Features:
    """Describe a decision among ``actions`` (at least one).

    The task's text is ``info["instruction"]``.
    """
    instruction: str = prompt.info["instruction"]
    _, task_words = _task(instruction)
    past = _Past(prompt, instruction)
    parsed = [parse(action) for action in actions]
    offered = [0] * VERBS
    mentions: dict[Phrase, int] = {}
    for each in parsed:
        offered[each.verb] += 1
        first, last = each.phrases
        mentions[first] = mentions.get(first, 0) + 1
        if last != first:
            mentions[last] = mentions.get(last, 0) + 1
    sight = content_words(prompt.observation)
    about = {phrase: _phrase(phrase, past, instruction, sight, count) for phrase, count in mentions.items()}
    rows = [
        _relations(action, each, past) + about[each.phrases[0]] + about[each.phrases[1]]
        for action, each in zip(actions, parsed, strict=True)
    ]
    here = [past.now / 50, _in_sight(prompt.observation, (), instruction) / 4, len(actions) / 50, float(past.now == 0)]
    counts = np.log1p(np.array(offered + past.verbs, np.float32))
    return Features(
        task_words=task_words,
        state=np.concatenate([np.array(here, np.float32), counts, np.array(past.task_verbs, np.float32)]),
        last_verb=past.last.verb,
        verbs=np.fromiter((each.verb for each in parsed), np.int64, len(parsed)),
        words=np.array([each.words for each in parsed], np.int64),
        relations=np.array(rows, np.float32),
    )


def _relations(action: str, parsed: Parsed, past: _Past) -> list[float]:
    """Describe an action as a whole: 8 numbers."""
    times, when = past.actions.get(action, _NEVER)
    first, last = parsed.phrases
    return [
        float(times > 0),
        min(times, 4) / 4,
        1 / (past.now - when) if times else 0.0,
        float(parsed.verb == past.last.verb),
        float(past.verbs[parsed.verb] > 0),
        float(min(past.task_verbs[parsed.verb], 3)),
        float(first != last),
        float(past.firsts.get(first, -1) == parsed.verb),
    ]


def _phrase(phrase: Phrase, past: _Past, instruction: str, sight: frozenset[str], mentions: int) -> list[float]:
    """Describe a phrase of an action: 10 numbers."""
    share, place = _in_task(phrase, instruction)
    seen, when = past.phrases.get(phrase, _NEVER)
    return [
        share,
        place,
        sum(word in sight for word in phrase) / max(1, len(phrase)),
        float(seen > 0),
        min(seen, 6) / 6,
        1 / (past.now - when) if seen else 0.0,
        float(phrase in past.last.phrases),
        min(past.seen.get(phrase, 0.0), 3.0),
        float(phrase in past.firsts),
        min(mentions, 8) / 8,
    ]
