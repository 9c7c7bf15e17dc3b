"""Environments: Gymnasium text environments of the benchmarks, and the list of what there is."""

from envs.contract import Info, Task, TextEnv
from envs.errors import UserError
from envs.registry import ENVIRONMENTS, Environment, make, register

__all__ = ["ENVIRONMENTS", "Environment", "Info", "Task", "TextEnv", "UserError", "make", "register"]
