"""Completions of TRL's trainers: ``completions_00001.parquet`` of ``log_completions``, or the same rows as JSON lines.

A row has ``step`` (of the training), ``prompt`` and ``completion`` (lists of messages, or text), one column for each
reward function, named after it, and ``advantage``. The reward is the sum of these columns: the weights of the
functions are not in the file. ``--score`` names the columns that count. The prompt is the task; rollouts of different
training steps never share a group. Source: TRL, ``trainer/grpo_trainer.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.importing.chat import task_of
from agentbench.importing.content import beside, call_text, calls_of, short_hash, text_of
from agentbench.importing.conversation import Ending, checked_messages, make_episode
from agentbench.importing.files import read_records
from agentbench.importing.parts import Bad, BadPartError, Options, Part, Read, number, read_part

_COLUMNS = ("step", "prompt", "completion", "advantage", "num_tokens", "completion_length", "index", "id")
"""Columns that are no reward."""


def is_trl(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a row of completions: no other format has an advantage besides these."""
    return all(name in record for name in ("prompt", "completion", "advantage"))


def read_trl(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episode of every row, or why it is none."""
    for where, record in read_records(path):
        yield record if isinstance(record, Bad) else read_part(where, partial(_episode, record, options))


def _episode(record: dict[str, Any], options: Options) -> Read:
    if missing := [name for name in ("prompt", "completion") if record.get(name) is None]:
        raise BadPartError(f"it has no {missing[0]}")
    prompt = _messages(record["prompt"], "user")
    if pictures := beside(record):
        prompt.append({"role": "user", "content": pictures})
    said = [
        [message["role"], text_of(message.get("content")), *map(call_text, calls_of(message))] for message in prompt
    ]
    task = short_hash(json.dumps(said))
    if options.task_field not in (None, "messages"):
        task = task_of(record, options)[1] or task
    return make_episode(
        prompt + _messages(record.get("completion"), "assistant"),
        Ending(_reward(record, options)),
        options,
        task_id=f"{task}-step{record['step']}" if isinstance(record.get("step"), int | str) else task,
        given=range(len(prompt)),
    )


def _messages(value: object, role: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return [] if value is None else checked_messages(value)


def _reward(record: Mapping[str, Any], options: Options) -> float:
    numbers = {
        name: value
        for name, value in record.items()
        if name not in _COLUMNS and isinstance(value, int | float) and not isinstance(value, bool)
    }
    if options.score is not None:
        wanted = [name.strip() for name in options.score.split(",")]
        if missing := [name for name in wanted if name not in record]:
            raise BadPartError(f"it has no column {missing[0]!r}: it has {', '.join(numbers) or 'none with numbers'}")
        numbers = {name: number(record[name], name) for name in wanted}
    elif "reward" in numbers:
        numbers = {"reward": numbers["reward"]}
    told = [number(value, name) for name, value in numbers.items() if not math.isnan(value)]
    if not told:
        raise BadPartError("it has no reward: no column with numbers beside step and advantage")
    return math.fsum(told)
