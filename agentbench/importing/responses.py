"""Items of OpenAI's Responses interface: rollouts of NeMo-Gym, and stored responses.

A rollout has ``responses_create_params`` (whose ``input`` was given), ``response`` (whose ``output`` holds what the
model wrote and what tools and the user said to it) and ``reward``. Items follow each other; those of the model up to
the next of somebody else are one answer. A task is the agent's name and ``_ng_task_index``, where they are there. A
response alone (``{"object": "response", "output": […]}``) says nothing of the outcome (``--outcomes``, ``--reward``).
Source: NeMo-Gym 0.7, ``example_rollouts.jsonl`` of its environments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentbench.importing.content import marks_of, text_of
from agentbench.importing.formats import from_records
from agentbench.importing.parts import BadPartError

_UNSEEN = (
    "reasoning",
    "item_reference",
    "compaction",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
)


def is_responses(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a rollout of NeMo-Gym or a response."""
    if isinstance(record.get("responses_create_params"), Mapping):
        return isinstance(record.get("response"), Mapping)
    return record.get("object") == "response" and isinstance(record.get("output"), list)


def to_chat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rollout as a chat record."""
    params, response = record.get("responses_create_params") or {}, record.get("response") or record
    asked = params.get("input", response.get("input")) or []
    given = messages_of([{"role": "user", "content": asked}] if isinstance(asked, str) else asked)
    if isinstance(told := params.get("instructions"), str):
        given.insert(0, {"role": "system", "content": told})
    agent = (record.get("agent_ref") or {}).get("name")
    index = record.get("_ng_task_index")
    return {
        **marks_of(record),
        "messages": given + messages_of(response["output"]),
        "given": len(given),
        "task_id": record.get("task_id") or (None if index is None else f"{agent or 'task'}:{index}"),
        "task_type": agent,
        "model": response.get("model") or params.get("model"),
        "episode_id": response.get("id"),
        "truncated": bool(response.get("incomplete_details")),
        "error": response.get("error"),
    }


def messages_of(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return items as messages: calls and texts of the model that follow each other as one.

    Raises:
        BadPartError: an item is of an unknown kind.
    """
    messages: list[dict[str, Any]] = []
    for item in items:
        kind = item.get("type", "message")
        if kind in _UNSEEN:
            continue
        if kind == "message":
            text = text_of(item.get("content"))
            if item["role"] != "assistant":
                messages.append({"role": item["role"], "content": text})
            elif text:
                answer = _answer(messages)
                answer["content"] = "\n".join(filter(None, (answer["content"], text)))
        elif kind.endswith("_call_output"):
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": _output(item)})
        elif kind.endswith("_call"):
            _answer(messages)["tool_calls"].append(_call(kind, item))
            if "output" in item:  # of a tool that the server called itself
                messages.append({"role": "tool", "tool_call_id": item.get("id"), "content": _output(item)})
        else:
            raise BadPartError(f"an item is of the unknown kind {kind!r:.40}")
    return messages


def _answer(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer that is being written."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": "", "tool_calls": []})
    return messages[-1]


def _call(kind: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call; those of the interface's own tools have their arguments under names of their own."""
    if "name" in item:
        arguments = item.get("arguments", item.get("input", {}))
        return {"id": item.get("call_id"), "name": item["name"], "arguments": arguments}
    own = {name: item[name] for name in ("action", "code", "query", "queries", "operation") if name in item}
    return {"id": item.get("call_id") or item.get("id"), "name": kind.removesuffix("_call"), "arguments": own}


def _output(item: Mapping[str, Any]) -> Any:
    output = item.get("output")
    return output if isinstance(output, str | list) else text_of(output)


RESPONSES = from_records(is_responses, to_chat)
