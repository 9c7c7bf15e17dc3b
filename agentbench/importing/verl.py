"""Rollout dumps of verl: ``trainer.rollout_data_dir/<training step>.jsonl``, a whole rollout a line.

A line has ``input`` (the prompt, as text), ``output`` (all that came after it, turns of tools too), ``score`` (the
reward) and ``step`` (of the training); further columns are skipped. The prompt is the task. Roles stand as words
alone on a line (the tokenizer took their marks away) or between the marks of a chat template; an output in which the
user or a tool speaks again has several steps. Rollouts of different training steps never share a group.
Source: verl, ``trainer/ppo/ray_trainer.py`` (``_dump_generations``). verl-agent writes one *step* a line, into files
of the same name: :mod:`agentbench.importing.verl_agent`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.importing.chat import task_of
from agentbench.importing.content import short_hash
from agentbench.importing.conversation import Ending, make_episode
from agentbench.importing.files import read_records
from agentbench.importing.parts import Bad, BadPartError, Options, Part, Read, number, read_part
from agentbench.importing.verl_agent import is_verl_agent

_TURN = re.compile(
    r"(?:^|\n)(system|user|assistant|tool)[^\S\n]*\n"
    r"|<\|im_start\|>[^\S\n]*(system|user|assistant|tool)[^\S\n]*\n"
    r"|<\|start_header_id\|>(system|user|assistant|tool|ipython)<\|end_header_id\|>\s*"
)
_MARKS = re.compile(r"<\|(?:im_end|endoftext|eot_id|eom_id|end_of_text|begin_of_text)\|>")
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_CALL, _RESULT = ("<tool_call>", "</tool_call>"), ("<tool_response>", "</tool_response>")


def is_verl(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a line of such a dump, and not one of verl-agent's."""
    texts = isinstance(record.get("input"), str) and isinstance(record.get("output"), str)
    beside = any(name in record for name in ("gts", "step", "request_id"))
    return texts and "score" in record and beside and not is_verl_agent(record)


def read_verl(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episode of every line, or why it is none."""
    for where, record in read_records(path):
        yield record if isinstance(record, Bad) else read_part(where, partial(_episode, record, options))


def _episode(record: dict[str, Any], options: Options) -> Read:
    prompt, output = record.get("input"), record.get("output")
    if not isinstance(prompt, str) or not isinstance(output, str):
        raise BadPartError("input and output must be text")
    given = [turn for turn in _turns(prompt, "user") if turn["role"] != "assistant" or turn["content"]]
    name = "score" if options.score is None else options.score
    if name not in record:
        raise BadPartError(f"it has no value {name!r}: it has {', '.join(record)}")
    task = short_hash(prompt) if options.task_field in (None, "messages") else task_of(record, options)[1]
    return make_episode(
        [*given, *map(_with_calls, _turns(output, "assistant"))],
        Ending(number(record[name], name)),
        options,
        task_id=f"{task}-step{record['step']}" if isinstance(record.get("step"), int | str) else task,
        given=range(len(given)),
    )


def _turns(text: str, first: str) -> list[dict[str, Any]]:
    """Cut a text where somebody else speaks; what stands before that is ``first``'s."""
    turns: list[dict[str, Any]] = []
    role, begin = first, 0
    for found in _TURN.finditer(text):
        _add(turns, role, text[begin : found.start()])
        said = found[1] or found[2] or found[3]
        role, begin = ("tool" if said == "ipython" else said), found.end()
    _add(turns, role, text[begin:])
    return turns


def _add(turns: list[dict[str, Any]], role: str, text: str) -> None:
    text = _MARKS.sub("", text).strip()
    if text:
        turns.append({"role": role, "content": text})


def _with_calls(turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn of an output: a model's with what it did apart from what it thought, a tool's without its tags."""
    text = turn["content"]
    if turn["role"] != "assistant":
        for tag in _RESULT:
            text = text.replace(tag, "")
        return {**turn, "content": text.strip()}
    calls = []
    for part in text.split(_CALL[0])[1:]:
        try:
            calls.append(json.loads(part.partition(_CALL[1])[0]))
        except (ValueError, RecursionError):
            return turn
    if calls:
        return {**turn, "tool_calls": calls}
    done = _THOUGHT.sub("", text, count=1).strip() if text.startswith("<think>") else ""
    return {**turn, "action": done} if done else turn
