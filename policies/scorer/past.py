"""What happened in an episode so far, kept up turn by turn."""

from __future__ import annotations

from itertools import pairwise

from policies.contract import Prompt, Turn
from policies.scorer.reading import VERBS, ActionParts, Phrase, in_sight, in_task, parse

NEVER = (0, -1)
"""How often and when last, of what never occurred."""

_NOTHING = ActionParts(0, ((), ()), (0, 0))
_KEPT = 4096

Key = tuple[str, ...]


class Past:
    """The turns of an episode as the scorer remembers them.

    Attributes:
        now: number of turns.
        actions: for each action how often it was taken, and when last.
        phrases: the same for the phrases of the actions.
        firsts: for each phrase that the task names and that something was done with, the last such verb.
        seen: for each place how much of the task was in sight there the last time.
        verbs: how often each verb was used, shape (VERBS,).
        task_verbs: the same, where it changed something that the task names.
        last: the last action.
    """

    def __init__(self, instruction: str) -> None:
        self.instruction = instruction
        self.now = 0
        self.actions: dict[str, tuple[int, int]] = {}
        self.phrases: dict[Phrase, tuple[int, int]] = {}
        self.firsts: dict[Phrase, int] = {}
        self.seen: dict[Phrase, float] = {}
        self.verbs = [0] * VERBS
        self.task_verbs = [0] * VERBS
        self.last = _NOTHING

    def add(self, turn: Turn, after: str) -> None:
        """Take in a turn, and the observation that followed it."""
        parsed = self.last = parse(turn.action)
        self.verbs[parsed.verb] += 1
        self.actions[turn.action] = (self.actions.get(turn.action, NEVER)[0] + 1, self.now)
        first, last = parsed.phrases
        self.phrases[first] = (self.phrases.get(first, NEVER)[0] + 1, self.now)
        if last != first:
            self.phrases[last] = (self.phrases.get(last, NEVER)[0] + 1, self.now)
        if after != turn.observation and in_task(first, self.instruction)[0] > 0:
            self.task_verbs[parsed.verb] += 1
            self.firsts[first] = parsed.verb
        if last:
            self.seen[last] = in_sight(after, last, self.instruction)
        self.now += 1


_known: dict[Key, Past] = {}


def past_of(prompt: Prompt) -> Past:
    """Return the past of a prompt; quick if the prompt before it, of the same episode, was asked for.

    The one before is taken out and carried on, so that an episode costs one pass over its turns and not one a step.
    Only speed depends on what is kept.
    """
    instruction, history = prompt.info["instruction"], prompt.history
    texts: Key = (instruction, *(text for turn in history for text in (turn.observation, turn.action)))
    past = _known.pop(texts[:-1], None) if history else None
    if past is None:
        past = Past(instruction)
        for turn, following in pairwise(history):
            past.add(turn, following.observation)
    if history:
        past.add(history[-1], prompt.observation)
    if len(_known) >= _KEPT:
        _known.clear()
    _known[*texts, prompt.observation] = past
    return past
