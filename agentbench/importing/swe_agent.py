"""SWE-agent: a file ``<instance>.traj`` an episode, ``{"trajectory": […], "history": […], "info": {…}}``.

A step of ``trajectory`` has the answer (``response``), the ``action`` in it, and the ``observation`` after it; what the
model saw at first is in ``history``, or in the ``query`` of the first step. The file's name is the task. Whether it was
solved the file does not say: ``--outcomes`` takes the report of the evaluation. An ``exit_status`` that tells of a
failure of the machine is an error. Source: SWE-agent 1.1, ``docs/usage/trajectories.md`` and ``sweagent/types.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from agentbench.importing.content import marks_of
from agentbench.importing.formats import from_records
from agentbench.importing.parts import BadPartError

_BROKEN = ("exit_api", "exit_environment_error", "exit_error", "early_exit", "exit_command_timeout")
_CUT = ("exit_cost", "exit_context", "exit_total_execution_time")


def is_swe_agent(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a trajectory: steps with an action and what came of it."""
    steps = record.get("trajectory")
    if not isinstance(steps, list) or not isinstance(record.get("info", {}), Mapping):
        return False
    is_step = bool(steps) and all(
        isinstance(each, Mapping) and "action" in each and "observation" in each for each in steps
    )
    return is_step or (not steps and "history" in record and "info" in record)


def to_chat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trajectory as a chat record."""
    info, steps = record.get("info") or {}, record["trajectory"]
    messages = _opening(record)
    for step in steps:
        said = step.get("response") or step.get("thought") or ""
        messages.append({"role": "assistant", "content": said, "action": (step["action"] or "").strip()})
        messages.append({"role": "user", "content": step["observation"] or ""})
    status = str(info.get("exit_status") or "")
    return {
        **marks_of(record),
        "messages": messages,
        "task_is_file": True,
        "model": _model(record.get("replay_config")),
        "truncated": any(name in status for name in _CUT),
        "error": f"SWE-agent: {status}" if status in _BROKEN else None,
    }


def _opening(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the model saw before its first answer, without the demonstrations."""
    history = [each for each in record.get("history") or [] if not each.get("is_demo")]
    if not history and record["trajectory"]:
        history = record["trajectory"][0].get("query") or []
    seen = takewhile(lambda each: each["role"] != "assistant", history)
    return [{"role": each["role"], "content": each.get("content")} for each in seen]


def _model(replay: Any) -> str | None:
    try:
        config = json.loads(replay) if isinstance(replay, str) else replay
        name = config["agent"]["model"]["name"]
    except (KeyError, TypeError, ValueError):
        return None
    if not isinstance(name, str):
        raise BadPartError(f"the model's name in replay_config is text, got {name!r:.40}")
    return name


SWE_AGENT = from_records(is_swe_agent, to_chat, files=(".traj",))
