"""Policies: who acts. Random, expert, walkthrough, replay; networks and language models."""

from policies.contract import Policy, Prompt, Response, Turn
from policies.entry import PolicyEntry
from policies.registry import POLICIES, make_policy

__all__ = ["POLICIES", "Policy", "PolicyEntry", "Prompt", "Response", "Turn", "make_policy"]
