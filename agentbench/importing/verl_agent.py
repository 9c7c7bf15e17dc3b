"""Rollout dumps of verl-agent: ``trainer.rollout_data_dir/<training step>.jsonl``, one step of an episode a line.

A line has ``input`` (the prompt as text), ``output`` (the answer), ``score``, ``step`` (of the training). The prompt
says which step of the episode it is, what is seen, what may be done; the answer has its action between ``<action>``
and ``</action>``, or as ``<search>``, ``<answer>`` or ``<code>``. ``score`` is the reward of the whole episode, less a
penalty on lines with an invalid action, so the largest of an episode is its reward. Where lines have ``traj_uid`` and
``uid`` (some versions add the batch's other columns), these say which lines are one episode and which episodes one
group; else the order of the lines does.

Rollouts of different training steps never share a group: they are those of different policies.
Source: verl-agent (verl 0.3.1), ``ppo/ray_trainer.py`` (``_dump_generations``), ``agent_system/environments/prompts``,
``agent_system/multi_turn_rollout/utils.py`` (``adjust_batch`` appends copies of lines to fill the last batch).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.importing.content import short_hash
from agentbench.importing.conversation import Ending, finish, stored
from agentbench.importing.files import read_records
from agentbench.importing.parts import Bad, BadPartError, Options, Part, Read, number, read_part
from agentbench.runs.episodes import Episode, Step

_STEP = re.compile(r"you are now at step (\d+)", re.IGNORECASE)
_TAKEN = re.compile(r"already taken (\d+) step", re.IGNORECASE)
# Beginnings and ends: one pattern of both would take quadratic time on text that was written to make it.
_TASK = (
    re.compile(r"your task is to: |your question: ", re.IGNORECASE),
    re.compile(r"\n|prior to this step|your current observation|\Z", re.IGNORECASE),
)
_OBSERVATION = (
    re.compile(r"your current observation is:", re.IGNORECASE),
    re.compile(r"your admissible actions|now it's your turn|\Z", re.IGNORECASE),
)
_ADMISSIBLE = (
    re.compile(r"admissible actions of the current situation are:\s*+\["),
    re.compile(r"\][^\S\n]*+(?:\.[^\S\n]*+)?\n"),
)
_TAGS = ("action", "search", "answer", "code")
_MARK = re.compile(r"now it's your turn to|you have already taken \d+ step|you are now at step \d+", re.IGNORECASE)
"""What every prompt of verl-agent says, and no other dump."""


@dataclass(frozen=True, slots=True)
class _Line:
    where: str
    index: int  # step of the episode, from 1
    task: str
    observation: str
    admissible: list[str] | None
    action: str
    is_valid: bool
    text: str
    score: float
    training_step: str
    episode: str | None
    group: str | None

    @property
    def content(self) -> tuple[Any, ...]:
        """What a copy of the line has in common with it."""
        return (self.index, self.task, self.observation, self.text, self.score, self.training_step)


def is_verl_agent(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a line of such a dump: its prompt counts steps, or it has verl-agent's columns."""
    prompt, output = record.get("input"), record.get("output")
    if not isinstance(prompt, str) or not isinstance(output, str) or "score" not in record:
        return False
    return "traj_uid" in record or "is_action_valid" in record or _MARK.search(prompt) is not None


def read_verl_agent(path: Path, options: Options) -> Iterator[Part]:
    """Yield every episode of a dump, or why a line, or the file, has none."""
    lines: list[_Line] = []
    damaged: list[Bad] = []
    for where, record in read_records(path):
        try:
            if isinstance(record, Bad):
                damaged.append(record)
            else:
                lines.append(_parse(where, record))
        except BadPartError as error:
            damaged.append(Bad(where, str(error)))
    yield from damaged
    try:
        episodes, left_out = _by_id(lines) if all(line.episode for line in lines) else _by_order(lines)
    except BadPartError as error:
        yield Bad(path.name, str(error))
        return
    yield from left_out
    for episode in episodes:
        yield read_part(episode[0].where, partial(_episode, episode, options))


