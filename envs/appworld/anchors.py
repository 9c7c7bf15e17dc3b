"""Anchor states of AppWorld: when do two episodes of a task count as being in the same situation?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from envs.base.digest import digest_of_json

Anchor = Literal["calls", "observation", "database"]
ANCHORS: tuple[str, ...] = get_args(Anchor)

_SECRETS = ("access_token",)


def normal_form(call: Sequence[Any]) -> list[Any]:
    """Return an API call (method, address, data) as far as it matters: data in order of names, without tokens."""
    method, address, data = call
    return [method, address, sorted((name, value) for name, value in data.items() if name not in _SECRETS)]


def extend(before: str, calls: Sequence[Sequence[Any]], output: str) -> str:
    """Return the anchor ``calls`` after one more step.

    It stands for everything that the agent has done to the world and seen of it: the calls of every step in normal
    form and in order, and what was printed. The wording of the code does not matter.

    Args:
        before: anchor before the step; empty at the start.
        calls: the API calls of the step, each (method, address, data).
        output: what the step showed.
    """
    return digest_of_json([before, [normal_form(call) for call in calls], output], 32)
