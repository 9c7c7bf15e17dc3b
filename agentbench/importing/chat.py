"""Plain chat logs: one episode a record, ``{"messages": […], "reward": 1.0}``.

``messages`` has the shape of the chat interface that most servers speak: ``role`` (system, user, assistant, tool),
``content`` (text or a list of parts), ``tool_calls``; or that of Anthropic (``tool_use`` and ``tool_result`` parts),
LangChain (``type``, ``args``), Gemini (``parts``), or ShareGPT (``from``, ``value``). The list may have each name of
:data:`LISTS`. Further fields of a record, all optional but one of the first five:

``reward``     the episode's reward, given to its last step
``rewards``    a number for every assistant message, instead
``success``    whether the task was solved
``score``      progress in [0, 1]
``error``      what failed, if it was not the agent; false, null, "" and "none" say that nothing did
``task_id``    says which episodes are rollouts of one task; else one of :data:`IDS`, else the first user message
``model``      who played; a run holds one model
``given``      number of the first messages that were given: answers among them are examples and no steps
``task_name``, ``task_type``, ``instruction``, ``truncated``
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.importing.content import beside
from agentbench.importing.conversation import Ending, checked_messages, make_episode
from agentbench.importing.files import plain_name, read_records
from agentbench.importing.outcomes import read_outcomes
from agentbench.importing.parts import (
    Bad,
    BadPartError,
    Options,
    Part,
    Read,
    name_of,
    number,
    read_part,
    stated_error,
)

LISTS = ("messages", "conversations", "conversation", "traj", "trajectory", "dialogue", "dialog")
OUTCOMES = ("reward", "rewards", "success", "score", "error")
IDS = (
    "task_id", "question_id", "problem_id", "example_id", "sample_id", "instance_id", "prompt_id", "item_id", "id",
)  # fmt: skip
"""Fields that identify the task, the first that is there."""
MODELS = ("model", "model_name", "model_id")


def is_chat(record: Mapping[str, Any]) -> bool:
    """Return whether a record has a list of messages."""
    return any(isinstance(record.get(name), list) for name in LISTS)


def read_chat(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episode of every record, or why it is none."""
    for where, record in read_records(path):
        yield record if isinstance(record, Bad) else read_part(where, partial(_named_episode, record, path, options))


def _named_episode(record: dict[str, Any], path: Path, options: Options) -> Read:
    return episode_of(with_named_fields(record, record, options, path), options)


def with_named_fields(chat: dict[str, Any], record: Mapping[str, Any], options: Options, path: Path) -> dict[str, Any]:
    """Return a chat record in which the fields that the user named stand under the names that are read.

    Where the user gave a file of outcomes, the one of this episode takes the place of what the record says: of its
    ``episode_id``, of the file's name, or of the task, whichever is there first.

    Args:
        chat: the chat record.
        record: what it was made of, in which the fields are looked up; a name with dots leads into objects.
        options: which fields.
        path: the log.

    Raises:
        BadPartError: a field, or an outcome, is not there.
    """
    found = dict(chat)
    name = plain_name(path)
    if found.pop("task_is_file", False):
        found["task_id"] = name
    for name, field in options.fields.items():
        value = _value_at(record, field)
        if value is None and name != "model":
            raise BadPartError(f"it has no field {field!r} for the {name}: it has {_listed(record)}")
        found[name] = value
    if isinstance(text := found.get("messages"), str) and options.messages_field:
        try:
            found["messages"] = json.loads(text)
        except (ValueError, RecursionError):
            raise BadPartError(f"{options.messages_field} is text, and no list of messages") from None
    if options.reward_field and options.reward_field != "rewards":
        found.pop("rewards", None)
        if isinstance(found["reward"], list):
            found["rewards"] = found.pop("reward")
    if options.outcomes is not None:
        known = read_outcomes(options.outcomes, options.outcomes.stat().st_mtime_ns)
        names = [str(each) for each in (found.get("episode_id"), name, task_of(found, options)[1]) if each]
        told = next((known[each] for each in names if each in known), None)
        if told is None:
            raise BadPartError(f"{options.outcomes.name} has no outcome of {' or '.join(names)}")
        found = {each: value for each, value in found.items() if each not in OUTCOMES} | dict(told)
    return found


