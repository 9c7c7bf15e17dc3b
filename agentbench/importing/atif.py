"""ATIF, the Agent Trajectory Interchange Format of Harbor: a trajectory a file, ``{"schema_version": "ATIF-v1.4", …}``.

A step of the source ``agent`` is an answer with its ``tool_calls`` (``function_name``, ``arguments``), and its
``observation.results`` are what the tools said. The format has no field for the outcome. Read are ``metrics.reward``
(or ``metrics.extra.reward``) of the agent's steps, else ``extra.reward``, or what ``--reward`` names; a trajectory that
has none of these is left out. What ``agentbench export --to atif`` puts into ``extra`` is read back.
Source: Harbor, ``docs/rfcs/0001-trajectory-format.md`` (v1.4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentbench.importing.formats import from_records

_TOLD = ("task_id", "task_name", "task_type", "instruction", "success", "score", "truncated", "error")
_ROLES = {"system": "system", "user": "user", "agent": "assistant"}


def is_atif(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a trajectory: its ``schema_version`` says so."""
    return str(record.get("schema_version", "")).startswith("ATIF") and isinstance(record.get("steps"), list)


def to_chat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trajectory as a chat record."""
    messages: list[dict[str, Any]] = []
    rewards: list[float | None] = []
    for step in record["steps"]:
        message = {"role": _ROLES.get(step["source"], step["source"]), "content": step.get("message") or ""}
        if calls := step.get("tool_calls"):
            message["tool_calls"] = [
                {"id": each.get("tool_call_id"), "name": each["function_name"], "arguments": each.get("arguments", {})}
                for each in calls
            ]
        beside = step.get("extra") or {}
        if step["source"] == "agent":
            metrics = step.get("metrics") or {}
            rewards.append(metrics.get("reward", (metrics.get("extra") or {}).get("reward")))
            if isinstance(offered := beside.get("admissible_actions"), list):
                messages.append({"role": "user", "content": "", "admissible_actions": offered})
            message |= {name: beside[name] for name in ("action", "is_valid") if name in beside}
        messages.append(message)
        for result in (step.get("observation") or {}).get("results", []):
            role = "tool" if result.get("source_call_id") else "user"
            said = {"role": role, "content": result.get("content") or "", "tool_call_id": result.get("source_call_id")}
            messages.append(said)
    extra, agent = record.get("extra") or {}, record.get("agent") or {}
    told = {name: extra[name] for name in _TOLD if name in extra}
    chat = {"messages": messages, "model": agent.get("model_name"), **told}
    if any(each is not None for each in rewards):
        return {**chat, "rewards": [0.0 if each is None else each for each in rewards]}
    return {**chat, "reward": extra.get("reward")}


ATIF = from_records(is_atif, to_chat)
