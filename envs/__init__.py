"""Environments: Gymnasium text environments of the benchmarks, and the list of what there is.

Names are imported on first use: whoever needs only an error class does not wait for Gymnasium.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.base.errors import UserError
    from envs.contract import Info, Task, TextEnv
    from envs.registry import ENVIRONMENTS, Environment, make, register

_WHERE = {
    "ENVIRONMENTS": "envs.registry",
    "Environment": "envs.registry",
    "Info": "envs.contract",
    "Task": "envs.contract",
    "TextEnv": "envs.contract",
    "UserError": "envs.base.errors",
    "make": "envs.registry",
    "register": "envs.registry",
}
__all__ = ["ENVIRONMENTS", "Environment", "Info", "Task", "TextEnv", "UserError", "make", "register"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'envs' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return value
