"""Environments that are a trial for the processes that host them: for tests of workers."""

from __future__ import annotations

import threading
from typing import Any

from toy_environment import ToyEnv

from envs import ENVIRONMENTS, Environment

threading.Thread(target=threading.Event().wait, daemon=True, name="of the module").start()


class Unpicklable(ToyEnv):
    """Shows what no other process can be given, in one of its tasks."""

    name = "unpicklable"

    def _info(self, is_valid: bool) -> dict[str, Any]:
        info = super()._info(is_valid)
        assert self._task is not None
        if self._task.index == 2:
            info["odd"] = lambda: None
        return info


ENVIRONMENTS["unpicklable"] = Environment(
    "unpicklable", "agentbench/Unpicklable-v0", "odd_environments:Unpicklable", "for tests"
)
