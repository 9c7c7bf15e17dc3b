"""Credit: one table of steps in, one advantage a step out; every scheme a pure function."""

from credit.grpo import grpo
from credit.registry import SCHEMES, advantages
from credit.scheme import Scheme
from credit.steps import CreditError, Steps

__all__ = ["SCHEMES", "CreditError", "Scheme", "Steps", "advantages", "grpo"]
