"""What happened in an episode so far, carried on turn by turn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice, pairwise
from operator import is_

import numpy as np
import numpy.typing as npt

from policies.contract import Prompt, Turn
from policies.scorer.lexicon import Lexicon, lexicon_of
from policies.scorer.reading import VERBS, in_sight

_KEPT = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """The turns before a prompt as the scorer remembers them. It never changes.

    Attributes:
        lexicon: which gives actions and phrases their numbers.
        history, observation: of the prompt.
        last_verb: bucket of the verb of the last action; 0 at the start.
        verbs: int64, shape (2 * VERBS,): how often each verb was used; and where it changed something that the task
            names.
        actions: for each action how often it was taken, and in which turn last.
        phrases: for each phrase of these how often it was named, and in which turn last; how much of the task was in
            sight there the last time; and the last verb that changed it, if the task names it, else -1.
    """

    lexicon: Lexicon
    history: tuple[Turn, ...]
    observation: str
    last_verb: int
    verbs: npt.NDArray[np.int64]
    actions: dict[int, tuple[int, int]]
    phrases: dict[int, tuple[int, int, float, int]]

    def after(self, turn: Turn, observation: str) -> Past:
        """Return the past after one turn more, and the observation that followed it."""
        lexicon, now = self.lexicon, len(self.history)
        action = lexicon.number(turn.action)
        verb, _, _, first, last = lexicon.parts[action]
        verbs, actions, phrases = self.verbs.copy(), self.actions.copy(), self.phrases.copy()
        verbs[verb] += 1
        actions[action] = (actions[action][0] + 1 if action in actions else 1, now)
        for phrase in (first,) if first == last else (first, last):
            times, _, seen, changed = phrases.get(phrase, (0, -1, 0.0, -1))
            if phrase == first and observation != turn.observation and lexicon.about[first][0] > 0:
                verbs[VERBS + verb] += 1
                changed = verb
            if phrase == last and lexicon.phrases[last]:
                seen = in_sight(observation, lexicon.phrases[last], lexicon.instruction)
            phrases[phrase] = (times + 1, now, seen, changed)
        return Past(lexicon, (*self.history, turn), observation, verb, verbs, actions, phrases)


_known: dict[int, Past] = {}
"""Pasts by the identity of their last turn, which they keep alive."""


def past_of(prompt: Prompt) -> Past:
    """Return the past of a prompt; quick if the prompt before it, of the same episode, was asked for.

    The one before is found by its last turn, an object that :meth:`Prompt.after` hands on, so that an episode costs one
    pass over its turns and not one a step. Only speed depends on what is kept.
    """
    instruction, history = prompt.info["instruction"], tuple(prompt.history)
    if not history:
        return _start(instruction, prompt.observation)
    past = _before(instruction, history).after(history[-1], prompt.observation)
    if len(_known) >= _KEPT:
        for key in list(islice(_known, _KEPT // 2)):  # the oldest
            _known.pop(key, None)
    _known[id(history[-1])] = past
    return past


def _start(instruction: str, observation: str) -> Past:
    return Past(lexicon_of(instruction), (), observation, 0, np.zeros(2 * VERBS, np.int64), {}, {})


def _before(instruction: str, history: tuple[Turn, ...]) -> Past:
    """Return the past of the prompt before the last turn of a history."""
    if len(history) > 1:
        past = _known.get(id(history[-2]))
        if past is not None and _leads_to(past, instruction, history):
            return past
    past = _start(instruction, history[0].observation)
    for turn, following in pairwise(history):
        past = past.after(turn, following.observation)
    return past


def _leads_to(past: Past, instruction: str, history: tuple[Turn, ...]) -> bool:
    is_own = past.lexicon.instruction == instruction and past.observation == history[-1].observation
    return is_own and len(past.history) == len(history) - 1 and all(map(is_, past.history, history))
