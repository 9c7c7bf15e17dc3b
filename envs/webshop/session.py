"""One visit to the shop: how a page follows from a page and an action.

A visit is a :class:`Visit`, an immutable value: keeping it is a snapshot, putting it back restores it exactly.
The :class:`Shop` holds what all visits share and is a set of functions from a visit to the next one, its page
and its address. The address exists because the original reads the kind of page, and which options are chosen,
back out of it, so text that the shopper typed can confuse both; ``compat=False`` looks at the visit instead,
and offers ``Next >`` only where more results follow.
"""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from envs.webshop import pages
from envs.webshop.catalogue import Catalogue
from envs.webshop.goals import Goal
from envs.webshop.reward import Reward, reward

RESULTS = 50
ROOT = "http://127.0.0.1:3000"
SESSION = "shopper"  # the original draws ten letters; no rule looks at them

_CACHED_SEARCHES = 2048
_ADDRESS_KINDS = ("search_results", "item_page", "item_sub_page", "done")

PageKind = Literal["search", "results", "item", "Description", "Features", "Reviews", "done"]
_SUB_PAGES: dict[str, PageKind] = {"description": "Description", "features": "Features", "reviews": "Reviews"}

Search = Callable[[str], Sequence[int] | None]
Nouns = Callable[[int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Visit:
    """Where a shopper is, and everything that decides what comes next.

    Attributes:
        page: kind of the present page.
        keywords: words of the last search, as split at single spaces; empty before the first one.
        number: number of the present or last result page; 1 is the first.
        product: place of the open product in the catalogue, or ``None``.
        options: chosen ``(name, value)`` pairs, in the order in which the names were first chosen.
        visited: ids of the products opened since the last ``Back to Search``.
        draws: how often random products were asked for (``search[<r>]``).
        bought: what the last purchase scored, or ``None`` before one.
    """

    page: PageKind = "search"
    keywords: tuple[str, ...] = ()
    number: int = 1
    product: int | None = None
    options: tuple[tuple[str, str], ...] = ()
    visited: frozenset[str] = frozenset()
    draws: int = 0
    bought: Reward | None = None


def parse_action(action: str) -> tuple[str, str] | None:
    """Split ``search[red shoes]`` into its name and its lower-case argument; ``None`` if it is not an action.

    The original matches ``(.+)\\[(.+)\\]``: both parts are greedy, neither may hold a newline, and text after the last
    bracket is ignored. The pattern itself would take quadratic time for an action of many brackets.
    """
    line = action.partition("\n")[0]
    end = line.rfind("]")
    begin = line.rfind("[", 0, max(0, end - 1))
    if begin < 1 or line[:begin] not in ("search", "click"):
        return None
    return line[:begin], line[begin + 1 : end].lower()


class Shop:
    """What all visits to one catalogue share.

    Args:
        catalogue: the products.
        prices: price of each product in dollars, in catalogue order.
        search: ranks the catalogue: the places of at most 50 products, best first, for a query, or
            ``None`` if it cannot answer.
        nouns: the lower-case nouns of the title of the product at a place.
        compat: keep the oddities of the original that come from reading its own address.
    """

    def __init__(
        self, catalogue: Catalogue, prices: Sequence[float], search: Search, nouns: Nouns, *, compat: bool = True
    ) -> None:
        self.catalogue = catalogue
        self.prices = prices
        self.compat = compat
        self._search = search
        self._nouns = nouns
        self._found: OrderedDict[tuple[str, ...], Sequence[int]] = OrderedDict()

    # -- actions ---------------------------------------------------------------------------------------

    def act(self, visit: Visit, action: str, goal: Goal, clickable: Collection[str]) -> Visit | None:
        """Carry out an action.

        Args:
            visit: where the shopper is.
            action: any string.
            goal: what is to be bought.
            clickable: the names on the present page that can be clicked.

        Returns:
            The visit after the action, or ``None`` if it is refused and changes nothing.
        """
        parsed = parse_action(action)
        if parsed is None:
            return None
        name, argument = parsed
        if name == "search":
            return self._to_results(visit, tuple(argument.split(" ")), 1)
        if argument == "search" or argument not in clickable:
            return None
        return self._click(visit, argument, goal)

    def _click(self, visit: Visit, name: str, goal: Goal) -> Visit | None:
        kind = self._page_kind(visit)
        if name == pages.BUY.lower():
            return replace(visit, page="done", bought=self.score(visit, goal))
        if name == pages.BACK.lower():
            return Visit(draws=visit.draws, bought=visit.bought)
        if name == pages.NEXT.lower() and kind == "search_results":
            return self._to_results(visit, visit.keywords, visit.number + 1)
        if name == pages.PREVIOUS.lower():
            if kind == "search_results":
                return self._to_results(visit, visit.keywords, visit.number - 1)
            if kind == "item_page":
                return self._to_results(visit, visit.keywords, visit.number)
            return replace(visit, page="item")
        if name in _SUB_PAGES:
            return replace(visit, page=_SUB_PAGES[name])
        if visit.page == "results":
            asin = name.upper()
            return replace(visit, page="item", product=self.catalogue.position[asin], visited=visit.visited | {asin})
        return replace(visit, page="item", options=self._with_option(visit, name))

    def _to_results(self, visit: Visit, keywords: tuple[str, ...], number: int) -> Visit | None:
        if keywords[0] == "<a>" or keywords == ("<c>",):
            return None  # the original crashes
        draws = visit.draws + (keywords[0] == "<r>")
        after = replace(visit, page="results", keywords=keywords, number=number, product=None, options=(), draws=draws)
        return None if self.results(after) is None else after

    def _with_option(self, visit: Visit, value: str) -> tuple[tuple[str, str], ...]:
        assert visit.product is not None
        names = [name for name, values in self.catalogue.products[visit.product].options.items() if value in values]
        chosen = dict(visit.options)
        chosen[names[-1]] = value  # of several options with the same value, the page keeps the last
        return tuple(chosen.items())

    def score(self, visit: Visit, goal: Goal) -> Reward:
        """Score buying the open product with the chosen options now."""
        assert visit.product is not None
        return reward(
            self.catalogue.products[visit.product],
            goal,
            self.prices[visit.product],
            dict(visit.options),
            self._nouns(visit.product),
            self._nouns(self.catalogue.position[goal.asin]),
        )

    # -- pages -----------------------------------------------------------------------------------------

    def results(self, visit: Visit) -> Sequence[int] | None:
        """Return the places of all products found by the visit's search; ``None`` if it cannot be answered.

        ``<q> text`` finds the products with this query field, ``<c> word`` those of a department, ``<r>``
        50 products at random (the same ones each time this is asked of the same visit).
        """
        keywords = visit.keywords
        if keywords[0] == "<r>":
            size = len(self.catalogue.products)
            return random.Random(f"products {visit.draws}").sample(range(size), min(RESULTS, size))
        if keywords[0] == "<c>":
            return self.catalogue.by_category.get(keywords[1].strip(), [])
        if keywords[0] == "<q>":
            return self.catalogue.by_query.get(" ".join(keywords[1:]).strip(), [])
        return self._ranked(keywords)

    def _ranked(self, keywords: tuple[str, ...]) -> Sequence[int] | None:
        found = self._found.get(keywords)
        if found is None:
            answer = self._search(" ".join(keywords))
            if answer is None:
                return None
            found = self._found[keywords] = tuple(answer)
            if len(self._found) > _CACHED_SEARCHES:
                self._found.popitem(last=False)
        return found

    def nodes(self, visit: Visit, goal: Goal) -> list[pages.Node]:
        """Return the text nodes of the present page."""
        if visit.page == "search":
            return pages.search_page(goal.instruction)
        if visit.page == "results":
            found = self.results(visit) or ()
            shown = found[(visit.number - 1) * pages.PAGE_SIZE : visit.number * pages.PAGE_SIZE]
            products = [self.catalogue.products[place] for place in shown]
            more = self.compat or visit.number * pages.PAGE_SIZE < len(found)
            return pages.results_page(goal.instruction, products, visit.number, len(found), has_next=more)
        assert visit.product is not None
        product = self.catalogue.products[visit.product]
        if visit.page == "item":
            return pages.item_page(goal.instruction, product)
        if visit.page == "done":
            assert visit.bought is not None
            return pages.done_page(product.asin, dict(visit.options), visit.bought.reward)
        return pages.sub_page(goal.instruction, product, visit.page)

    def observe(self, visit: Visit, nodes: Sequence[pages.Node], mode: str) -> str:
        """Print the nodes of the present page in the mode ``text`` or ``text_rich``."""
        if mode == "text":
            return pages.text(nodes)
        return pages.text_rich(nodes, self._is_chosen(visit), visit.visited.__contains__)

    def _is_chosen(self, visit: Visit) -> Callable[[str], bool]:
        if not self.compat:
            return {value for _, value in visit.options}.__contains__
        return partial(_is_quoted_in, self._address(visit))

    def _page_kind(self, visit: Visit) -> str:
        if not self.compat:
            return {"search": "", "results": "search_results", "item": "item_page", "done": "done"}.get(
                visit.page, "item_sub_page"
            )
        address = self._address(visit)
        return next((kind for kind in _ADDRESS_KINDS if kind in address), "")

    def _address(self, visit: Visit) -> str:
        if visit.page == "search":
            return f"{ROOT}/{SESSION}"
        keywords = "+".join(visit.keywords)
        if visit.page == "results":
            return f"{ROOT}/search_results/{SESSION}/{keywords}/{visit.number}"
        assert visit.product is not None
        asin = self.catalogue.products[visit.product].asin
        options = dict(visit.options)
        if visit.page == "item":
            return f"{ROOT}/item_page/{SESSION}/{asin}/{keywords}/{visit.number}/{json.dumps(options)}"
        if visit.page == "done":
            return f"{ROOT}/done/{SESSION}/{asin}/{options}"
        return f"{ROOT}/item_sub_page/{SESSION}/{asin}/{keywords}/{visit.number}/{visit.page}/{options}"


def _is_quoted_in(address: str, value: str) -> bool:
    return f'"{value}"' in address
