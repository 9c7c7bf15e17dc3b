"""What a message says and does: its text, its pictures, its tool calls, and whether it states that a tool failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agentbench.importing.parts import BadPartError, stated_error
from envs.base.digest import short_digest

ARGUMENTS = ("arguments", "args", "input", "parameters", "kwargs", "params", "tool_input", "action_input")
"""Names under which the arguments of a tool call are written."""
MARKS = ("reward", "success", "score")
"""Names under which a record says how an episode went."""
_CALL_NAMES = ("name", "tool_name", "tool", "recipient_name", "action")
_CALL_PARTS = ("tool_use", "tool_call", "function_call", "server_tool_use")
_UNSEEN = ("reasoning", "thinking", "redacted_thinking", *_CALL_PARTS)
"""Kinds of parts that are no text of the message."""
_PASSING = ("id", "detail", "cache_control", "index", "filename", "name", "title")
"""Fields of a picture that say nothing of what it shows."""
_BESIDE = ("images", "image", "videos", "video", "audios", "audio")
"""Fields of a message, or of a record, that hold pictures beside the text."""
_BESIDE_ONE_OF = frozenset(_BESIDE)
_FAILED = ("error", "failed", "failure")
_ERRORS = ("error", "is_error", "isError", "tool_error")


def short_hash(*texts: str) -> str:
    """Return 12 hexadecimal digits that stand for the texts."""
    return short_digest("\x00".join(texts).encode("utf-8", "replace"), 12)


def marks_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says of how its episode went (:data:`MARKS`), as it says it."""
    return {name: record[name] for name in MARKS if record.get(name) is not None}


def text_of(content: object) -> str:
    """Return the text of a message's content: a string, or a list of parts of which some are text.

    A picture, or another part that is no text, stands as its kind and a hash of its content: ``[image 3f0a…]``.

    Raises:
        BadPartError: it is neither.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return _part_text(content)
    if not isinstance(content, list):
        raise BadPartError(f"the content of a message is {type(content).__name__}, not text")
    texts = [part if isinstance(part, str) else _part_text(part) for part in content if part is not None]
    return "\n".join(text for text in texts if text is not None and text != "")


def _part_text(part: object) -> str:
    if not isinstance(part, Mapping):
        return "" if part is None else json.dumps(part, ensure_ascii=False, default=str)
    for name in ("text", "refusal", "input_text", "output_text"):
        if isinstance(part.get(name), str):
            return str(part[name])
    kind = str(part.get("type", "part"))
    if kind in _UNSEEN or "functionCall" in part:
        return ""
    if "functionResponse" in part:
        return json.dumps(part["functionResponse"], sort_keys=True, ensure_ascii=False, default=str)
    if kind == "tool_result" or (kind == "part" and "content" in part):
        return text_of(part.get("content"))
    return f"[{kind} {_content_hash(part)}]"


def _content_hash(part: object) -> str:
    """Return a hash of what a picture shows, the same for each way to write it down."""
    while isinstance(part, Mapping):
        held = {name: value for name, value in part.items() if name not in _PASSING and name != "type"}
        if len(held) > 1 and isinstance(held.get("data"), str):
            part = held["data"]  # Anthropic: beside how it is encoded
        elif len(held) == 1:
            (part,) = held.values()
        else:
            break
    text = part if isinstance(part, str) else json.dumps(part, sort_keys=True, ensure_ascii=False, default=str)
    return short_hash(text.partition(";base64,")[2] or text if text.startswith("data:") else text)


def beside(record: Mapping[str, Any]) -> str:
    """Return the pictures that a message, or a record, holds beside its text; empty where there are none."""
    if _BESIDE_ONE_OF.isdisjoint(record):
        return ""
    held = [record[name] for name in _BESIDE if record.get(name)]
    pictures = [each for value in held for each in (value if isinstance(value, list) else [value])]
    return "\n".join(f"[image {_content_hash(each)}]" for each in pictures)


def call_text(call: object) -> str:
    """Write a tool call as ``name({"argument": value})``, with sorted names, so that equal calls are equal actions.

    Takes the shapes of the chat interface (``{"function": {"name", "arguments"}}``), of Inspect
    (``{"function": name, "arguments": {…}}``), of verifiers (``{"name", "arguments"}``), of Anthropic (``{"name",
    "input"}``), of LangChain (``{"name", "args"}``), and the other names of :data:`ARGUMENTS`; arguments as an object
    or as JSON; and each of them as a string of JSON.

    Raises:
        BadPartError: it has no name, or holds an object under a name that none of these shapes has.
    """
    if isinstance(call, str):
        try:
            call = json.loads(call)
        except (ValueError, RecursionError):
            raise BadPartError("a tool call is a string but not JSON") from None
    if not isinstance(call, Mapping):
        raise BadPartError(f"a tool call is {type(call).__name__}, not an object")
    call = call.get("functionCall") or call
    inner = call.get("function") if isinstance(call, Mapping) else None
    function: Mapping[str, Any] = inner if isinstance(inner, Mapping) else call
    name = next((function[each] for each in _CALL_NAMES if isinstance(function.get(each), str)), None)
    name = name or (inner if isinstance(inner, str) else None)
    if not isinstance(name, str):
        raise BadPartError("a tool call has no name")
    if isinstance(space := function.get("namespace"), str):
        name = f"{space}.{name}"
    return f"{name}({_arguments_text(function, call, name)})"


def _arguments_text(function: Mapping[str, Any], call: Mapping[str, Any], name: str) -> str:
    given = [of[each] for of in (function, call) for each in ARGUMENTS if of.get(each) is not None]
    arguments = next((each for each in given if each not in ({}, "", "{}")), given[0] if given else None)
    if arguments is None:
        odd = [each for each, value in function.items() if isinstance(value, Mapping) and value and each != "function"]
        if odd and odd[0] not in ("extra_content", "caller", "cache_control", "metadata", "view"):
            raise BadPartError(
                f"the tool call {name:.40} has its arguments under the unknown name {odd[0]!r:.40}: rename it to "
                "'arguments'"
            )
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError):
            return str(arguments)  # the model wrote no JSON: that is what it did
    return json.dumps({} if arguments is None else arguments, sort_keys=True, ensure_ascii=False)


def calls_from(action: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the tool calls, by name and arguments, that an action states; none unless all of it is such calls."""
    calls = []
    for line in action.split("\n"):
        name, bracket, rest = line.partition("(")
        try:
            arguments = json.loads(rest[:-1]) if bracket and rest.endswith(")") else None
        except (ValueError, RecursionError):
            return []
        if not name or not isinstance(arguments, dict):
            return []
        calls.append((name, arguments))
    made = [call_text({"name": name, "arguments": arguments}) for name, arguments in calls]
    return calls if "\n".join(made) == action else []


