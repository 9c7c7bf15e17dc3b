"""LangSmith: exported runs, one a record (Parquet of a bulk export, or JSON lines of its API); an episode a trace.

Read are the messages of the root run (``inputs.messages``, ``outputs.messages``), or else of the trace's last call of a
model. The reward is the mean of the feedback (``feedback_stats``); ``--score`` names one where there are several. The
task is ``reference_example_id``, where there is one. A root run's ``error`` is an error.
Source: LangSmith, "Run (span) data format" and "Bulk export trace data" of its documentation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agentbench.importing.formats import from_groups
from agentbench.importing.parts import BadPartError

Run = Mapping[str, Any]


def is_langsmith(record: Run) -> bool:
    """Return whether a record is a run of a trace."""
    return "run_type" in record and ("trace_id" in record or "dotted_order" in record)


def _trace(run: Run) -> str:
    return str(run.get("trace_id") or str(run.get("dotted_order", "")).partition(".")[0].partition("Z")[2] or "")


def to_chat(runs: Sequence[Run]) -> dict[str, Any]:
    """Return a trace as a chat record."""
    runs = sorted(runs, key=lambda run: str(run.get("dotted_order") or run.get("start_time") or ""))
    root = next((run for run in runs if _is_root(run)), None)
    if root is None:
        raise BadPartError("the root run of the trace is not there: export whole traces")
    calls = [run for run in runs if run.get("run_type") == "llm"]
    messages = next((found for run in (root, *reversed(calls)) if (found := _messages(run))), None)
    if messages is None:
        raise BadPartError("neither its root run nor a call of a model has a list of messages")
    marks = {name: each.get("avg") for name, each in _object(root.get("feedback_stats")).items() if _object(each)}
    marks = {name: value for name, value in marks.items() if value is not None}
    return {
        "messages": messages,
        "reward": next(iter(marks.values())) if len(marks) == 1 else marks or None,
        "error": root.get("error"),
        "task_id": root.get("reference_example_id"),
        "task_name": root.get("reference_example_id"),
        "episode_id": _trace(root),
        "model": next((name for run in calls if (name := _model(run))), None),
    }


def _is_root(run: Run) -> bool:
    if run.get("is_root") is not None:
        return bool(run["is_root"])
    return not run.get("parent_run_id") and not run.get("parent_run_ids")


def _model(run: Run) -> str | None:
    about = _object(_object(run.get("extra")).get("metadata"))
    asked = _object(_object(run.get("extra")).get("invocation_params"))
    return about.get("ls_model_name") or asked.get("model") or asked.get("model_name")


def _messages(run: Run) -> list[dict[str, Any]] | None:
    """Return what a run was given and what it wrote, each message once."""
    given, outputs = _listed(_object(run.get("inputs"))), _object(run.get("outputs"))
    written = _listed(outputs)
    if written is None and (generations := outputs.get("generations")):
        (first, *_) = generations
        written = [each["message"] for each in (first if isinstance(first, list) else [first])[:1]]
    if written is None and isinstance(outputs.get("choices"), list):
        written = [outputs["choices"][0]["message"]]
    if given is None or written is None:
        return None
    before, after = list(map(_plain, given)), list(map(_plain, written))
    return after if after[: len(before)] == before or _begins_alike(before, after) else before + after


def _begins_alike(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    """Return whether an agent's output repeats its input, whose messages have got ids on the way."""
    told = [(each.get("type") or each.get("role"), each.get("content")) for each in after[: len(before)]]
    kinds = {"user": "human", "assistant": "ai"}
    asked = [(each.get("type") or each.get("role"), each.get("content")) for each in before]
    return [(kinds.get(str(kind), kind), text) for kind, text in told] == [
        (kinds.get(str(kind), kind), text) for kind, text in asked
    ]


def _listed(of: Mapping[str, Any]) -> list[Any] | None:
    found = of.get("messages")
    if isinstance(found, list) and found and isinstance(found[0], list):
        found = found[0]  # of a call for several conversations
    return found if isinstance(found, list) else None


def _plain(message: Any) -> dict[str, Any]:
    """Return a message as it is without its wrapping (``{"lc": 1, "type": "constructor", …}``)."""
    if not isinstance(message, Mapping):
        raise BadPartError(f"a message is {type(message).__name__}, not an object")
    if message.get("type") != "constructor":
        return dict(message)
    held, name = dict(message.get("kwargs") or {}), str((message.get("id") or [""])[-1])
    more = held.pop("additional_kwargs", None) or {}
    calls = held.get("tool_calls") or more.get("tool_calls") or []
    return {**held, "type": name.lower().removesuffix("chunk"), "tool_calls": calls}


def _object(value: Any) -> dict[str, Any]:
    """Return an object, also one that a column of a table holds as text."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadPartError("a column holds no whole JSON") from None
    return value if isinstance(value, dict) else {}


LANGSMITH = from_groups(is_langsmith, _trace, to_chat)
