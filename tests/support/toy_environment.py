"""A counting game whose workers can be made to fail: for tests of the rollout pool and the run store."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs import ENVIRONMENTS, Environment, Task, TextEnv


class ToyEnv(TextEnv):
    """Say ``up`` until the number of the task is reached. Task k needs k + 1 steps; other words do nothing.

    Args:
        tasks: how many tasks there are.
        faults: ``{task index: fault}``; a fault is ``kill``, ``sleep``, ``raise`` or ``grow``.
        times: how often each fault happens (counted in ``folder``); None for every time.
        delay: seconds that each step takes.
        present: folder in which each process leaves a file, named by its id, when it begins an episode, and one more,
            ``ID-starting``, when it makes the environment.
        start_delay: seconds that making the environment takes.
        plays: folder in which each task has a file, with a byte for every time that it was begun.
    """

    name = "toy"

    def __init__(
        self,
        split: str = "all",
        tasks: int = 6,
        faults: dict[str, str] | None = None,
        times: int | None = None,
        folder: str | None = None,
        delay: float = 0.0,
        max_steps: int = 10,
        present: str | None = None,
        start_delay: float = 0.0,
        plays: str | None = None,
    ) -> None:
        super().__init__(max_steps)
        self.split = split
        self._tasks = [
            Task(hashlib.sha256(f"toy {k}".encode()).hexdigest()[:12], f"toy:{k}", "Odd" if k % 2 else "Even", k)
            for k in range(tasks)
        ]
        if split == "last":
            self._tasks = self._tasks[-1:]
        self._faults = {int(k): fault for k, fault in (faults or {}).items()}
        self._times, self._folder, self._delay, self._present = times, folder, delay, present
        self._plays = plays
        if self._present:
            (Path(self._present) / f"{os.getpid()}-starting").touch()
        time.sleep(start_delay)
        self._count = 0
        self._hoard: list[bytes] = []

    @property
    def tasks(self) -> Sequence[Task]:
        return self._tasks

    @property
    def digest(self) -> str:
        return f"toy-{self.max_steps}"

    def _start(self, task: Task) -> tuple[str, dict[str, Any]]:
        self._count = 0
        if self._present:
            (Path(self._present) / str(os.getpid())).touch()
        if self._plays:
            with (Path(self._plays) / task.name).open("ab") as file:
                file.write(b".")
        self._about = {"instruction": f"count to {task.index + 1}", "walkthrough": ["up"] * (task.index + 1)}
        return f"count to {task.index + 1}", self._info(True)

    def _act(self, action: str) -> tuple[str, float, bool, dict[str, Any]]:
        if self._delay:  # even a sleep of nothing lets all other threads go first
            time.sleep(self._delay)
        assert self._task is not None
        self._fail(self._task.index)
        is_valid = action == "up"
        self._count += is_valid
        info = self._info(is_valid)
        return f"at {self._count}", float(info["won"]), info["won"], info

    def _save(self) -> int:
        return self._count

    def _load(self, state: int) -> dict[str, Any]:
        self._count = state
        return self._info(True)

    def _info(self, is_valid: bool) -> dict[str, Any]:
        assert self._task is not None
        goal = self._task.index + 1
        return {
            "anchor": f"at {self._count}",
            "admissible_actions": ["stay", "up"],
            "is_valid": is_valid,
            "won": self._count >= goal,
            "score": min(1.0, self._count / goal),
        }

    def _fail(self, index: int) -> None:
        fault = self._faults.get(index)
        if fault is None or (self._times is not None and not self._take_turn(index)):
            return
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "sleep":
            time.sleep(3600)
        elif fault == "raise":
            raise RuntimeError("the toy is broken")
        elif fault == "grow":
            self._hoard.append(os.urandom(1) * 400_000_000)
            time.sleep(3600)

    def _take_turn(self, index: int) -> bool:
        """Tell whether the fault is still to happen, counting in files that outlive the process."""
        assert self._folder is not None and self._times is not None
        for turn in range(self._times):
            try:
                (Path(self._folder) / f"fault-{index}-{turn}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False


ENVIRONMENTS["toy"] = Environment("toy", "agentbench/Toy-v0", "toy_environment:ToyEnv", "counting, for tests")


class UpPolicy:
    """Says ``up``, except on the tasks whose index is in ``lazy``."""

    name = "up"

    def __init__(self, lazy: Sequence[int] = ()) -> None:
        self.lazy = set(lazy)

    @property
    def digest(self) -> str:
        return f"up-{sorted(self.lazy)}"

    def act(self, prompts: Sequence[Any]) -> list[Any]:
        from policies.contract import Response

        return [Response("stay" if prompt.task.index in self.lazy else "up") for prompt in prompts]