def calls_of(message: Mapping[str, Any]) -> list[Any]:
    """Return the tool calls of a message: ``tool_calls``, ``function_call``, or parts of its content.

    Raises:
        BadPartError: ``tool_calls`` is no list.
    """
    calls = message.get("tool_calls") or []
    if isinstance(calls, Mapping):
        calls = [calls]
    if not isinstance(calls, list):
        raise BadPartError("the tool calls of a message are not a list")
    if isinstance(refused := message.get("invalid_tool_calls"), list):  # LangChain: those that it could not parse
        calls = [*calls, *refused]
    if not calls and (single := message.get("function_call")):
        calls = [single]
    content = message.get("content")
    if not calls and isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping)]
        calls = [part for part in parts if part.get("type") in _CALL_PARTS or "functionCall" in part]
    return calls


def is_refused(message: Mapping[str, Any]) -> bool:
    """Return whether an answer holds a call that could not be parsed, as its log states."""
    calls = message.get("tool_calls")
    parsed = [call for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    return bool(message.get("invalid_tool_calls")) or any(stated_error(call.get("parse_error")) for call in parsed)


def states_failure(message: object) -> bool:
    """Return whether a message, or a tool's result in it, states that the tool failed.

    Read are ``error`` (Inspect), ``is_error`` (Anthropic, AutoGen), ``isError`` (MCP), ``status`` (LangChain) and
    ``success`` or ``ok`` with the value false; in the message, in the parts of its content, and in a text that is the
    JSON of such a result.
    """
    if not isinstance(message, Mapping):
        return False
    if any(stated_error(message[name]) is not None for name in _ERRORS if name in message):
        return True
    if (
        str(message.get("status", "")).lower() in _FAILED
        or message.get("success") is False
        or message.get("ok") is False
    ):
        return True
    return any(map(_part_fails, _parts_of(message.get("content"))))


def _parts_of(content: object) -> list[Any]:
    if isinstance(content, str) and content.lstrip()[:1] == "{" and ('"isError"' in content or '"is_error"' in content):
        try:
            content = json.loads(content)
        except (ValueError, RecursionError):
            return []
    return content if isinstance(content, list) else [content]


def _part_fails(part: object) -> bool:
    if not isinstance(part, Mapping):
        return False
    is_result = part.get("type") in ("tool_result", "function_call_output") or "type" not in part
    return is_result and states_failure(part)
