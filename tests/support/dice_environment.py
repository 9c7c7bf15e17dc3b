"""An environment that takes no notice of the agent: situations, rewards and the end are drawn from the reset's seed.

So episodes of a task differ however bad the agent is, and every scheme has something to compare.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from envs import ENVIRONMENTS, Environment, Task, TextEnv


class DiceEnv(TextEnv):
    """Situations 0 to 2; a step earns -1, 0 or 1; three episodes in ten end after each step.

    Args:
        broken, stuck: number of a task that cannot be begun, or whose beginning never ends.
    """

    name = "dice"

    def __init__(
        self,
        split: str = "all",
        tasks: int = 4,
        max_steps: int = 4,
        broken: int | None = None,
        stuck: int | None = None,
    ) -> None:
        super().__init__(max_steps)
        self.split, self.broken, self.stuck = split, broken, stuck
        self._tasks = [Task(f"dice-{split}-{number}", f"dice:{number}", "Dice", number) for number in range(tasks)]
        self._place = 0

    @property
    def tasks(self) -> Sequence[Task]:
        return self._tasks

    @property
    def digest(self) -> str:
        return f"dice-{self.max_steps}"

    def _start(self, task: Task) -> tuple[str, dict[str, Any]]:
        if task.index == self.broken:
            raise RuntimeError("this task cannot be begun")
        if task.index == self.stuck:
            time.sleep(600)
        self._about = {"instruction": f"throw {task.index}"}
        return self._throw(False)

    def _act(self, action: str) -> tuple[str, float, bool, dict[str, Any]]:
        reward, done = float(self.np_random.integers(-1, 2)), bool(self.np_random.random() < 0.3)
        observation, info = self._throw(done)
        return observation, reward, done, info

    def _throw(self, won: bool) -> tuple[str, dict[str, Any]]:
        self._place = int(self.np_random.integers(3))
        info = {"anchor": str(self._place), "admissible_actions": ["throw"], "is_valid": True}
        return f"You are at {self._place}.", {**info, "won": won, "score": float(won)}

    def _save(self) -> Any:
        return self._place

    def _load(self, state: Any) -> dict[str, Any]:
        self._place = state
        return {"anchor": str(state), "admissible_actions": ["throw"], "is_valid": True, "won": False, "score": 0.0}


DICE = Environment("dice", "agentbench/Dice-v0", "dice_environment:DiceEnv", "a test environment")


def register() -> None:
    """Make ``dice`` an environment."""
    ENVIRONMENTS["dice"] = DICE
