"""tau2-bench: a file of results, ``{"info": …, "tasks": […], "simulations": […]}``, an episode a simulation.

What the simulated user does with tools of its own (``requestor`` is ``user``) is not seen by the agent, and left out.
A simulation without ``reward_info`` is an ``error``. Results of the older tau-bench, lists of ``{"task_id", "reward",
"traj", …}``, are chat logs. Source: tau2-bench, ``src/tau2/data_model/simulation.py`` and ``message.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentbench.importing.formats import from_records

_CUT = ("max_steps", "timeout", "too_many_errors")


def is_tau2(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a file of results."""
    runs = record.get("simulations")
    return isinstance(runs, list) and any(isinstance(each, Mapping) and "messages" in each for each in runs)


def to_chats(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the simulations as chat records."""
    info = record.get("info") or {}
    model = (info.get("agent_info") or {}).get("llm")
    domain = (info.get("environment_info") or {}).get("domain_name")
    for run in record["simulations"]:
        reward = (run.get("reward_info") or {}).get("reward")
        ended = run.get("termination_reason")
        yield {
            "messages": [each for each in run["messages"] or [] if not _is_the_users(each)],
            "task_id": run.get("task_id"),
            "task_type": domain,
            "reward": reward,
            "error": None if reward is not None else f"it was not judged (termination_reason: {ended})",
            "truncated": ended in _CUT,
            "model": model,
        }


def _is_the_users(message: Mapping[str, Any]) -> bool:
    if message["role"] == "tool":
        return message.get("requestor") == "user"
    return message["role"] == "user" and bool(message.get("tool_calls")) and not message.get("content")


TAU2 = from_records(is_tau2, to_chats)
