"""From messages to steps: every assistant message is one step, what came before it is its observation."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentbench.importing.content import beside, call_text, calls_of, is_refused, short_hash, states_failure, text_of
from agentbench.importing.parts import BadPartError, Options, Read
from agentbench.runs.episodes import Episode, Outcome, Step
from envs.base.safe_text import without_half_characters

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

_ROLES = {
    **dict.fromkeys(("human", "user", "humanmessage", "environment", "env"), "user"),
    **dict.fromkeys(
        ("gpt", "assistant", "model", "chatgpt", "function_call", "ai", "bot", "aimessage", "agent"), "assistant"
    ),
    **dict.fromkeys(("tool", "observation", "function_response", "toolmessage", "ipython"), "tool"),
    **dict.fromkeys(("system", "systemmessage"), "system"),
}
"""What other words for a role stand for: ShareGPT's ``from``, LangChain's ``type``, those of other chat templates."""

_ASSENT = re.compile(
    r"\W*(ok|okay|sure|understood|got it|yes|certainly|ready|i understand|i am ready|i'm ready)\b", re.I
)
"""Answers that take note of a first message, and do nothing yet."""


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
    """Return a message of ShareGPT, LangChain or Gemini as the chat interface has it, any other as it is."""
    if not isinstance(message, dict):
        return message
    if "content" in message and message.get("role") in ROLES and "from" not in message and "value" not in message:
        return message
    if isinstance(message.get("data"), dict) and "role" not in message and "type" in message:
        message = {**message["data"], "type": message["type"]}  # LangChain's messages_to_dict
    field = next((name for name in ("role", "from", "type") if name in message), None)
    if field is None:
        return message
    said = message[field]
    role = _ROLES.get(said.lower(), said) if isinstance(said, str) and said not in ROLES else said
    shaped = {name: value for name, value in message.items() if name not in ("from", "value", "role")}
    if "content" not in message and "parts" in message:
        shaped["content"] = message["parts"]
    if field == "from":
        value = message.get("value")
        shaped |= {"tool_calls": _calls_in(value)} if said == "function_call" else {"content": value}
    return {**shaped, "role": role}


def _calls_in(value: Any) -> list[Any]:
    """Return the calls that ShareGPT writes as one text: a call, or a list of them."""
    if isinstance(value, str):
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        return read if isinstance(read, list) else [value]
    return value if isinstance(value, list) else [value]


def instruction_of(messages: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of the first user message, or an empty one."""
    return next((shown_by(message) for message in messages if message["role"] == "user"), "")


def shown_by(message: Mapping[str, Any]) -> str:
    """Return the text of a message, and the pictures that it holds beside it."""
    return "\n".join(filter(None, (text_of(message.get("content")), beside(message))))


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
    instruction: str | None = None,
    model: str | None = None,
) -> Read:
    """Make an episode of a conversation. One without an answer, whose log says how it ended, has no steps.

    Args:
        messages: as :func:`checked_messages` returns them.
        ending: rewards and outcome.
        options: how logs are read.
        task_id: None for a hash of the first user message.
        task_name: None for the id.
        task_type: the strata of tables.
        given: positions of assistant messages that are examples which were given, and no steps.
        instruction: the text of the task; None for the first user message.
        model: the model that played it, if the log says so.

    Raises:
        BadPartError: no message, a number of rewards that does not fit, a score outside [0, 1].
    """
    steps, seen = _steps(messages, given, options)
    first = instruction_of(messages)
    if not messages and task_id is None and ending.error is None:
        raise BadPartError("no assistant message, nor any other: nothing was done")
    by_message = short_hash(first)
    name = stored(task_id or by_message, options)
    episode = Episode(
        name, stored(task_name or name, options), stored(task_type, options),
        stored(first if instruction is None else instruction, options), 0, "error", False, 0.0, steps,
        final_observation=stored(seen.text, options), final_anchor=seen.anchor(seen.text),
    )  # fmt: skip
    finish(episode, ending, options)
    return Read("", episode, model, by_message=by_message, is_named=bool(task_id), **_course(messages, given))


