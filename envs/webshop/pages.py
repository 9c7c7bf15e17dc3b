"""The pages of the shop as lists of text nodes, and the two observations made from them.

The original renders HTML and reads the text back out of it. Here each page is the list of the text nodes that
its HTML would hold, in document order, each with its kind; :func:`text` and :func:`text_rich` print them as the
original's two observation modes do, and :func:`clickables` lists what can be clicked. Quirks of the parser that
show: a node of nothing but white space shrinks to one newline if it holds one, else to one space, and nodes
that are a single newline are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from envs.webshop.catalogue import Product

PAGE_SIZE = 10

BUY = "Buy Now"
NEXT = "Next >"
PREVIOUS = "< Prev"
BACK = "Back to Search"
SEARCH = "Search"
SUB_PAGES = ("Description", "Features", "Reviews")

_ASCII_SPACE = " \n\t\f\r"

Kind = Literal["plain", "button", "product", "option"]


class Node(NamedTuple):
    """One text node of a page: what it is, and its text."""

    kind: Kind
    text: str


def search_page(instruction: str) -> list[Node]:
    """Return the first page, with the search bar."""
    return [_plain("WebShop"), _plain("Instruction: "), _plain(instruction), _button(SEARCH)]


def results_page(
    instruction: str, products: Sequence[Product], page: int, total: int, *, has_next: bool = True
) -> list[Node]:
    """Return one page of search results.

    Args:
        instruction: the goal's instruction.
        products: the products on this page, at most ten.
        page: page number; the first is 1.
        total: number of results on all pages.
        has_next: whether the ``Next >`` button is there.
    """
    nodes = [*_head(instruction), _plain(f"Page {page} (Total results: {total})")]
    if page > 1:
        nodes.append(_button(PREVIOUS))
    if has_next:
        nodes.append(_button(NEXT))
    for product in products:
        nodes += (Node("product", product.asin), _plain(product.title), _plain(product.price_tag))
    return nodes


def item_page(instruction: str, product: Product) -> list[Node]:
    """Return the page of a product, with its options."""
    nodes = [*_head(instruction), _button(PREVIOUS)]
    for name, values in product.options.items():
        nodes.append(_plain(name))
        nodes += (Node("option", value) for value in values)
    nodes += (_plain(product.title), _plain(f"Price: {product.price_tag}"), _plain("Rating: N.A."))
    nodes += (_button(name) for name in (*SUB_PAGES, BUY))
    return nodes


def sub_page(instruction: str, product: Product, name: str) -> list[Node]:
    """Return the page ``Description``, ``Features`` or ``Reviews`` (always empty) of a product."""
    nodes = [*_head(instruction), _button(PREVIOUS)]
    if name == "Description":
        nodes.append(_plain(product.description))
    elif name == "Features":
        nodes += (_plain(f" {bullet}") for bullet in product.bullets)
    return nodes


def done_page(asin: str, options: Mapping[str, str], score: float) -> list[Node]:
    """Return the page after a purchase; most of its fields are empty in the text environment."""
    none = "None"
    texts = ["Thank you for shopping with us!", "Your code: ", none, " (Paste it in your MTurk interface.)"]
    texts += ["Purchased", "asin", asin, "options", _html_json(options), "attrs", none, "category", none]
    texts += ["query", none, "product category", none, "Target", "asin", "options", "attrs", "price upper"]
    texts += ["instuction text", "category", "product category", "query", "Goal ", none]  # sic
    texts += ["Reward", "Your score (min 0.0, max 1.0)", str(score), "Reward Details ", none]
    return [_plain(line) for line in texts]


def text(nodes: Sequence[Node]) -> str:
    """Print a page in the mode ``text``: stripped nodes between `` [SEP] ``."""
    return " [SEP] ".join(node.text.strip() for node in _visible(nodes))


def text_rich(nodes: Sequence[Node], is_chosen: Callable[[str], bool], is_visited: Callable[[str], bool]) -> str:
    """Print a page in the mode ``text_rich``: a node a line, with marks for what can be and was clicked.

    Args:
        nodes: the page.
        is_chosen: whether an option value shows as chosen.
        is_visited: whether a product id shows as visited.
    """
    lines: list[str] = []
    chosen: list[str] = []
    for kind, content in _visible(nodes):
        if kind == "button":
            lines.append(f"[button] {content} [button_]")
        elif kind == "option":
            clicked = "clicked " if is_chosen(content) else ""
            lines.append(f"  [{clicked}button] {content} [{clicked}button_]")
            if clicked:
                chosen.append(f"You have clicked {content}.")
        elif kind == "product":
            clicked = "clicked " if is_visited(content) else ""
            lines.append(f"\n[{clicked}button] {content} [{clicked}button_]")
        else:
            lines.append(content)
    return "".join(f"{line}\n" for line in (*reversed(chosen), *lines))


def clickables(nodes: Sequence[Node]) -> list[str]:
    """List what can be clicked: buttons, then products, then option values; lower case, each once."""
    buttons = [node.text.lower() for node in nodes if node.kind == "button"]
    products = [node.text.lower() for node in nodes if node.kind == "product"]
    options = [node.text for node in nodes if node.kind == "option"]
    return list(dict.fromkeys((*buttons, *products, *options)))


def _head(instruction: str) -> tuple[Node, ...]:
    return (_plain("Instruction:"), _plain(instruction), _button(BACK))


def _plain(content: str) -> Node:
    return Node("plain", content)


def _button(content: str) -> Node:
    return Node("button", content)


def _visible(nodes: Sequence[Node]) -> list[Node]:
    shown = []
    for node in nodes:
        if node.text.strip(_ASCII_SPACE):
            shown.append(node)
        elif node.text and "\n" not in node.text:  # an empty node is none, a newline is dropped
            shown.append(Node(node.kind, " "))
    return shown


def _html_json(options: Mapping[str, str]) -> str:
    """Print options as the page's JSON: keys sorted, ASCII only, and HTML's own signs escaped."""
    printed = json.dumps(dict(options), sort_keys=True)
    for sign in "<>&'":
        printed = printed.replace(sign, f"\\u{ord(sign):04x}")
    return printed