def _value_at(record: Mapping[str, Any], field: str) -> Any:
    if field in record:
        return record[field]
    value: Any = record
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _listed(record: Mapping[str, Any]) -> str:
    return ", ".join(" ".join(str(name).split())[:40] for name in list(record)[:12]) or "none"


def episode_of(record: dict[str, Any], options: Options) -> Read:
    """Return the episode of a chat record.

    Raises:
        BadPartError: it is none; the text says why.
    """
    messages = checked_messages(next((record[name] for name in LISTS if name in record), None))
    if pictures := beside(record):  # of the whole conversation: those that its first message shows
        messages = _with_pictures(messages, pictures)
    field, task = task_of(record, options)
    made = make_episode(
        messages,
        ending_of(record, options),
        options,
        task_id=task,
        task_name=name_of(record.get("task_name"), "task_name"),
        task_type=name_of(record.get("task_type"), "task_type") or "imported",
        instruction=record["instruction"] if isinstance(record.get("instruction"), str) else None,
        model=next((record[name] for name in MODELS if isinstance(record.get(name), str) and record[name]), None),
        given=range(record["given"]) if isinstance(record.get("given"), int) else (),
    )
    return replace(made, by_message=made.by_message if field == "id" else "")


def task_of(record: Mapping[str, Any], options: Options) -> tuple[str, str | None]:
    """Return the field that identifies a record's task, and what it says; None for the first user message.

    Raises:
        BadPartError: the field that was asked for is not there, or is no name.
    """
    if options.task_field == "messages":
        return "messages", None
    if options.task_field is not None:
        if (task := name_of(_value_at(record, options.task_field), options.task_field)) is None:
            raise BadPartError(
                f"it has no field {options.task_field!r} to identify its task: it has {', '.join(record)}"
            )
        return options.task_field, task
    for name in IDS:
        if (task := name_of(record.get(name), name)) is not None:
            return name, task
    return "messages", None


def _with_pictures(messages: list[dict[str, Any]], pictures: str) -> list[dict[str, Any]]:
    at = next((index for index, each in enumerate(messages) if each["role"] == "user"), None)
    if at is None:
        return messages
    content = messages[at].get("content")
    parts = content if isinstance(content, list) else [content] if isinstance(content, str) and content else []
    return [*messages[:at], {**messages[at], "content": [*parts, pictures]}, *messages[at + 1 :]]


def ending_of(record: Mapping[str, Any], options: Options) -> Ending:
    """Return how the episode of a record ended.

    Raises:
        BadPartError: the record does not say, or with values that cannot be.
    """
    error = stated_error(record.get("error"))
    told = {name: record[name] for name in OUTCOMES if name != "error" and record.get(name) is not None}
    if not told and error is None:
        numbers = [name for name, value in record.items() if isinstance(value, bool | int | float)]
        named = f" ({', '.join(numbers[:4])})" if numbers else ""
        raise BadPartError(
            f"nothing says how it ended: add one of {', '.join(OUTCOMES)} to each line, or name the field that says it"
            f"{named} with --reward or --success; --outcomes FILE takes it from another file"
        )
    truncated = record.get("truncated") is True
    success = told.get("success")
    if success is not None and not isinstance(success, bool):
        raise BadPartError(f"success is true or false, got {success!r:.40}")
    score = number(_chosen(told["score"], "score", options), "score") if "score" in told else None
    if "rewards" in told:
        rewards = _rewards(told["rewards"], options)
    elif "reward" in told:
        rewards = number(_chosen(told["reward"], "reward", options), "reward")
    else:
        rewards = float(bool(success)) if score is None else score
    return Ending(rewards, success, score, truncated, error)


def _rewards(value: object, options: Options) -> float | list[float]:
    if isinstance(value, list):
        return [number(reward, "a reward") for reward in value]
    if isinstance(value, Mapping):
        return number(_chosen(value, "rewards", options), "reward")
    raise BadPartError(
        f"rewards is a list of numbers, one for every assistant message, got {value!r:.60}: the reward of the whole "
        "episode is called 'reward'"
    )


def _chosen(value: object, field: str, options: Options) -> object:
    """Return the value that ``--score`` names, where a field has several."""
    if not isinstance(value, Mapping):
        return value
    if options.score is None:
        raise BadPartError(f"{field} has several values ({', '.join(map(str, value))}): choose one with --score NAME")
    if options.score not in value:
        raise BadPartError(f"{field} has no value {options.score!r}: it has {', '.join(map(str, value)) or 'none'}")
    return value[options.score]
