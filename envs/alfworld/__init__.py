"""ALFWorld: household tasks in text, played by a fast engine or by the original one."""

from envs.alfworld.env import ALFWorldEnv
from envs.alfworld.games import Damaged, Game

__all__ = ["ALFWorldEnv", "Damaged", "Game"]
