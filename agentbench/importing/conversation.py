"""From messages to steps: every assistant message is one step, what came before it is its observation."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentbench.episodes import Episode, Outcome, Step, clean_text
from agentbench.importing.parts import BadPartError, Options

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

_SHAREGPT = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
    "system": "system",
}
"""What ShareGPT's ``from`` stands for."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an episode ended, as far as its log says.

    Attributes:
        rewards: of every step; or one number, the reward of the whole episode, given to its last step.
        success: whether the task was solved; None where the log has the reward alone.
        score: progress in [0, 1]; None for the reward, cut to that range.
        truncated: whether the episode was cut.
        error: what failed, if it was not the agent.
    """

    rewards: float | Sequence[float] = 0.0
    success: bool | None = None
    score: float | None = None
    truncated: bool = False
    error: str | None = None


def short_hash(*texts: str) -> str:
    """Return 12 hexadecimal digits that stand for the texts."""
    return hashlib.sha256("\x00".join(texts).encode("utf-8", "replace")).hexdigest()[:12]


def text_of(content: object) -> str:
    """Return the text of a message's content: a string, or a list of parts of which some are text.

    Raises:
        BadPartError: it is neither.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadPartError(f"the content of a message is {type(content).__name__}, not text")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, Mapping) and part.get("type") == "tool_result":
            texts.append(text_of(part.get("content")))
        elif isinstance(part, Mapping) and part.get("type") not in ("reasoning", "thinking", "tool_use"):
            texts.append(f"[{part.get('type', 'part')}]")
    return "\n".join(texts)


def call_text(call: object) -> str:
    """Write a tool call as ``name({"argument": value})``, with sorted names, so that equal calls are equal actions.

    Takes the shapes of the chat interface (``{"function": {"name", "arguments"}}``), of Inspect
    (``{"function": name, "arguments": {…}}``), of verifiers (``{"name", "arguments"}``), of Anthropic (``{"name",
    "input"}``), and each of them as a string of JSON.

    Raises:
        BadPartError: it has no name.
    """
    if isinstance(call, str):
        try:
            call = json.loads(call)
        except (ValueError, RecursionError):
            raise BadPartError("a tool call is a string but not JSON") from None
    if not isinstance(call, Mapping):
        raise BadPartError(f"a tool call is {type(call).__name__}, not an object")
    inner = call.get("function")
    function: Mapping[str, Any] = inner if isinstance(inner, Mapping) else call
    name = function.get("name") or (inner if isinstance(inner, str) else None)
    if not isinstance(name, str):
        raise BadPartError("a tool call has no name")
    if isinstance(space := function.get("namespace"), str):
        name = f"{space}.{name}"
    arguments = function.get("arguments", function.get("input"))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return f"{name}({arguments})"  # the model wrote no JSON: that is what it did
    return f"{name}({json.dumps(arguments or {}, sort_keys=True, ensure_ascii=False)})"


def calls_of(message: Mapping[str, Any]) -> list[Any]:
    """Return the tool calls of a message: ``tool_calls``, ``function_call``, or Anthropic's ``tool_use`` parts.

    Raises:
        BadPartError: ``tool_calls`` is no list.
    """
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadPartError("the tool calls of a message are not a list")
    if not calls and (single := message.get("function_call")):
        calls = [single]
    content = message.get("content")
    if not calls and isinstance(content, list):
        calls = [part for part in content if isinstance(part, Mapping) and part.get("type") == "tool_use"]
    return calls


def checked_messages(messages: object) -> list[dict[str, Any]]:
    """Return the messages, each an object with a known role; ShareGPT's (``from``, ``value``) in the usual shape.

    Raises:
        BadPartError: they are not.
    """
    if not isinstance(messages, list):
        raise BadPartError("the messages are not a list")
    messages = [_usual_shape(message) for message in messages]
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            role = message.get("role") if isinstance(message, dict) else message
            raise BadPartError(f"a message has the unknown role {role!r:.40}")
    return messages


def _usual_shape(message: Any) -> Any:
    """Return a message of ShareGPT as the chat interface has it, any other as it is."""
    if not isinstance(message, dict) or "role" in message or "from" not in message:
        return message
    said, value = message["from"], message.get("value")
    role = _SHAREGPT.get(said, said) if isinstance(said, str) else said
    if said == "function_call":
        return {"role": role, "tool_calls": [value]}
    return {"role": role, "content": value}


