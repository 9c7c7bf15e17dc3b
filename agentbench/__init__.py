"""Evaluate, train and compare language agents on long, multi-step tasks.

Importing this package registers the environments with Gymnasium. Everything public is reachable as
``agentbench.NAME``; it is imported on first use, so that ``import agentbench`` and the command line stay quick.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentbench.evaluation.evaluate import Result, evaluate
    from agentbench.runs.run import Run, load, open_run
    from credit import Steps, advantages
    from envs import Task, TextEnv, UserError, make
    from policies import Policy, Prompt, Response, make_policy

_WHERE = {
    "Policy": "policies",
    "Prompt": "policies",
    "Response": "policies",
    "Result": "agentbench.evaluation.evaluate",
    "Run": "agentbench.runs.run",
    "Steps": "credit",
    "Task": "envs",
    "TextEnv": "envs",
    "UserError": "envs",
    "advantages": "credit",
    "evaluate": "agentbench.evaluation.evaluate",
    "load": "agentbench.runs.run",
    "make": "envs",
    "make_policy": "policies",
    "open_run": "agentbench.runs.run",
}
__all__ = [
    "Policy",
    "Prompt",
    "Response",
    "Result",
    "Run",
    "Steps",
    "Task",
    "TextEnv",
    "UserError",
    "advantages",
    "evaluate",
    "load",
    "make",
    "make_policy",
    "open_run",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'agentbench' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])


def _check_rooms() -> None:
    """Make sure that ``envs``, ``policies`` and ``credit`` are ours: these names are common in research code."""
    here = Path(__file__).resolve().parent.parent
    for room in ("envs", "policies", "credit"):
        found = importlib.util.find_spec(room)
        origin = Path(found.origin).resolve() if found and found.origin else None
        if origin != here / room / "__init__.py":
            raise ImportError(
                f"agentbench needs its own package {room!r} ({here / room}), but Python finds "
                f"{origin or 'a folder without __init__.py'} first: rename that one, or start Python elsewhere "
                "so that it does not come first on sys.path"
            )


def _is_command_line() -> bool:
    """Return whether the ``agentbench`` program is starting, which never calls ``gymnasium.make``."""
    return Path(sys.argv[0] if sys.argv else "").name in ("agentbench", "agentbench.exe", "-m")


_check_rooms()
from envs.base.version import __version__ as __version__  # noqa: E402 (only once the rooms are known to be ours)

if not _is_command_line():
    # Gymnasium takes longer to import than the whole command line may take to answer --help.
    from envs.registry import register

    register()
