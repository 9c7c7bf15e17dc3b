"""Policies: who acts. Random, expert, walkthrough, replay; networks and language models."""

from policies.contract import Policy, Prompt, Response, Turn
from policies.registry import POLICIES, PolicyEntry, make_policy

__all__ = ["POLICIES", "Policy", "PolicyEntry", "Prompt", "Response", "Turn", "make_policy"]
