"""Results of verifiers: ``results.jsonl``, as ``vf-eval --save-results`` writes it, a rollout a line.

Read are ``example_id`` (``id`` in older versions), ``task``, ``prompt`` and ``completion`` (lists of messages, or
text), ``reward``, ``is_truncated`` and ``error``; the model's name comes from ``metadata.json`` beside the file.
Tool calls may be strings of JSON, as verifiers writes them. Source: verifiers, ``utils/save_utils.py`` (versions
0.1.5 to 0.1.9). Lines of ``traces.jsonl``, which version 0.4 writes: :mod:`agentbench.importing.verifiers_traces`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.episodes import Episode
from agentbench.importing.conversation import Ending, checked_messages, make_episode
from agentbench.importing.parts import MAX_BYTES, Bad, BadPartError, Options, Part, number, read_lines, read_part
from agentbench.importing.verifiers_traces import model_in, read_traces


def read_verifiers(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episode of every line, or why it is none."""
    for where, record in read_lines(path):
        if isinstance(record, Bad):
            yield record
        elif "traces" in record:
            yield from read_traces(where, record, options)
        else:
            yield read_part(where, partial(_episode, record, options))


def _episode(record: dict[str, Any], options: Options) -> Episode:
    prompt = _messages(record.get("prompt"), "user")
    messages = prompt + _messages(record.get("completion"), "assistant")
    task_type, example = _task(record)
    return make_episode(
        messages,
        _ending(record),
        options,
        task_id=None if example is None else f"{task_type}:{example}",
        task_type=task_type,
        given=range(len(prompt)),
    )


def model_of(path: Path) -> str | None:
    """Return the model's name that the first line, or ``metadata.json`` beside the file, gives, if any."""
    first = next((record for _, record in read_lines(path) if isinstance(record, dict)), {})
    if "traces" in first:
        return model_in(first)
    try:
        beside = path.with_name("metadata.json")
        about = json.loads(beside.read_bytes()) if beside.stat().st_size < MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None  # the file is a help and not needed
    model = about.get("model") if isinstance(about, dict) else None
    return model if isinstance(model, str) else None


def _task(record: dict[str, Any]) -> tuple[str, object]:
    example = record.get("example_id", record.get("id"))
    if example is not None and not isinstance(example, (str, int)):
        raise BadPartError(f"example_id is text or a whole number, got {example!r:.40}")
    task = record.get("task")
    return (task if isinstance(task, str) and task else "imported"), example


def _ending(record: dict[str, Any]) -> Ending:
    error = record.get("error")
    if isinstance(error, dict):
        error = error.get("error_chain_repr") or error.get("message") or json.dumps(error)
    if error:
        return Ending(error=str(error), truncated=record.get("is_truncated") is True)
    if record.get("reward") is None:
        raise BadPartError("it has no reward")
    return Ending(number(record["reward"], "reward"), truncated=record.get("is_truncated") is True)


def _messages(value: object, role: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return checked_messages(value)
