"""The actions and phrases of one task, each read once and then known by its number."""

from __future__ import annotations

import threading

from policies.scorer.reading import Phrase, content_words, in_task, is_code, parse, run_in_task, task_words

_MOST_ACTIONS, _MOST_LEXICONS = 20_000, 256

_adding = threading.Lock()


class Lexicon:
    """What can be said of actions and phrases from the task alone.

    Attributes:
        instruction: text of the task.
        buckets: int64, shape (MAX_TASK_WORDS,): buckets of the task's words.
        content: the task's content words.
        actions: number of each action.
        parts: of each action: bucket of its verb, buckets of its two words, numbers of its first and last phrase.
        phrases: by number.
        codes: numbers of the phrases that begin with a code.
        about: of each phrase: share of its words in the task, where the last stands, how long a run of the task it is
            (at most 4, in quarters).
    """

    def __init__(self, instruction: str) -> None:
        self.instruction = instruction
        self.buckets = task_words(instruction)[1]
        self.content = content_words(instruction)
        self.actions: dict[str, int] = {}
        self.parts: list[tuple[int, int, int, int, int]] = []
        self.phrases: list[Phrase] = []
        self.codes: set[int] = set()
        self.about: list[tuple[float, float, float]] = []
        self._places: dict[Phrase, int] = {}

    def number(self, action: str) -> int:
        """Return the number of an action, a new one if need be."""
        found = self.actions.get(action)
        return self._add(action) if found is None else found

    def _add(self, action: str) -> int:
        with _adding:
            if action not in self.actions:
                parsed = parse(action)
                first, last = map(self._phrase, parsed.phrases)
                self.parts.append((parsed.verb, *parsed.words, first, last))
                self.actions[action] = len(self.parts) - 1
            return self.actions[action]

    def _phrase(self, phrase: Phrase) -> int:
        place = self._places.setdefault(phrase, len(self.phrases))
        if place == len(self.phrases):
            share, where = in_task(phrase, self.instruction)
            self.phrases.append(phrase)
            if phrase and is_code(phrase[0]):
                self.codes.add(place)
            self.about.append((share, where, min(run_in_task(phrase, self.instruction), 4) / 4))
        return place


_lexicons: dict[str, Lexicon] = {}


def lexicon_of(instruction: str) -> Lexicon:
    """Return the lexicon of a task: the one in use, if it has not grown too large."""
    found = _lexicons.get(instruction)
    if found is None or len(found.parts) > _MOST_ACTIONS:
        if len(_lexicons) >= _MOST_LEXICONS:
            _lexicons.clear()
        found = _lexicons[instruction] = Lexicon(instruction)
    return found
