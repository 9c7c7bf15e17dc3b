"""From a language model's answer to an action, or to the reason why there is none."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from envs.base.code_blocks import CodeBlock, chosen_block, code_blocks, has_statement, is_fenced, without_margin

_THINK = re.compile(r"<think(?:ing)?>", re.IGNORECASE | re.ASCII)
_THINK_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE | re.ASCII)
_ACTION_START = re.compile(r"<action\s*>", re.IGNORECASE)
# Closed by a whole tag, or at the end of the answer by the beginning of one: the action before it is whole.
_ACTION_END = re.compile(r"</action\s*>|</(?:a(?:c(?:t(?:i(?:o(?:n\s*)?)?)?)?)?)?\Z", re.IGNORECASE)
_TOOL_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL | re.IGNORECASE)
# What stands in the tags where a model repeats its instructions.
_PLACEHOLDER = re.compile(
    r"[\s.…]*|and|or|[\[{(<]*\s*(?:(?:your|the|an|one|next|chosen)\s+)*action(?:\s+here)?\s*[\]})>]*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """What an answer says.

    Attributes:
        action: what goes to the environment; empty where the answer has none.
        reason: why the answer breaks the rules, or None where it keeps them. What it then does is still the
            environment's to say: it may understand an action that it did not list.
    """

    action: str
    reason: str | None = None


def parse_answer(text: str, admissible: Sequence[str] | None = None, *, cut: bool | None = None) -> ParsedAnswer:
    """Read the action out of an answer. Any string is a legal argument, and nothing is raised.

    What stands up to the last ``</think>`` is thinking. In the rest an action is looked for in ``<action>`` tags,
    then in a tool call, then (where actions cannot be listed) in a fenced block; last, the rest as a whole, if it
    is an admissible action. Of several actions the first counts; tags with nothing in them, or with a placeholder
    (``<action>...</action>``), are the instruction repeated and no action. Of several blocks the first counts that has
    more than comments, and one that says that it is Python before the others.

    An action whose tag is not closed is none where the answer was cut. Where that is not known it counts if it is
    admissible as it stands, since a stop string may have been taken off; and where the answer is known to be whole it
    counts. Of a block that is not closed the beginning is the action, as AppWorld's own agents have it, with a reason.

    Args:
        text: the whole answer.
        admissible: the actions that were offered, if any. A word in angle brackets stands for any text
            (``search[<query>]``). Capitals and spaces at the ends do not matter; the offered spelling is returned.
        cut: whether the answer was cut short (at the longest that it may be); None where that is not known.
    """
    rest, unclosed = _after_thinking(text)
    if unclosed:
        return ParsedAnswer("", "the thinking was not closed")
    if not rest:
        return ParsedAnswer("", "the answer is empty")
    closed, tail = _in_tags(rest)
    found = [action for action in closed if not _is_placeholder(action, admissible)]
    if found:
        reason = _several(len(found) + bool(tail))
        if admissible is None and is_fenced(found[0]):
            parsed = _from_blocks(code_blocks(found[0]), "the action is empty")
            return ParsedAnswer(parsed.action, reason or parsed.reason)
        return _checked(without_margin(found[0]) if admissible is None else found[0], admissible, reason)
    if tail is not None and not _is_placeholder(tail, admissible) and not (admissible is None and is_fenced(tail)):
        return _unclosed(tail, admissible, cut)
    calls = _TOOL_CALL.findall(rest)
    if calls:
        action, reason = _from_call(calls[0])
        return _checked(action, admissible, reason or _several(len(calls)))
    nothing = "there is no action" if tail is None and not closed else "the action is empty"
    if admissible is None:
        return _from_blocks(code_blocks(rest), nothing)
    # Tags may be left over: the template opened the first, or they were repeated with nothing inside.
    whole = _checked(_ACTION_END.sub("", _ACTION_START.sub("", rest)), admissible, None)
    return whole if whole.reason is None else ParsedAnswer("", nothing)


def cut_by(finish: str | None) -> bool | None:
    """Return whether an answer was cut short, by the reason for which it ended: ``length``, another, or None."""
    return None if finish is None else finish == "length"


def _after_thinking(text: str) -> tuple[str, bool]:
    ends = [found.end() for found in _THINK_END.finditer(text)]
    rest = text[ends[-1] if ends else 0 :].strip()
    return rest, _THINK.search(rest) is not None


def _in_tags(text: str) -> tuple[list[str], str | None]:
    """Return what stands in closed tags, the innermost of nested ones, and what follows a last tag without an end."""
    starts = [found.span() for found in _ACTION_START.finditer(text)]
    closed = []
    for number, (_, start) in enumerate(starts):
        following = starts[number + 1][0] if number + 1 < len(starts) else len(text)
        end = _ACTION_END.search(text, start)
        if end and end.start() < following:
            closed.append(text[start : end.start()])
        elif number + 1 == len(starts):
            return closed, text[start:]
    return closed, None


def _is_placeholder(action: str, admissible: Sequence[str] | None) -> bool:
    action = action.strip()
    if _PLACEHOLDER.fullmatch(action) is None:
        return False
    is_listed = admissible is not None and action.lower() in (offered.lower() for offered in admissible)
    return not (action and is_listed)


def _unclosed(action: str, admissible: Sequence[str] | None, cut: bool | None) -> ParsedAnswer:
    if not cut:
        parsed = _checked(action, admissible, "the action was not closed" if admissible is None else None)
        if cut is not None or parsed.reason is None:
            return parsed
    return ParsedAnswer("", "the answer was cut within the action" if cut else "the action was not closed")


def _from_blocks(blocks: list[CodeBlock], nothing: str) -> ParsedAnswer:
    if not blocks:
        return ParsedAnswer("", nothing)
    block, count = chosen_block(blocks)
    reason = _several(count) if block.is_closed else "the block was not closed"
    return _checked(block.code, None, reason or (None if has_statement(block.code) else "there are only comments"))


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


def _checked(action: str, admissible: Sequence[str] | None, reason: str | None) -> ParsedAnswer:
    action = action.strip()
    if not action:
        return ParsedAnswer("", reason or "the action is empty")
    if admissible is None:
        return ParsedAnswer(action, reason)
    lowered = action.lower()
    for offered in admissible:
        if not (form := _form(offered)):
            if offered.lower() == lowered:
                return ParsedAnswer(offered, reason)
        elif offered.lower() == lowered:
            return ParsedAnswer(action, f"{offered} was copied and not filled in")
        elif form.fullmatch(action):
            return ParsedAnswer(action, reason)
    return ParsedAnswer(action, reason or "the action is not admissible")


@functools.lru_cache(maxsize=65536)
def _form(offered: str) -> re.Pattern[str] | None:
    """Return what an offered action with words in angle brackets stands for; None where it stands for itself."""
    parts = re.split(r"<[a-z ]+>", offered)
    return re.compile(".+".join(map(re.escape, parts)), re.IGNORECASE | re.DOTALL) if len(parts) > 1 else None
