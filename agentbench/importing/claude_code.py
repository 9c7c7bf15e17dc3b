"""Sessions of Claude Code: a file ``<session>.jsonl``, an event a line; an episode a session.

Lines of the types ``user`` and ``assistant`` hold a ``message`` of Anthropic's interface; the parts of one answer are
lines of their own with the same ``message.id``. Lines of helpers (``isSidechain``) and of the program itself are left
out. Whether the task was solved no line says: ``--outcomes`` does, by the session's id. A last line of the type
``result`` (of ``--output-format stream-json``) tells of errors and of a limit that was met.
Source: sessions of Claude Code 1.0 to 2.1, and what other readers of them are tested on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentbench.importing.formats import from_groups

_SESSION = ("sessionId", "session_id")
_KINDS = ("user", "assistant", "system", "result")


def is_claude_code(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a line of a session that holds a message."""
    is_message = record.get("type") in ("user", "assistant") and isinstance(record.get("message"), Mapping)
    return is_message and any(name in record for name in _SESSION)


def _session(record: Mapping[str, Any]) -> str:
    return str(next((record[name] for name in _SESSION if record.get(name)), ""))


def to_chat(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return a session as a chat record; None where its lines hold no message."""
    messages: list[dict[str, Any]] = []
    model, last, ended = None, None, {}
    for line in lines:
        if line.get("type") == "result":
            ended = dict(line)
        if line.get("type") not in ("user", "assistant") or line.get("isSidechain") or line.get("isApiErrorMessage"):
            continue
        message = line["message"]
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        if line["type"] == "user":
            messages.append({"role": "user", "content": parts})
        elif last is not None and message.get("id") == last and messages and messages[-1]["role"] == "assistant":
            messages[-1]["content"] = [*messages[-1]["content"], *parts]
        else:
            messages.append({"role": "assistant", "content": parts})
            known = message.get("model")
            model = known if model is None and known != "<synthetic>" else model
        last = message.get("id") if line["type"] == "assistant" else None
    if not messages:
        return None
    limit = ended.get("subtype") == "error_max_turns"
    failed = ended.get("is_error") is True and not limit
    return {
        "messages": messages,
        "model": model,
        "episode_id": _session(lines[0]),
        "truncated": limit,
        "error": str(ended.get("result") or ended.get("subtype") or "it failed") if failed else None,
    }


CLAUDE_CODE = from_groups(is_claude_code, _session, to_chat)
