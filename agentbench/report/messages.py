"""An episode as messages, so that importing them gives the same actions, tool calls and offered actions again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentbench.importing.content import calls_from
from agentbench.runs.episodes import Episode, Step

Call = Callable[[str, str, dict[str, Any]], dict[str, Any]]


def messages_of(
    episode: Episode, call: Call, beside: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the messages of an episode.

    Args:
        episode: the episode.
        call: makes a tool call of its id, name and arguments.
        beside: places further facts of a message (``admissible_actions``, ``action``, ``is_valid``) in it.
    """
    messages: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []  # calls of which the result is what is seen next
    for number, step in enumerate(episode.steps):
        offered = {} if step.admissible_actions is None else {"admissible_actions": step.admissible_actions}
        messages += _seen(step.observation, waiting, beside(offered) if offered else {})
        calls = calls_from(step.action)
        waiting = [call(f"call_{number}_{index}", *each) for index, each in enumerate(calls)]
        messages.append({"role": "assistant", **_said(step, waiting, beside)})
    if episode.final_observation or waiting:
        messages += _seen(episode.final_observation, waiting, {})
    return messages


def _seen(text: str, calls: list[dict[str, Any]], more: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is seen: the results of the calls before it, the first with all of the text; else the user's."""
    if not calls:
        return [{"role": "user", "content": text, **more}]
    first, *others = [{"role": "tool", "tool_call_id": each["id"]} for each in calls]
    return [{**first, "content": text, **more}, *({**each, "content": ""} for each in others)]


def _said(
    step: Step, calls: list[dict[str, Any]], beside: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    answer = step.text or ""
    said: dict[str, Any] = {"content": answer if calls else answer or step.action}
    facts: dict[str, Any] = {"is_valid": step.is_valid}
    if calls:
        said["tool_calls"] = calls
    elif answer and answer != step.action:
        facts["action"] = step.action
    return said | beside(facts)
