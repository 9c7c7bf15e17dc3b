"""Relational features: what an action has to do with the task, the observation and the past, in any text game.

Nothing here knows a benchmark. An action is read as a verb and up to two phrases (``take`` / ``mug 1`` / ``desk 2``;
``click`` / ``large``); its features say which of their words stand in the task and in the observation, whether and how
long ago the action or its phrases occurred in the episode, and what was seen the last time.

Most of a decision is like the one before: what depends on the actions on offer and the task alone is kept, and only
the actions and phrases that occurred before are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from policies.contract import Prompt
from policies.scorer.past import Past, past_of
from policies.scorer.reading import (
    VERBS,
    Phrase,
    content_words,
    in_sight,
    in_task,
    parse,
    passages,
    run_in_task,
    task_words,
)

ACTION_FEATURES = 34
STATE_FEATURES = 4

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Features:
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


@dataclass(frozen=True, slots=True)
class Offer:
    """The actions of a decision and their phrases, apart from what happened before.

    Attributes:
        verbs: int64, shape (actions,).
        words: int64, shape (actions, 2).
        actions: float32, shape (actions, 8), see :func:`_relations`.
        phrases: float32, shape (phrases, 13), see :func:`_phrases`.
        first, last: int64, shape (actions,): rows of the actions' phrases.
        places: the row of each phrase.
        rows: the row of each action.
        offered: float32, shape (VERBS,): number of actions with each verb.
    """

    verbs: Integers
    words: Integers
    actions: Floats
    phrases: Floats
    first: Integers
    last: Integers
    places: dict[Phrase, int]
    rows: dict[str, int]
    offered: Floats


@lru_cache(maxsize=4096)
def _offer(actions: tuple[str, ...], instruction: str) -> Offer:
    parsed = [parse(action) for action in actions]
    places: dict[Phrase, int] = {}
    for each in parsed:
        for phrase in each.phrases:
            places.setdefault(phrase, len(places))
    first = np.array([places[each.phrases[0]] for each in parsed], np.int64)
    last = np.array([places[each.phrases[1]] for each in parsed], np.int64)
    mentions = np.bincount(first, minlength=len(places)) + np.bincount(last[last != first], minlength=len(places))
    about = np.zeros((len(places), 13), np.float32)
    about[:, :2] = [in_task(phrase, instruction) for phrase in places]
    about[:, 9] = np.minimum(mentions, 8) / 8
    about[:, 10] = [min(run_in_task(phrase, instruction), 4) / 4 for phrase in places]
    alone = np.zeros((len(actions), 8), np.float32)
    alone[:, 6] = first != last
    verbs = np.fromiter((each.verb for each in parsed), np.int64, len(parsed))
    words = np.array([each.words for each in parsed], np.int64)
    rows = {action: row for row, action in enumerate(actions)}
    offered = np.bincount(verbs, minlength=VERBS).astype(np.float32)
    return Offer(verbs, words, alone, about, first, last, places, rows, offered)


@lru_cache(maxsize=4096)
def _view(actions: tuple[str, ...], instruction: str, observation: str) -> Floats:
    """Return what the observation says of the phrases, shape (phrases, 3): share of the phrase's words in it; how
    much of the task stands behind it there; is that the most of all."""
    places = _offer(actions, instruction).places
    sight, behind = content_words(observation), passages(observation, places)
    task = content_words(instruction)
    found = np.zeros((len(places), 3), np.float32)
    for row, phrase in enumerate(places):
        found[row, 0] = sum(map(sight.__contains__, phrase)) / max(1, len(phrase))
        found[row, 1] = len(behind.get(phrase, _NO_WORDS) & task) / max(1, len(task))
    most = found[:, 1].max()
    found[:, 2] = (found[:, 1] == most) & (most > 0)
    return found


_NO_WORDS: frozenset[str] = frozenset()


def features(prompt: Prompt, actions: Sequence[str]) -> Features:
    """Describe a decision among ``actions`` (at least one).

    The task's text is ``info["instruction"]``.
    """
    instruction: str = prompt.info["instruction"]
    _, words = task_words(instruction)
    past = past_of(prompt)
    offer = _offer(tuple(actions), instruction)
    about = _phrases(offer, past, _view(tuple(actions), instruction, prompt.observation))
    relations = np.concatenate([_relations(offer, past), about[offer.first], about[offer.last]], axis=1)
    here = [past.now / 50, in_sight(prompt.observation, (), instruction) / 4, len(actions) / 50, float(past.now == 0)]
    verbs = np.array(past.verbs + past.task_verbs, np.float32)
    state = np.concatenate(
        [np.array(here, np.float32), np.log1p(offer.offered), np.log1p(verbs[:VERBS]), verbs[VERBS:]]
    )
    own, rows = _distinct(offer, relations)
    return Features(words, state, past.last.verb, rows, offer.verbs[own], offer.words[own], relations[own])


def _distinct(offer: Offer, relations: Floats) -> tuple[Integers, Integers]:
    """Return one action of each kind that can be distinguished, and the kind of each action."""
    described = np.column_stack([offer.verbs, offer.words, relations])
    kinds: dict[bytes, int] = {}
    rows = [kinds.setdefault(each, len(kinds)) for each in map(np.ndarray.tobytes, described)]
    own = np.zeros(len(kinds), np.int64)
    own[rows[::-1]] = np.arange(len(rows))[::-1]
    return own, np.array(rows, np.int64)


def _relations(offer: Offer, past: Past) -> Floats:
    """Describe the actions as wholes, shape (actions, 8): was it taken, how often, how long ago; was its verb used
    last, at all, on what the task names; has it two phrases; is it what was last done with its first phrase."""
    found = offer.actions.copy()
    for action, (times, when) in past.actions.items():
        if (row := offer.rows.get(action)) is not None:
            found[row, :3] = 1.0, min(times, 4) / 4, 1 / (past.now - when)
    found[:, 3] = offer.verbs == past.last.verb
    found[:, 4] = np.array(past.verbs)[offer.verbs] > 0
    found[:, 5] = np.minimum(np.array(past.task_verbs)[offer.verbs], 3)
    for phrase, verb in past.firsts.items():
        if (place := offer.places.get(phrase)) is not None:
            found[:, 7] += (offer.first == place) & (offer.verbs == verb)
    return found


def _phrases(offer: Offer, past: Past, view: Floats) -> Floats:
    """Describe the phrases of the actions, shape (phrases, 13): share of its words in the task, and where; share in
    sight; was it used, how often, how long ago, just now; how much of the task was seen there; was it changed; how
    many of the actions name it; how long a run of the task's words it is; how much of the task is said of it."""
    found = offer.phrases.copy()
    found[:, 2] = view[:, 0]
    found[:, 11:] = view[:, 1:]
    for phrase, (times, when) in past.phrases.items():
        if (place := offer.places.get(phrase)) is not None:
            seen = min(past.seen.get(phrase, 0.0), 3.0)
            found[place, 3:9] = (
                1.0, min(times, 6) / 6, 1 / (past.now - when), phrase in past.last.phrases, seen, phrase in past.firsts,
            )  # fmt: skip
    return found