def _course(messages: Sequence[Mapping[str, Any]], given: Container[int]) -> dict[str, Any]:
    """Return what :class:`Read` says of how the episode began and went on."""
    answers = [at for at, each in enumerate(messages) if each["role"] == "assistant" and at not in given]
    first, second = (*answers, len(messages), len(messages))[:2]
    opening = short_hash(*(_all_of(message) for message in messages[:first]))
    if not answers:
        return {"opening": opening}
    action = _all_of(messages[first])
    return {
        "opening": opening,
        "went_on": (
            short_hash(opening, "" if _ASSENT.match(action) else action),
            short_hash(*(_all_of(message) for message in messages[first + 1 : second])),
        ),
    }


def _all_of(message: Mapping[str, Any]) -> str:
    return "\n".join([*map(call_text, calls_of(message)), shown_by(message)])


class _Seen:
    """What the agent saw since its last action, and a hash of everything before."""

    def __init__(self, options: Options) -> None:
        self.texts: list[str] = []
        self._with_history = options.anchor == "history"
        self._history = ""
        self._before: tuple[str, str] | None = None  # the last situation and what was done in it

    @property
    def text(self) -> str:
        return "\n\n".join(filter(None, self.texts))

    def anchor(self, text: str) -> str:
        """Return the situation; with nothing new in ``text``, it is what the last action made of the one before."""
        if self._with_history:
            return short_hash(self._history, text)
        return short_hash("after", short_hash(*self._before)) if self._before and not text.strip() else short_hash(text)

    def close(self, text: str, anchor: str, action: str) -> None:
        self._before = (anchor, action)
        if self._with_history:
            self._history = short_hash(self._history, text, action)
        self.texts = []


def _steps(messages: Sequence[Mapping[str, Any]], given: Container[int], options: Options) -> tuple[list[Step], _Seen]:
    steps: list[Step] = []
    seen = _Seen(options)
    offered: list[str] | None = None
    is_told = False  # whether the log itself says if the last action was valid
    for position, message in enumerate(messages):
        content = shown_by(message)
        if message["role"] != "assistant" or position in given:
            if message["role"] not in ("system", "developer"):
                seen.texts.append(content)
                found = _offered(message)
                offered = offered if found is None else found
                if steps and not is_told and states_failure(message):
                    steps[-1].is_valid = False
            continue
        done = message.get("action")
        action = done if isinstance(done, str) else "\n".join(map(call_text, calls_of(message))) or content
        text = seen.text
        anchor = seen.anchor(text)
        steps.append(
            Step(
                observation=stored(text, options),
                anchor=anchor,
                admissible_actions=offered,
                action=stored(action, options),
                reward=0.0,
                is_valid=message.get("is_valid") is not False and not is_refused(message),
                terminated=False,
                truncated=False,
                score=0.0,
                text=stored(content, options) if content and content != action else None,
            )
        )
        seen.close(text, anchor, action)
        offered, is_told = None, isinstance(message.get("is_valid"), bool)
    return steps, seen


def _offered(message: Mapping[str, Any]) -> list[str] | None:
    """Return the actions that a message says were offered, if it does."""
    beside_it = message.get("metadata")
    listed = message.get("admissible_actions")
    if listed is None and isinstance(beside_it, Mapping):
        listed = beside_it.get("admissible_actions")
    return (
        [without_half_characters(each) for each in listed if isinstance(each, str)]
        if isinstance(listed, list)
        else None
    )


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
        outcome, won, episode.error = "error", False, stored(ending.error, options)
    episode.outcome, episode.won, episode.score = outcome, won, score
    if episode.steps:
        last = episode.steps[-1]
        last.score, last.truncated, last.terminated = score, ending.truncated, not ending.truncated


def stored(text: str, options: Options) -> str:
    """Return a text as it is stored: no half characters, and a mark where it was cut."""
    text = without_half_characters(text)
    if len(text) > options.max_text:
        text = f"{text[: options.max_text]}…[cut: {len(text)} characters]"
    return text
