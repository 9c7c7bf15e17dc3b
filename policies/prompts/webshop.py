"""The prompt for WebShop: find a product and buy it."""

from __future__ import annotations

from policies.prompts.template import ANSWER, Template

SYSTEM = (
    """\
You shop in a web store that is shown to you as text, its parts separated by [SEP]. The task says which product is
wanted, with which properties and options, and below which price. Each turn you see one page, and you choose the next
action. There are two kinds: search[words] searches the store, and click[name] presses what is called name on the page:
a product's code, a button, or a value of an option. On the product's page click every option that the task asks for,
then click[buy now]. Buying ends the task, and the nearer the product is to what was asked, the better.

"""
    + ANSWER
)

TEMPLATE = Template(SYSTEM)
