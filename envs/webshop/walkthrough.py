"""The way to the target: actions that find the product of a goal, choose its options and buy it."""

from __future__ import annotations

from collections.abc import Iterator

from envs.webshop import pages
from envs.webshop.catalogue import Product
from envs.webshop.goals import Goal
from envs.webshop.reward import normal_color, token_set_ratio
from envs.webshop.session import Shop, Visit, parse_action


class Walkthroughs:
    """Finds the shortest plain way to each target of a shop, and remembers it by product.

    Args:
        shop: the shop.
    """

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._ways: dict[str, list[str]] = {}

    def of(self, goal: Goal) -> list[str] | None:
        """Return the actions from the first page to the purchase; ``None`` if no search finds the target."""
        way = self._ways.get(goal.asin)
        if way is None:
            way = self._ways[goal.asin] = self._way_to(goal)
        if not way:
            return None
        product = self._shop.catalogue.products[self._shop.catalogue.position[goal.asin]]
        choices = [f"click[{value}]" for _, value in choose_options(product, goal)]
        return [*way, *choices, f"click[{pages.BUY.lower()}]"]

    def _way_to(self, goal: Goal) -> list[str]:
        target = self._shop.catalogue.position[goal.asin]
        best: list[str] = []
        for query in _queries(goal):
            action = f"search[{query}]"
            found = self._shop.act(Visit(), action, goal, ())
            places = list(self._shop.results(found) or ()) if found else []
            if target not in places:
                continue
            pages_on = places.index(target) // pages.PAGE_SIZE
            way = [action, *[f"click[{pages.NEXT.lower()}]"] * pages_on, f"click[{goal.asin.lower()}]"]
            if not best or len(way) < len(best):
                best = way
            if pages_on == 0:
                break
        return best


def choose_options(product: Product, goal: Goal) -> list[tuple[str, str]]:
    """Return the options of the target to choose: names with values, at most one value a name.

    A synthetic goal names them. A human goal only lists values: for each option of the product the value is
    taken that comes nearest to a wanted one, if the reward would count it.
    """
    if any(isinstance(wanted, tuple) for wanted in goal.options):
        return [(wanted[0], wanted[1]) for wanted in goal.options if isinstance(wanted, tuple)]
    open_wishes = [str(normal_color(wanted)) for wanted in goal.options]
    chosen = []
    for name, values in product.options.items():
        scored = [
            (token_set_ratio(normal_color(value), wish), value == wish, -place, value, wish)
            for place, value in enumerate(values)
            for wish in open_wishes
        ]
        if scored and (best := max(scored))[0] > 85:
            chosen.append((name, best[3]))
            open_wishes.remove(best[4])
    return chosen


def _queries(goal: Goal) -> Iterator[str]:
    """Yield what to search for, best first; only what can be typed between the brackets of an action."""
    for text in (goal.name, goal.instruction, f"{goal.name} {goal.query}", f"<q> {goal.query}"):
        query = " ".join(text.lower().replace("[", " ").replace("]", " ").split())
        if query and parse_action(f"search[{query}]") == ("search", query):
            yield query
