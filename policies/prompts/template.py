"""The two texts that a prompt is made of, as Jinja templates; a file can replace them."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from envs.base.errors import UserError, unknown

ANSWER = """\
{% if thinking -%}
Reason step by step inside <think></think>, then give exactly one action inside <action></action>.
{%- else -%}
Answer with exactly one action inside <action></action> and nothing else.
{%- endif %}"""
"""How to answer: said in the system message, and repeated after every observation."""

USER = (
    """\
{% if task %}Task: {{ task }}

{% endif -%}
{% if left_out %}[Steps before {{ left_out + 1 }} are left out.]

{% endif -%}
{% for turn in history %}Observation {{ turn.number }}: {{ turn.observation }}
Action {{ turn.number }}: {{ turn.action }}

{% endfor -%}
Observation {{ number }}: {{ observation }}
{% if actions %}
Admissible actions:
{% for action in actions %}- {{ action }}
{% endfor %}{% endif %}
"""
    + ANSWER
)
"""The message that tells of the present; enough for most benchmarks."""


@dataclass(frozen=True, slots=True)
class Template:
    """The texts of a benchmark's prompt.

    Attributes:
        system: the first message. Variables: ``thinking``.
        user: the message with an observation. Variables: ``task`` (empty in all but the first message of a
            conversation), ``left_out`` (number of oldest steps that are not shown), ``history`` (the steps of the
            window, each with ``number``, ``observation``, ``action``; empty in a conversation), ``number`` (of the
            present step, from 1), ``observation``, ``actions`` (empty where they are not shown), ``thinking``, and
            ``background`` (the environment's ``info["background"]`` where there is one; with the task).
        answer: how the action of another policy is written as an answer. Variables: ``action``.
    """

    system: str
    user: str = USER
    answer: str = "<action>{{ action }}</action>"


def read_template(path: Path, default: Template) -> Template:
    """Read a TOML file with ``system``, ``user`` and ``answer``; what it does not have is taken from ``default``.

    Raises:
        UserError: the file cannot be read, has another key, or its text is no template.
    """
    try:
        texts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"the template {path} cannot be read: {error}") from error
    for key, text in texts.items():
        if key not in Template.__dataclass_fields__:
            raise unknown(f"text in the template {path}:", key, list(Template.__dataclass_fields__))
        if not isinstance(text, str):
            raise UserError(f"{key!r} in the template {path} must be a string")
    template = replace(default, **texts)
    _try(path, template)
    return template


def render(text: str, **variables: Any) -> str:
    """Fill a template in; the result has no spaces at its ends."""
    return _compiled(text).render(variables).strip()


@functools.lru_cache(maxsize=64)
def _compiled(text: str) -> jinja2.Template:
    # A template may come from somebody else: in the sandbox it can only put texts together.
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(text)


def _try(path: Path, template: Template) -> None:
    """Render both texts once, so that a mistake is told before anything is played."""
    past = {"number": 1, "observation": "before", "action": "look"}
    try:
        render(template.system, thinking=True)
        render(template.answer, action="look")
        shown = render(
            template.user,
            task="a task",
            background="",
            left_out=1,
            history=[past],
            number=2,
            observation="the present observation",
            actions=["look"],
            thinking=True,
        )
    except Exception as error:  # a template is a small program: it may raise anything
        raise UserError(f"the template {path} is wrong: {error}") from error
    if "the present observation" not in shown:
        raise UserError(f"the template {path} never shows the observation: write {{{{ observation }}}} in 'user'")
