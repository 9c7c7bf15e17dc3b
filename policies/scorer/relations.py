"""Relational features: what an action has to do with the task, the observation and the past, in any text game.

Nothing here knows a benchmark. An action is read as a verb and up to two phrases (``take`` / ``mug 1`` / ``desk 2``;
``click`` / ``large``); its features say which of their words stand in the task and in the observation, whether and how
long ago the action or its phrases occurred in the episode, and what was seen the last time.

What depends on the actions on offer and the task alone is kept, and all decisions of a batch are described at once:
a decision has two dozen actions, and each of the many small steps costs an array of a thousand little more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise, repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from policies.contract import Prompt
from policies.scorer.lexicon import Lexicon
from policies.scorer.past import Past, past_of
from policies.scorer.reading import VERBS, WORDS, Phrase, bucket, content_words, in_sight, passages

ACTION_FEATURES = 34
STATE_FEATURES = 4

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Features(NamedTuple):
    """One decision, as numbers. Actions that look alike (``open drawer 2``, ``open drawer 3``) share a row.

    Attributes:
        task_words: int64, shape (MAX_TASK_WORDS,): buckets of the task's words, 0 where there are no more.
        state: float32, shape (STATE_FEATURES + 3 * VERBS,): the step, how much of the task is in sight, which
            verbs are offered, which were used and which were used on something that the task names.
        last_verb: bucket of the verb of the last action; 0 at the start.
        rows: int64, shape (actions,): the row of each action in what follows.
        verbs: int64, shape (rows,).
        words: int64, shape (rows, 2).
        relations: float32, shape (rows, ACTION_FEATURES).
    """

    task_words: Integers
    state: Floats
    last_verb: int
    rows: Integers
    verbs: Integers
    words: Integers
    relations: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """The actions of a decision and their phrases, apart from what happened before.

    Attributes:
        parts: int64, shape (actions, 5): bucket of the verb, of two words, and rows of the first and last phrase.
        phrases: float64, shape (phrases, 3), see :class:`~policies.scorer.lexicon.Lexicon`.
        texts: the phrases.
        places: the row of each phrase, by its number in the lexicon.
        rows: the row of each action, by its number in the lexicon.
        task: the content words of the task.
    """

    parts: Integers
    phrases: FloatArray
    texts: list[Phrase]
    places: dict[int, int]
    rows: dict[int, int]
    task: frozenset[str]


@lru_cache(maxsize=4096)
def _offer(actions: tuple[str, ...], lexicon: Lexicon, codes: str) -> Offer:
    numbers = [lexicon.number(action) for action in actions]
    read = [lexicon.parts[number] for number in numbers]
    phrases = dict.fromkeys(phrase for parts in read for phrase in parts[3:])
    places = {phrase: place for place, phrase in enumerate(phrases)}
    met = lexicon.codes if codes == "place" else frozenset()
    # What was learned of one code says nothing of another: a code is read as its place among the codes on offer.
    order = {phrase: bucket(f"#{place}", WORDS) for place, phrase in enumerate(filter(met.__contains__, places))}
    parts = [
        (verb, order.get(first, one), order.get(last, two), places[first], places[last])
        for verb, one, two, first, last in read
    ]
    about = np.array([lexicon.about[phrase] for phrase in places])
    texts = [lexicon.phrases[phrase] for phrase in places]
    rows = {number: row for row, number in enumerate(numbers)}
    return Offer(np.array(parts, np.int64), about, texts, places, rows, lexicon.content)


@lru_cache(maxsize=4096)
def _view(offer: Offer, observation: str) -> Floats:
    """Return what the observation says of the phrases, shape (phrases, 3): share of the phrase's words in it; how
    much of the task stands behind it there; is that the most of all."""
    sight, task = content_words(observation), offer.task
    found = np.zeros((len(offer.texts), 3), np.float32)
    for row, phrase in enumerate(offer.texts):
        if not sight.isdisjoint(phrase):
            found[row, 0] = sum(map(sight.__contains__, phrase)) / len(phrase)
    if not sight.isdisjoint(task):
        behind = passages(observation, offer.texts)
        found[:, 1] = [len(behind.get(phrase, _NO_WORDS) & task) / len(task) for phrase in offer.texts]
        most = found[:, 1].max()
        found[:, 2] = (found[:, 1] == most) & (most > 0)
    return found


_NO_WORDS: frozenset[str] = frozenset()


def features(prompt: Prompt, actions: Sequence[str], codes: str = "place") -> Features:
    """Describe a decision among ``actions`` (at least one).

    The task's text is ``info["instruction"]``; ``codes`` is that of :class:`~policies.scorer.policy.ScorerPolicy`.
    """
    return features_of([prompt], [actions], codes)[0]


def features_of(prompts: Sequence[Prompt], offered: Sequence[Sequence[str]], codes: str = "place") -> list[Features]:
    """Describe several decisions (at least one), each as :func:`features` does."""
    pasts = [past_of(prompt) for prompt in prompts]
    offers = [_offer(tuple(actions), past.lexicon, codes) for actions, past in zip(offered, pasts, strict=True)]
    batch = _laid_out(pasts, offers)
    described = _described(batch, _phrases(batch))
    kinds, own = _distinct(described)
    firsts = kinds[batch.starts]
    rows = kinds - firsts[batch.decision]
    verbs, words, relations = batch.verbs[own], batch.words[own], described[:, 4:].take(own, 0)
    of_actions, of_rows = pairwise([*batch.starts.tolist(), len(rows)]), pairwise([*firsts.tolist(), len(own)])
    return [
        Features(past.lexicon.buckets, state, past.last_verb, rows[a:b], verbs[c:d], words[c:d], relations[c:d])
        for past, state, (a, b), (c, d) in zip(pasts, _state(batch), of_actions, of_rows, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Decisions with their actions and phrases laid end to end.

    Attributes:
        now: int64, shape (decisions,): number of turns so far.
        used: int64, shape (decisions, 2 * VERBS), see :class:`~policies.scorer.past.Past`.
        decision: int64, shape (actions,): which decision an action belongs to.
        starts, phrase_starts: int64, shape (decisions,): first action and first phrase of each decision.
        verbs, words: of the actions, see :class:`Offer`.
        first, last: int64, shape (actions,): their phrases, among those of all decisions.
    """

    pasts: list[Past]
    offers: list[Offer]
    now: Integers
    used: Integers
    decision: Integers
    starts: Integers
    phrase_starts: Integers
    verbs: Integers
    words: Integers
    first: Integers
    last: Integers


