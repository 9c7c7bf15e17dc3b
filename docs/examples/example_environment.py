"""An environment of one's own: guess a hidden number; every answer says whether it is higher or lower."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from envs import Info, Task, TextEnv


class GuessEnv(TextEnv):
    """Guess a number from 1 to LARGEST: one task for each number."""

    name = "guess"

    def __init__(self, largest: int = 8, max_steps: int = 10, split: Literal["all"] = "all") -> None:
        super().__init__(max_steps)
        self.largest, self._low, self._high = largest, 1, largest
        ids = [hashlib.sha256(f"guess {number}".encode()).hexdigest()[:12] for number in range(1, largest + 1)]
        self._tasks = [Task(key, f"number:{i + 1}", "even" if i % 2 else "odd", i) for i, key in enumerate(ids)]

    @property
    def tasks(self) -> Sequence[Task]:
        """One task for each number."""
        return self._tasks

    @property
    def digest(self) -> str:
        """All that decides how an episode goes, and a number that rises with the code."""
        return f"guess-1-{self.largest}-{self.max_steps}"

    def _start(self, task: Task) -> tuple[str, Info]:
        self._low, self._high = 1, self.largest
        self._about = {"instruction": "Guess the number.", "walkthrough": [f"guess {task.index + 1}"]}
        return f"Guess a number from {self._low} to {self._high}.", self._info(won=False)

    def _act(self, action: str) -> tuple[str, float, bool, Info]:
        assert self._task is not None
        # any string is legal; one that means nothing changes nothing
        if action not in self._info(won=False)["admissible_actions"]:
            return "I do not understand.", 0.0, False, self._info(won=False, is_valid=False)
        number, hidden = int(action.removeprefix("guess ")), self._task.index + 1
        if number == hidden:
            return "Yes!", 1.0, True, self._info(won=True)
        self._low, self._high = (number + 1, self._high) if number < hidden else (self._low, number - 1)
        return "Higher." if number < hidden else "Lower.", 0.0, False, self._info(won=False)

    def _save(self) -> tuple[int, int]:
        return (self._low, self._high)

    def _load(self, state: Any) -> Info:
        self._low, self._high = state
        return self._info(won=False)

    def _info(self, *, won: bool, is_valid: bool = True) -> Info:
        offered = [f"guess {number}" for number in range(self._low, self._high + 1)]
        about = {"anchor": f"{self._low}-{self._high}-{won}", "admissible_actions": offered, "is_valid": is_valid}
        return {**about, "won": won, "score": float(won)}
