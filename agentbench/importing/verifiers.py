"""Results of verifiers: ``results.jsonl``, as ``vf-eval --save-results`` writes it, a rollout a line.

Read are ``example_id`` (``id`` in older versions), ``task``, ``prompt`` and ``completion`` (lists of messages, or
text), ``reward``, ``is_truncated`` and ``error``; the model's name comes from ``metadata.json`` beside the file.
Tool calls may be strings of JSON, as verifiers writes them. Source: verifiers, ``utils/save_utils.py`` (versions
0.1.5 to 0.1.9). Lines of ``traces.jsonl``, which version 0.4 writes: :mod:`agentbench.importing.verifiers_traces`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.importing.chat import episode_of, task_of
from agentbench.importing.conversation import Ending, checked_messages, make_episode
from agentbench.importing.files import read_records
from agentbench.importing.parts import (
    MAX_BYTES,
    Bad,
    BadPartError,
    Options,
    Part,
    Read,
    number,
    read_part,
    stated_error,
)
from agentbench.importing.verifiers_traces import read_traces


def is_verifiers(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a rollout of verifiers: a prompt and its completion, or an episode's traces."""
    return ("prompt" in record and "completion" in record and "advantage" not in record) or (
        "task" in record and "traces" in record
    )


def read_verifiers(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episode of every line, or why it is none."""
    env, model = _about(path)
    for where, record in read_records(path):
        if isinstance(record, Bad):
            yield record
        elif "traces" in record:
            yield from read_traces(where, record, options)
        else:
            yield read_part(where, partial(_episode, record, options, env, model))


def _episode(record: dict[str, Any], options: Options, env: str, model: str | None) -> Read:
    prompt = _messages(record.get("prompt"), "user")
    messages = prompt + _messages(record.get("completion"), "assistant")
    task_type, example = _task(record)
    task = None if example is None else f"{task_type}:{example}"
    if options.task_field is not None:
        _, task = task_of(record, options)
    own = record.get("model")
    if ours := _object(_object(record.get("info")).get("agentbench")):  # what agentbench export wrote
        chat = {**ours, "messages": messages, "given": len(prompt), "model": own or model}
        return replace(episode_of(chat, options), env=env, by_message="")
    made = make_episode(
        messages,
        _ending(record, options),
        options,
        task_id=task,
        task_type=task_type,
        given=range(len(prompt)),
        model=own if isinstance(own, str) and own else model,
    )
    return replace(made, env=env, by_message="")


def _about(path: Path) -> tuple[str, str | None]:
    """Return the environment and the model: of ``metadata.json`` beside a file, else of its folder's name.

    ``vf-eval`` writes to ``<environment>--<model>/<run>/results.jsonl``.
    """
    try:
        beside = path.with_name("metadata.json")
        told = json.loads(beside.read_bytes()) if beside.stat().st_size < MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        told = None  # the file is a help and not needed
    about = told if isinstance(told, dict) else {}
    folders = [folder.name for folder in (path.absolute().parent, path.absolute().parent.parent)]
    named = next((name for name in folders if "--" in name), folders[0])
    env, _, model = named.partition("--")
    found, known = about.get("env_id", about.get("env")), about.get("model")
    return (
        found if isinstance(found, str) and found else env,
        known if isinstance(known, str) and known else (model.replace("--", "/") or None),
    )


def _task(record: dict[str, Any]) -> tuple[str, object]:
    example = record.get("example_id", record.get("id"))
    if example is not None and not isinstance(example, (str, int)):
        raise BadPartError(f"example_id is text or a whole number, got {example!r:.40}")
    task = record.get("task")
    return (task if isinstance(task, str) and task else "imported"), example


def _ending(record: dict[str, Any], options: Options) -> Ending:
    truncated = record.get("is_truncated") is True
    if error := stated_error(record.get("error")):
        return Ending(error=error, truncated=truncated)
    if options.score is not None:
        values = {**_object(record.get("metrics")), **record}
        if options.score not in values:
            raise BadPartError(f"it has no value {options.score!r}: its metrics are {', '.join(values)}")
        return Ending(number(values[options.score], options.score), truncated=truncated)
    if record.get("reward") is None:
        raise BadPartError("it has no reward")
    return Ending(number(record["reward"], "reward"), truncated=truncated)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _messages(value: object, role: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return checked_messages(value)
