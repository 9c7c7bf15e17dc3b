"""OpenHands: ``output.jsonl`` of an evaluation, a task a line, and trajectories, a list of events a file.

A line has ``instance_id``, ``history`` (the events) and, once it was judged, ``test_result.report.resolved``; a file of
events alone says nothing of the outcome (``--outcomes``). Read are the events of version 0 (``action``,
``observation``) and of the SDK (``kind``). Calls of one answer of the model are one step. A line's ``error`` is one.
Source: OpenHands 0.59, ``openhands/events/serialization`` and ``evaluation/benchmarks/swe_bench/eval_infer.py``;
``openhands-sdk`` 1.37, ``openhands/sdk/event``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentbench.importing.content import marks_of, text_of
from agentbench.importing.formats import from_groups

_UNSEEN = (
    "system",
    "change_agent_state",
    "agent_state_changed",
    "recall",
    "condensation",
    "condensation_request",
    "null",
)
_FAILED = ("error", "user_rejected")
_ASIDE = (
    "thought",
    "is_confirmed",
    "confirmation_state",
    "security_risk",
    "hidden",
    "blocking",
    "is_input",
    "is_static",
)
"""Arguments of an action that are no arguments of the call."""

Event = Mapping[str, Any]


def _is_event(record: Event) -> bool:
    if record.get("source") not in ("agent", "user", "environment", "hook") or "timestamp" not in record:
        return False
    return str(record.get("kind", "")).endswith("Event") or ("action" in record or "observation" in record)


def is_openhands(record: Event) -> bool:
    """Return whether a record is a line of an evaluation, or an event."""
    history = record.get("history")
    if isinstance(history, list):
        return any(isinstance(each, Mapping) and _is_event(each) for each in _flat(history))
    return _is_event(record)


def _key(record: Event) -> str | None:
    return None if "history" in record else ""


def to_chat(records: Sequence[Event]) -> dict[str, Any]:
    """Return a line of an evaluation, or the events of a file, as a chat record."""
    first = records[0]
    if "history" not in first:
        return {"messages": messages_of(records)}
    result, about = first.get("test_result") or {}, first.get("metadata") or {}
    report = result.get("report") or first.get("report") or {}
    resolved = report.get("resolved", first.get("resolved"))
    return {
        **({} if resolved is None else {"success": resolved}),
        **marks_of(first),
        "messages": messages_of(_flat(first["history"])),
        "task_id": first.get("instance_id"),
        "model": (about.get("llm_config") or about.get("llm") or {}).get("model"),
        "error": first.get("error"),
    }


def _flat(history: Iterable[Any]) -> list[Any]:
    """Return the events; older files have pairs of an action and its observation."""
    return [event for each in history for event in (each if isinstance(each, list) else [each])]


def messages_of(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return events as messages, the calls of one answer as one."""
    messages: list[dict[str, Any]] = []
    answer = None
    for event in events:
        made = _of_sdk(event) if "kind" in event else _of_action(event) if "action" in event else _of_observation(event)
        if made is None:
            continue
        message, of = made
        if message["role"] == "assistant" and of and of == answer:  # results may stand between the calls of an answer
            before = next(each for each in reversed(messages) if each["role"] == "assistant")
            before["tool_calls"] += message["tool_calls"]
            continue
        messages.append(message)
        answer = of if message["role"] == "assistant" else answer
    return messages


def _of_action(event: Event) -> tuple[dict[str, Any], str | None] | None:
    action, args = event["action"], event.get("args") or {}
    if action in _UNSEEN:
        return None
    if action == "message":
        role = "assistant" if event.get("source") == "agent" else "user"
        return {"role": role, "content": args.get("content") or event.get("message") or "", "tool_calls": []}, None
    if event.get("source") != "agent":
        return None
    about = event.get("tool_call_metadata") or {}
    answer = about.get("model_response") or {}
    call = {"id": about.get("tool_call_id"), "name": about.get("function_name") or action}
    call["arguments"] = _written(answer, call["id"]) or {
        name: value for name, value in args.items() if name not in _ASIDE and value is not None
    }
    return {"role": "assistant", "content": args.get("thought") or "", "tool_calls": [call]}, answer.get("id")


def _written(answer: Mapping[str, Any], number: Any) -> Any:
    """Return the arguments of a call as the model wrote them, where its whole answer is there."""
    for choice in answer.get("choices") or []:
        for call in (choice.get("message") or {}).get("tool_calls") or []:
            if call.get("id") == number:
                return (call.get("function") or {}).get("arguments")
    return None


def _of_observation(event: Event) -> tuple[dict[str, Any], None] | None:
    kind, content = event.get("observation"), event.get("content")
    if kind in _UNSEEN and not content:
        return None
    number = (event.get("tool_call_metadata") or {}).get("tool_call_id")
    said = {"role": "tool", "tool_call_id": number, "content": content or event.get("message") or ""}
    return {**said, **({"is_error": True} if kind in _FAILED else {})}, None


def _of_sdk(event: Event) -> tuple[dict[str, Any], str | None] | None:
    kind = event["kind"]
    if kind == "MessageEvent":
        role = "assistant" if event.get("source") == "agent" else "user"
        content = text_of((event.get("llm_message") or {}).get("content"))
        return {"role": role, "content": content, "tool_calls": []}, None
    if kind == "ActionEvent":
        call = dict(event.get("tool_call") or {"name": event["tool_name"], "arguments": event.get("action") or {}})
        said = text_of(event.get("thought"))
        return {"role": "assistant", "content": said, "tool_calls": [call]}, event.get("llm_response_id")
    if kind in ("ObservationEvent", "AgentErrorEvent", "UserRejectObservation"):
        seen = event.get("observation") or {}
        text = text_of(seen.get("content")) if seen else event.get("error") or event.get("rejection_reason") or ""
        failed = bool(seen.get("is_error")) or kind != "ObservationEvent"
        return {
            "role": "tool", "tool_call_id": event.get("tool_call_id"), "content": text,
            **({"is_error": True} if failed else {}),
        }, None  # fmt: skip
    return None


OPENHANDS = from_groups(is_openhands, _key, to_chat)