def _parse(where: str, record: dict[str, Any]) -> _Line:
    prompt, output = record.get("input"), record.get("output")
    if not isinstance(prompt, str) or not isinstance(output, str):
        raise BadPartError("input and output must be text")
    if "score" in record and not is_verl_agent(record):
        raise BadPartError("not a step of verl-agent: its prompt counts no steps (for whole rollouts: --format verl)")
    if step := _STEP.search(prompt):
        index = int(step[1][:9])
    else:
        taken = _TAKEN.search(prompt)
        index = int(taken[1][:9]) + 1 if taken else 1
    task, seen, offered = (_between(prompt, *ends) for ends in (_TASK, _OBSERVATION, _ADMISSIBLE))
    acted = _action(output)
    if seen is None and index > 1:
        seen = _last_result(prompt)
    told = record.get("is_action_valid")
    return _Line(
        where=where,
        index=index,
        task="" if task is None else task.strip().removesuffix(".").strip(),
        observation=prompt if seen is None else seen.strip(),
        admissible=None if offered is None else re.findall(r"'([^'\n]*)'", offered) or None,
        action=(output if acted is None else acted).strip(),
        is_valid=acted is not None if told is None else bool(told),
        text=output,
        score=number(record.get("score"), "score"),
        training_step=str(record.get("step", "")),
        episode=_text(record.get("traj_uid")),
        group=_text(record.get("uid")),
    )


def _between(text: str, first: re.Pattern[str], last: re.Pattern[str]) -> str | None:
    """Return what stands between a beginning and the end that follows it; None if one of them is missing."""
    begin = first.search(text)
    end = last.search(text, begin.end()) if begin else None
    return text[begin.end() : end.start()] if begin and end else None


def _action(output: str) -> str | None:
    """Return what an answer does: what stands in its first tag, with the tag where that says which kind it is."""
    found = []
    for tag in _TAGS:
        begin = output.find(f"<{tag}>")
        end = output.find(f"</{tag}>", begin) if begin >= 0 else -1
        if end >= 0:
            said = output[begin + len(tag) + 2 : end].strip()
            found.append((begin, said if tag in ("action", "code") else f"<{tag}>{said}</{tag}>"))
    return min(found)[1] if found else None


def _last_result(prompt: str) -> str | None:
    """Return what a search found last, as the history in a prompt says it."""
    *_, last = ["", *prompt.split("<information>")[1:]]
    return last.partition("</information>")[0] if last else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _by_id(lines: list[_Line]) -> tuple[list[list[_Line]], list[Bad]]:
    """Gather the lines of each ``traj_uid``; an episode that lacks a step is left out."""
    episodes: dict[str, dict[int, _Line]] = {}
    for line in lines:
        episodes.setdefault(str(line.episode), {}).setdefault(line.index, line)
    whole, broken = [], []
    for name, by_index in episodes.items():
        found = [by_index[index] for index in sorted(by_index)]
        if [line.index for line in found] == list(range(1, len(found) + 1)):
            whole.append(found)
        else:
            broken.append(Bad(f"{found[0].where} (episode {name:.40})", "steps of this episode are missing"))
    return whole, broken


def _by_order(lines: list[_Line]) -> tuple[list[list[_Line]], list[Bad]]:
    """Cut the lines where a first step comes; what does not continue must be a copy of an earlier line.

    Raises:
        BadPartError: the lines are in another order.
    """
    episodes: list[list[_Line]] = []
    copies: list[Bad] = []
    known: set[tuple[Any, ...]] = set()
    for line in lines:
        is_open = episodes and not copies and line.index == len(episodes[-1]) + 1 and line.task == episodes[-1][-1].task
        if is_open:
            episodes[-1].append(line)
        elif line.index == 1 and not copies:
            episodes.append([line])
        elif line.content in known:
            copies.append(Bad(line.where, "a copy of an earlier line, made to fill a batch"))
        else:
            raise BadPartError(
                f"the lines are not in the order of the episodes (step {line.index} at {line.where}): dump with "
                "trainer.balance_batch=False, or with the columns traj_uid and uid"
            )
        known.add(line.content)
    return episodes, copies


def _episode(lines: list[_Line], options: Options) -> Read:
    first = lines[0]
    task = first.group or short_hash(first.task, first.observation)
    history, steps = "", []
    for line in lines:
        history = short_hash(history, line.observation)
        steps.append(
            Step(
                observation=stored(line.observation, options),
                anchor=history if options.anchor == "history" else short_hash(line.observation),
                admissible_actions=line.admissible,
                action=stored(line.action, options),
                reward=0.0,
                is_valid=line.is_valid,
                terminated=False,
                truncated=False,
                score=0.0,
                text=stored(line.text, options) if line.text != line.action else None,
            )
        )
        history = short_hash(history, line.action)
    name = f"{task}-step{first.training_step}" if first.training_step else task
    instruction = stored(first.task or first.observation, options)
    episode = Episode(
        stored(name, options), stored(name, options), "imported", instruction, 0, "error", False, 0.0, steps
    )
    finish(episode, Ending(max(line.score for line in lines)), options)
    return Read("", episode, opening=short_hash(first.observation) if first.group else "")
