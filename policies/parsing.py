"""From a language model's answer to an action, or to the reason why there is none."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_THINK = re.compile(r"<think>", re.IGNORECASE | re.ASCII)
_THINK_END = re.compile(r"</think>", re.IGNORECASE | re.ASCII)
_ACTION = re.compile(r"<action>(.*?)(</action>|\Z)", re.DOTALL | re.IGNORECASE)
_TOOL_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL | re.IGNORECASE)
# A fence closes at the start or the end of a line, so that code may speak of fences; or with the answer, cut short.
_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)(^[ \t]*```|```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer says.

    Attributes:
        action: what goes to the environment; empty where the answer has none.
        reason: why the answer breaks the rules, or None where it keeps them. What it then does is still the
            environment's to say: it may understand an action that it did not list.
    """

    action: str
    reason: str | None = None


def parse_answer(text: str, admissible: Sequence[str] | None = None) -> Parsed:
    """Read the action out of an answer. Any string is a legal argument, and nothing is raised.

    What stands up to the last ``</think>`` is thinking. In the rest an action is looked for in ``<action>`` tags,
    then in a tool call, then (where actions cannot be listed) in a fenced block; last, the rest as a whole, if it
    is an admissible action. Of several actions the first counts.

    Args:
        text: the whole answer.
        admissible: the actions that were offered, if any. A word in angle brackets stands for any text
            (``search[<query>]``). Capitals and spaces at the ends do not matter; the offered spelling is returned.
    """
    rest, unclosed = _after_thinking(text)
    if unclosed:
        return Parsed("", "the thinking was not closed")
    if not rest:
        return Parsed("", "the answer is empty")
    found = _ACTION.findall(rest)
    if found:
        return _from_tags(found, admissible)
    calls = _TOOL_CALL.findall(rest)
    if calls:
        action, reason = _from_call(calls[0])
        return _checked(action, admissible, reason or _several(len(calls)))
    if admissible is None:
        return _from_fences(_FENCE.findall(rest))
    whole = _checked(rest, admissible, None)
    return whole if whole.reason is None else Parsed("", "there is no action")


def _after_thinking(text: str) -> tuple[str, bool]:
    ends = [found.end() for found in _THINK_END.finditer(text)]
    rest = text[ends[-1] if ends else 0 :].strip()
    return rest, _THINK.search(rest) is not None


def _from_tags(found: list[tuple[str, str]], admissible: Sequence[str] | None) -> Parsed:
    (action, closing), reason = found[0], _several(len(found))
    if not closing and admissible is None:
        reason = "the action was not closed"
    return _checked(action, admissible, reason)


def _from_fences(found: list[tuple[str, str]]) -> Parsed:
    if not found:
        return Parsed("", "there is no action")
    block, closing = found[0]
    return _checked(block, None, _several(len(found)) if closing else "the block was not closed")


def _from_call(call: str) -> tuple[str, str | None]:
    """Return the action of a tool call ``{"name": …, "arguments": {"action": …}}``, or why there is none."""
    try:
        arguments = json.loads(call)["arguments"]
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        action = arguments["action"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", "the tool call has no argument 'action'"
    return (action, None) if isinstance(action, str) else ("", "the action of the tool call is not a string")


def _several(count: int) -> str | None:
    return None if count == 1 else f"there are {count} actions, the first counts"


def _checked(action: str, admissible: Sequence[str] | None, reason: str | None) -> Parsed:
    action = action.strip()
    if not action:
        return Parsed("", reason or "the action is empty")
    if admissible is None:
        return Parsed(action, reason)
    lowered = action.lower()
    for offered in admissible:
        if not (form := _form(offered)):
            if offered.lower() == lowered:
                return Parsed(offered, reason)
        elif offered.lower() == lowered:
            return Parsed(action, f"{offered} was copied and not filled in")
        elif form.fullmatch(action):
            return Parsed(action, reason)
    return Parsed(action, reason or "the action is not admissible")


@functools.lru_cache(maxsize=65536)
def _form(offered: str) -> re.Pattern[str] | None:
    """Return what an offered action with words in angle brackets stands for; None where it stands for itself."""
    parts = re.split(r"<[a-z ]+>", offered)
    return re.compile(".+".join(map(re.escape, parts)), re.IGNORECASE | re.DOTALL) if len(parts) > 1 else None
