"""Checks that an environment, a policy or a scheme keeps its contract: ours, and those of plug-ins.

A check is a function that yields one line of text for everything that it finds wrong.
"""

from agentbench.check.environment import check_environment
from agentbench.check.outcome import Outcome
from agentbench.check.policy import check_policy
from agentbench.check.scheme import check_scheme

__all__ = ["Outcome", "check_environment", "check_policy", "check_scheme"]
