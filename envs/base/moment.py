"""What an environment gives at one moment, held to its contract: of the right types, and nobody else's to change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np

from envs.base.errors import ContractError

INFO_KEYS = ("task_id", "task_type", "instruction", "anchor", "admissible_actions", "is_valid", "won", "score")

Info = dict[str, Any]
Moment = tuple[str, float, bool, bool, Info]
"""What a step gives: observation, reward, terminated, truncated, info."""

_TEXTS = ("task_id", "task_type", "instruction", "anchor")
_TRUTHS = ("is_valid", "won")
_STR = frozenset({str})
_PLAIN = frozenset({str, int, float, bool, type(None), bytes})
"""Types whose values cannot be changed, so that they may be handed out more than once."""


def checked_moment(found: Any, task_id: str | None = None) -> Moment:
    """Return what a step gave as values of its own: Python's own types, no list shared with anybody.

    Args:
        found: observation, reward, terminated, truncated and ``info``.
        task_id: id of the task that is played, where it is known.

    Raises:
        ContractError: a value is not what the contract says; the text names the value and what it should be.
    """
    if not isinstance(found, tuple) or len(found) != 5:
        raise ContractError(f"a step gave {_shown(found)}, not observation, reward, terminated, truncated and info")
    observation, reward, terminated, truncated, info = found
    if not isinstance(observation, str):
        raise ContractError(f"the observation is {_shown(observation)}, not text")
    number = _number(reward)
    if number is None:
        if isinstance(reward, Real) and not isinstance(reward, bool) and isinstance(info, dict):
            raise ContractError(f"the reward {reward} or the score {info.get('score')} is not finite")
        raise ContractError(f"the reward is {_shown(reward)}, not a number")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, (bool, np.bool_)):
            raise ContractError(f"{name} is {_shown(flag)}, not True or False")
    return observation, number, bool(terminated), bool(truncated), checked_info(info, task_id)


def checked_info(info: Any, task_id: str | None = None) -> Info:
    """Return an ``info`` as :func:`checked_moment` does.

    Raises:
        ContractError: as there.
    """
    if _is_plainly_good(info, task_id):
        own = info.copy()
        for key, value in info.items():
            if value.__class__ not in _PLAIN:  # the offered actions are known to be a list of strings by now
                own[key] = value[:] if key == "admissible_actions" else copied(value)
        return own  # type: ignore[no-any-return]
    for fault in info_faults(info, task_id):
        raise ContractError(fault)
    own = copied(info)
    own["score"] = float(own["score"])
    for key in _TRUTHS:
        own[key] = bool(own[key])
    return own  # type: ignore[no-any-return]


def _is_plainly_good(info: Any, task_id: str | None) -> bool:
    """Return whether an ``info`` has every key, of exactly its type: in microseconds, as every step passes here."""
    try:
        offered, score = info["admissible_actions"], info["score"]
        return (
            type(info) is dict
            and (info["task_id"] == task_id or task_id is None)
            and type(info["task_id"]) is type(info["task_type"]) is type(info["instruction"]) is str
            and type(info["anchor"]) is str
            and type(info["is_valid"]) is type(info["won"]) is bool
            and type(score) is float
            and 0 <= score <= 1
            and (offered is None or (type(offered) is list and _STR.issuperset(map(type, offered))))
        )
    except (KeyError, TypeError, IndexError):
        return False


def info_faults(info: Any, task_id: str | None = None) -> Iterator[str]:
    """Yield what is wrong with an ``info``, a line each."""
    if not isinstance(info, dict):
        yield f"info is {_shown(info)}, not a dictionary"
        return
    missing = [key for key in INFO_KEYS if key not in info]
    yield from (f"info has no {key!r}" for key in missing)
    for key in _TEXTS:
        if not isinstance(info.get(key, ""), str):
            yield f"info[{key!r}] is {_shown(info[key])}, not text"
    for key in _TRUTHS:
        if not isinstance(info.get(key, True), (bool, np.bool_)):
            yield f"info[{key!r}] is {_shown(info[key])}, not True or False"
    offered = info.get("admissible_actions")
    if offered is not None and not _is_texts(offered):
        yield f"info['admissible_actions'] is {_shown(offered)}, neither a list of strings nor None"
    if "score" not in missing:
        score = _number(info["score"])
        if score is None or not 0 <= score <= 1:
            yield f"info['score'] is {_shown(info['score'])}, not a number in [0, 1]"
    if task_id is not None and info.get("task_id", task_id) != task_id:
        yield f"info['task_id'] is {_shown(info['task_id'])}, and the task that is played is {task_id!r}"


def copied(value: Any) -> Any:
    """Return a value that shares no list, dictionary, set or array with ``value``; other objects are kept."""
    kind = value.__class__
    if kind in _PLAIN:
        return value
    if kind is list:
        return value[:] if _PLAIN.issuperset(map(type, value)) else [copied(each) for each in value]
    if kind is dict:
        return {key: each if each.__class__ in _PLAIN else copied(each) for key, each in value.items()}
    if kind is tuple:
        return value if _PLAIN.issuperset(map(type, value)) else tuple(copied(each) for each in value)
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    if isinstance(value, list):
        return [copied(each) for each in value]
    if isinstance(value, (set, bytearray, np.ndarray)):
        return value.copy()
    return value


def _is_texts(offered: Any) -> bool:
    return isinstance(offered, list) and all(isinstance(action, str) for action in offered)


def _number(value: Any) -> float | None:
    """Return a finite number as Python's own, and None for anything else: a text of digits or a truth is no number."""
    if value.__class__ is not float:
        if not isinstance(value, Real) or isinstance(value, bool):
            return None
        try:
            value = float(value)
        except (OverflowError, TypeError, ValueError):
            return None
    return value if math.isfinite(value) else None


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a stranger's object: whatever its text raises, its type can be named
        text = "an object"
    return f"{text if len(text) <= 60 else text[:60] + '…'} ({type(value).__name__})"
