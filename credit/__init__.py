"""Credit: one table of steps in, one advantage a step out; every scheme a pure function."""

from credit.dr_grpo import dr_grpo
from credit.gigpo import gigpo
from credit.grpo import grpo
from credit.health import Health, health
from credit.hgpo import hgpo
from credit.loop import loop
from credit.mapo import mapo
from credit.registry import SCHEMES, advantages
from credit.reinforce_plus_plus import reinforce_plus_plus
from credit.rloo import rloo
from credit.salt import salt
from credit.scheme import Scheme
from credit.steps import CreditError, Steps

__all__ = [
    "SCHEMES",
    "CreditError",
    "Health",
    "Scheme",
    "Steps",
    "advantages",
    "dr_grpo",
    "gigpo",
    "grpo",
    "health",
    "hgpo",
    "loop",
    "mapo",
    "reinforce_plus_plus",
    "rloo",
    "salt",
]
