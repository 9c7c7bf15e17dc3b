"""From a prompt to the chat messages of a language model, within its context limit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from envs.base.errors import UserError
from policies.contract import Prompt, Turn
from policies.prompts import alfworld, appworld, generic, webshop
from policies.prompts.template import Template, read_template, render

Message = dict[str, str]

TEMPLATES: dict[str, Template] = {
    "alfworld": alfworld.TEMPLATE,
    "appworld": appworld.TEMPLATE,
    "webshop": webshop.TEMPLATE,
}
"""Environment -> its texts; every other environment gets the generic ones."""


class ContextTooLong(Exception):  # noqa: N818  (it ends an episode, not the run)
    """Task and present observation alone are longer than the model's context."""


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How prompts are written.

    Attributes:
        template: the benchmark's texts.
        history: how many past steps are shown, in one message that is written anew each step; None for the whole
            conversation, which only grows, so that a server or engine can keep what it computed for its beginning.
        thinking: ask for reasoning before the action.
        show_actions: list the admissible actions, where the environment knows them.
    """

    template: Template = generic.TEMPLATE
    history: int | None = None
    thinking: bool = True
    show_actions: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return everything that decides the messages, as JSON: for digests and records."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Messages that fit.

    Attributes:
        messages: what is sent.
        left_out: number of oldest steps that the context limit cut, beyond what the window leaves out.
    """

    messages: list[Message]
    left_out: int


def make_settings(
    environment: str,
    *,
    history: int | str = "all",
    thinking: bool = True,
    show_actions: bool = True,
    template: str | Path | None = None,
) -> PromptSettings:
    """Make settings from what a user wrote.

    Args:
        environment: short name of the environment.
        history: number of past steps that are shown, or ``all``.
        thinking: ask for reasoning before the action.
        show_actions: list the admissible actions.
        template: TOML file that replaces the benchmark's texts.

    Raises:
        UserError: a history that is no number of steps, or an unusable template file.
    """
    if history != "all" and (not isinstance(history, int) or isinstance(history, bool) or history < 0):
        raise UserError(f"history must be a number of steps or 'all', got {history!r}")
    texts = TEMPLATES.get(environment, generic.TEMPLATE)
    if template is not None:
        texts = read_template(Path(template).expanduser(), texts)
    return PromptSettings(texts, None if history == "all" else int(history), thinking, show_actions)


def build_messages(prompt: Prompt, settings: PromptSettings, left_out: int = 0) -> list[Message]:
    """Write the messages for one step.

    With ``settings.history`` None the messages of a step begin with those of the step before (as long as
    ``left_out`` is 0): system, then user and assistant in turn. Otherwise: system and one user message.

    Args:
        prompt: the step.
        settings: how to write.
        left_out: leave out at least this many of the oldest steps; the task is always there.
    """
    turns = prompt.history
    if settings.history is None:
        first = min(left_out, len(turns))
        return [_system(settings), *_conversation(prompt, settings, first)]
    first = min(max(left_out, len(turns) - settings.history), len(turns))
    window = [
        {"number": number, "observation": turn.observation, "action": turn.action}
        for number, turn in enumerate(turns[first:], first + 1)
    ]
    return [_system(settings), _present(prompt, settings, first, window, with_task=True)]


def fit_messages(
    prompt: Prompt, settings: PromptSettings, count: Callable[[Sequence[Message]], int], limit: int | None
) -> Fitted:
    """Write the messages for one step so that they fit: the oldest steps go first, the task never.

    Args:
        prompt, settings: as for :func:`build_messages`.
        count: gives the length of messages in tokens.
        limit: longest length that fits; None for no limit.

    Raises:
        ContextTooLong: not even the task and the present observation fit.
    """
    messages = build_messages(prompt, settings)
    if limit is None or count(messages) <= limit:
        return Fitted(messages, 0)
    steps = len(prompt.history)
    hidden = 0 if settings.history is None else max(0, steps - settings.history)
    too_few, enough = hidden, steps
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if count(build_messages(prompt, settings, middle)) <= limit:
            enough = middle
        else:
            too_few = middle
    messages = build_messages(prompt, settings, enough)
    if (tokens := count(messages)) > limit:
        raise ContextTooLong(
            f"task and observation alone are {tokens} tokens long, {limit} fit into the context beside an "
            "answer: take a model or server with a longer context, a lower max_tokens, or a shorter template"
        )
    return Fitted(messages, enough - hidden)


def _conversation(prompt: Prompt, settings: PromptSettings, first: int) -> list[Message]:
    messages = []
    for number, turn in enumerate(prompt.history[first:], first + 1):
        actions = turn.admissible_actions
        messages.append(_user(prompt, settings, number, turn.observation, actions, first, [], number == first + 1))
        messages.append({"role": "assistant", "content": answer_of(turn, settings.template)})
    with_task = first == len(prompt.history)
    return [*messages, _present(prompt, settings, first if with_task else 0, [], with_task=with_task)]


def answer_of(turn: Turn, template: Template) -> str:
    """Return what the assistant said in a past turn; another policy's action as the template writes an answer."""
    return render(template.answer, action=turn.action) if turn.text is None else turn.text


def _system(settings: PromptSettings) -> Message:
    return {"role": "system", "content": _system_text(settings.template.system, settings.thinking)}


@functools.lru_cache(maxsize=64)
def _system_text(template: str, thinking: bool) -> str:
    return render(template, thinking=thinking)


def _present(
    prompt: Prompt, settings: PromptSettings, left_out: int, window: list[dict[str, Any]], *, with_task: bool
) -> Message:
    actions = prompt.info.get("admissible_actions")
    number = len(prompt.history) + 1
    return _user(prompt, settings, number, prompt.observation, actions, left_out, window, with_task)


def _user(
    prompt: Prompt,
    settings: PromptSettings,
    number: int,
    observation: str,
    actions: Sequence[str] | None,
    left_out: int,
    window: list[dict[str, Any]],
    with_task: bool,
) -> Message:
    task = prompt.info.get("instruction", "") if with_task else ""
    background = str(prompt.info.get("background", "")) if with_task else ""
    shown = tuple(actions) if settings.show_actions and actions else ()
    hidden = left_out if with_task else 0
    texts = settings.template.user, task, background, hidden, number, observation, shown, settings.thinking
    return {"role": "user", "content": _write(*texts, window) if window else _write_once(*texts)}


def _write(
    template: str,
    task: str,
    background: str,
    left_out: int,
    number: int,
    observation: str,
    actions: tuple[str, ...],
    thinking: bool,
    window: Sequence[dict[str, Any]] = (),
) -> str:
    return render(
        template,
        task=task,
        background=background,
        left_out=left_out,
        history=window,
        number=number,
        observation=observation,
        actions=actions,
        thinking=thinking,
    )


_write_once = functools.lru_cache(maxsize=16_384)(_write)
"""A conversation repeats its past messages at every step: they are written once."""