def instruction_of(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of the first user message, or an empty one."""
    return next((text_of(message.get("content")) for message in messages if message["role"] == "user"), "")


def first_answers(messages: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """Return the positions of the first ``count`` assistant messages."""
    return [position for position, message in enumerate(messages) if message["role"] == "assistant"][:count]


def make_episode(
    messages: list[dict[str, Any]],
    ending: Ending,
    options: Options,
    *,
    task_id: str | None = None,
    task_name: str | None = None,
    task_type: str = "imported",
    given: Container[int] = (),
) -> Episode:
    """Make an episode of a conversation.

    Args:
        messages: as :func:`checked_messages` returns them.
        ending: rewards and outcome.
        options: how logs are read.
        task_id: None for a hash of the first user message.
        task_name: None for the id.
        task_type: the strata of tables.
        given: positions of assistant messages that are examples which were given, and no steps.

    Raises:
        BadPartError: no step, a number of rewards that does not fit, a score outside [0, 1].
    """
    steps, seen = _steps(messages, given, options)
    instruction = instruction_of(messages)
    if not steps and ending.error is None:
        raise BadPartError("no assistant message: nothing was done")
    task_id = clean_text(task_id or short_hash(instruction))
    episode = Episode(
        task_id, clean_text(task_name or task_id), clean_text(task_type), clean_text(instruction), 0, "error", False,
        0.0, steps, final_observation=clean_text(seen.text), final_anchor=seen.anchor(options),
    )  # fmt: skip
    finish(episode, ending, options)
    return episode


class _Seen:
    """What the agent saw since its last action, and a hash of everything before."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.history = ""

    @property
    def text(self) -> str:
        return "\n\n".join(self.texts)

    def anchor(self, options: Options) -> str:
        return short_hash(self.history, self.text) if options.anchor == "history" else short_hash(self.text)

    def close(self, action: str) -> None:
        self.history = short_hash(self.history, self.text, action)
        self.texts = []


def _steps(messages: Sequence[Mapping[str, Any]], given: Container[int], options: Options) -> tuple[list[Step], _Seen]:
    steps: list[Step] = []
    seen = _Seen()
    for position, message in enumerate(messages):
        content = text_of(message.get("content"))
        if message["role"] != "assistant" or position in given:
            if message["role"] not in ("system", "developer"):
                seen.texts.append(content)
            if steps and message.get("error"):  # Inspect: the tool did not take the call
                steps[-1].is_valid = False
            continue
        action = "\n".join(map(call_text, calls_of(message))) or content
        steps.append(
            Step(
                observation=clean_text(seen.text),
                anchor=seen.anchor(options),
                admissible_actions=None,
                action=clean_text(action),
                reward=0.0,
                is_valid=message.get("is_valid") is not False,
                terminated=False,
                truncated=False,
                score=0.0,
                text=clean_text(content) if content and content != action else None,
            )
        )
        seen.close(action)
    return steps, seen


def finish(episode: Episode, ending: Ending, options: Options) -> None:
    """Write rewards, score and outcome into an episode whose steps are there.

    Raises:
        BadPartError: the number of rewards does not fit, or the score is outside [0, 1].
    """
    if isinstance(ending.rewards, float):
        rewards = [0.0] * (len(episode.steps) - 1) + [ending.rewards]
    else:
        rewards = list(ending.rewards)
        if len(rewards) != len(episode.steps):
            raise BadPartError(f"{len(rewards)} rewards for {len(episode.steps)} steps")
    total = sum(rewards)
    if not math.isfinite(total):
        raise BadPartError("the rewards are too large to be added up")
    score = min(max(total, 0.0), 1.0) if ending.score is None else ending.score
    if not 0.0 <= score <= 1.0:
        raise BadPartError(f"the score {score:g} is not between 0 and 1")
    for step, reward in zip(episode.steps, rewards, strict=False):
        step.reward = reward
    won = total >= options.success_at if ending.success is None else ending.success
    outcome: Outcome = "success" if won else "failure"
    if ending.error is not None:
        outcome, won, episode.error = "error", False, clean_text(ending.error)
    episode.outcome, episode.won, episode.score = outcome, won, score
    if episode.steps:
        last = episode.steps[-1]
        last.score, last.truncated, last.terminated = score, ending.truncated, not ending.truncated
