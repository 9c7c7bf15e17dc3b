"""What verifiers looks for under the name ``agentbench-verifiers``: one taskset, its environment and its harness."""

from agentbench.integrations.verifiers.environment import AgentbenchEnv, AgentbenchTaskset
from agentbench.integrations.verifiers.harness import AgentbenchHarness

__all__ = ["AgentbenchEnv", "AgentbenchHarness", "AgentbenchTaskset"]
