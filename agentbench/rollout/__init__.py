"""Rollouts: supervised worker processes that play, and the loop that lets a policy act in them."""

from agentbench.rollout.jobs import Job, PlayOptions
from agentbench.rollout.play import play

__all__ = ["Job", "PlayOptions", "play"]