def _laid_out(pasts: list[Past], offers: list[Offer]) -> _Batch:
    counts = np.array([(len(offer.parts), len(offer.texts)) for offer in offers], np.int64)
    starts, phrase_starts = (counts.cumsum(0) - counts).T
    decision = np.repeat(np.arange(len(offers)), counts[:, 0])
    parts = np.concatenate([offer.parts for offer in offers])
    first, last = parts.T[3:] + phrase_starts[decision]
    used = np.concatenate([past.verbs for past in pasts]).reshape(len(pasts), -1)
    now = np.array([len(past.history) for past in pasts], np.int64)
    verbs, words = parts[:, 0].copy(), parts[:, 1:3].copy()
    return _Batch(pasts, offers, now, used, decision, starts, phrase_starts, verbs, words, first, last)


def _state(batch: _Batch) -> Floats:
    """Describe the decisions, shape (decisions, STATE_FEATURES + 3 * VERBS), see :class:`Features`."""
    sight = [in_sight(past.observation, (), past.lexicon.instruction) for past in batch.pasts]
    state = np.empty((len(sight), STATE_FEATURES + 3 * VERBS), np.float32)
    state[:, 0] = batch.now / 50
    state[:, 1] = np.array(sight) / 4
    state[:, 2] = np.array([len(offer.parts) for offer in batch.offers]) / 50
    state[:, 3] = batch.now == 0
    used = STATE_FEATURES + VERBS
    counts = np.bincount(VERBS * batch.decision + batch.verbs, minlength=VERBS * len(sight))
    state[:, STATE_FEATURES:used] = np.log1p(counts.reshape(-1, VERBS).astype(np.float32))
    state[:, used:] = batch.used
    state[:, used : used + VERBS] = np.log1p(batch.used[:, :VERBS].astype(np.float32))
    return state


def _distinct(described: Floats) -> tuple[Integers, Integers]:
    """Return the kind of each action, by all that describes it, and the first action of each kind."""
    kinds: dict[bytes, int] = {}
    # NumPy cuts zero bytes off the ends of such texts, which makes no two of the same length equal that are not.
    texts: list[bytes] = described.view(f"S{described.itemsize * described.shape[1]}").ravel().tolist()
    numbers = np.array([kinds.setdefault(text, len(kinds)) for text in texts], np.int64)
    own = np.zeros(len(kinds), np.int64)
    own[numbers[::-1]] = np.arange(len(texts))[::-1]
    return numbers, own


