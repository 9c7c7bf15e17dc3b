"""The prompt for an environment that has none of its own: it names no rules, so it fits any."""

from __future__ import annotations

from policies.prompts.template import ANSWER, Template

SYSTEM = (
    """\
You act in an environment that is described to you in text, and you are given one task. Each turn you see an
observation, and you choose the next action. Where a list of admissible actions is given, choose one of them and copy
it exactly; words in angle brackets stand for text of your own.

"""
    + ANSWER
)

TEMPLATE = Template(SYSTEM)
