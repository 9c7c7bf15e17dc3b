"""AppWorld: nine everyday apps, tasks solved by writing code over many turns, judged by what changed."""

from envs.appworld.env import AppWorldEnv

__all__ = ["AppWorldEnv"]