def _described(batch: _Batch, phrases: tuple[Floats, Integers]) -> Floats:
    """Describe the actions, shape (actions, 4 + ACTION_FEATURES): the number of the decision, the verb and the words;
    was it taken, how often, how long ago; was its verb used last, at all, on what the task names; has it two phrases;
    is it what was last done with its first phrase; its first phrase and its last one."""
    about, changed = phrases
    decision, verbs, first = batch.decision, batch.verbs, batch.first
    found = np.zeros((len(verbs), 4 + ACTION_FEATURES), np.float32)
    found[:, 0], found[:, 1], found[:, 2:4] = decision, verbs, batch.words
    pairs = zip(batch.pasts, batch.offers, strict=True)
    places = [list(map(offer.rows.get, past.actions, repeat(-1))) for past, offer in pairs]
    row, ago, (times, _) = _occurred(batch, places, [past.actions for past in batch.pasts], 2, batch.starts)
    found[row, 4] = 1.0
    found[row, 5] = np.minimum(times, 4) / 4
    found[row, 6] = 1 / ago
    found[:, 7] = verbs == np.array([past.last_verb for past in batch.pasts])[decision]
    found[:, 8] = batch.used[decision, verbs] > 0
    found[:, 9] = np.minimum(batch.used[decision, VERBS + verbs], 3)
    found[:, 10] = first != batch.last
    found[:, 11] = changed[first] == verbs
    found[:, 12:25] = about[first]
    found[:, 25:] = about[batch.last]
    return found


def _phrases(batch: _Batch) -> tuple[Floats, Integers]:
    """Describe the phrases of the actions, shape (phrases, 13): share of its words in the task, and where; share in
    sight; was it used, how often, how long ago, just now; how much of the task was seen there; was it changed; how
    many of the actions name it; how long a run of the task's words it is; how much of the task is said of it. And the
    last verb that changed it, else -1."""
    pairs = list(zip(batch.pasts, batch.offers, strict=True))
    about = np.concatenate([offer.phrases for offer in batch.offers])
    found = np.zeros((len(about), 13), np.float32)
    found[:, [0, 1, 10]] = about
    others = batch.last[batch.last != batch.first]
    mentions = np.bincount(batch.first, minlength=len(about)) + np.bincount(others, minlength=len(about))
    found[:, 9] = np.minimum(mentions, 8) / 8
    view = np.concatenate([_view(offer, past.observation) for past, offer in pairs])
    found[:, 2] = view[:, 0]
    found[:, 11:] = view[:, 1:]
    places = [list(map(offer.places.get, past.phrases, repeat(-1))) for past, offer in pairs]
    past_phrases = [past.phrases for past in batch.pasts]
    row, ago, (times, _, seen, verb) = _occurred(batch, places, past_phrases, 4, batch.phrase_starts)
    found[row, 3] = 1.0
    found[row, 4] = np.minimum(times, 6) / 6
    found[row, 5] = 1 / ago
    found[row, 6] = ago == 1
    found[row, 7] = np.minimum(seen, 3.0)
    found[row, 8] = verb >= 0
    changed = np.full(len(found), -1)
    changed[row] = verb
    return found, changed


def _occurred(
    batch: _Batch,
    places: list[list[int]],
    occurred: Sequence[Mapping[int, tuple[float, ...]]],
    width: int,
    starts: Integers,
) -> tuple[Integers, FloatArray, FloatArray]:
    """Return the rows of what is on offer and occurred before, how many turns ago, and all that is known of it.

    Args:
        batch: the decisions.
        places: for all that occurred before a decision its place among what that offers, or -1.
        occurred: how often, in which turn last, and further numbers, for the same: ``width`` in all.
        starts: first row of each decision.
    """
    place = np.fromiter(chain.from_iterable(places), np.int64)
    values = np.fromiter(chain.from_iterable(chain.from_iterable(each.values() for each in occurred)), np.float64)
    is_here = place >= 0
    decision = np.repeat(np.arange(len(places)), [len(each) for each in places])[is_here]
    values = values.reshape(len(place), width)[is_here].T
    return starts[decision] + place[is_here], batch.now[decision] - values[1], values
