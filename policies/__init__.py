"""Policies: who acts. Random, expert, walkthrough, replay; networks and language models.

Names are imported on first use: whoever needs only the contract does not wait for the list.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policies.contract import Policy, Prompt, Response, Turn
    from policies.entry import PolicyEntry
    from policies.registry import POLICIES, make_policy

_WHERE = {
    "POLICIES": "policies.registry",
    "Policy": "policies.contract",
    "PolicyEntry": "policies.entry",
    "Prompt": "policies.contract",
    "Response": "policies.contract",
    "Turn": "policies.contract",
    "make_policy": "policies.registry",
}
__all__ = ["POLICIES", "Policy", "PolicyEntry", "Prompt", "Response", "Turn", "make_policy"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'policies' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return value
