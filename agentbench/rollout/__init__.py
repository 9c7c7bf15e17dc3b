"""Rollouts: supervised worker processes that play, and the loop that lets a policy act in them."""

from agentbench.rollout.play import Job, PlayOptions, play

__all__ = ["Job", "PlayOptions", "play"]
