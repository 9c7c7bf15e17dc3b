"""The prompt for ALFWorld: a household in text."""

from __future__ import annotations

from policies.prompts.template import ANSWER, Template

SYSTEM = (
    """\
You act in a house that is described to you in text, and you are given one household task. Each turn you see what
happened, and you choose the next action. You carry one object at a time. Things can lie on furniture or inside it;
what is closed must be opened before you see or reach what is in it. You must stand at a place to use it, so go there
first. To clean something, carry it to a sink; to heat it, to a microwave; to cool it, to a fridge; to look at
something under a lamp, hold it where the lamp is and use the lamp. When an action does nothing, do something else.

"""
    + ANSWER
)

TEMPLATE = Template(SYSTEM)
