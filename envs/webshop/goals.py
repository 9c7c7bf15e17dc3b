"""Goals: what the shopper is asked to buy, in the original's order, and how they are split.

For each product with an instruction a *synthetic* goal is made for every combination of its options; a
*human* goal is an instruction that a person wrote. Each product (or human instruction) gets a price limit:
the larger of two draws from the first four multiples of ten above its price. The list is then shuffled with
the fixed seed of the original (233), so that a goal's index means the same goal everywhere.

Splits. The human goals have an official split by index (test 0–499, dev 500–1499, train the rest). Applying
it to synthetic goals puts option variants of one product on both sides, so training sees its test tasks: for
them ``disjoint``, the default, splits *products* by a hash of their id. ``original`` (by index) stays
available under its name, to compare with published numbers.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from envs.base.digest import number_of, short_digest
from envs.base.errors import UserError, unknown
from envs.webshop.catalogue import Catalogue, Product, draw_prices

SPLITS = ("train", "dev", "test", "all")
PROTOCOLS = ("disjoint", "original")
GOAL_SETS = ("synthetic", "human")

NO_LIMIT = 1_000_000.0
_SHUFFLE_SEED = 233
_LIMITS = tuple(10.0 * tens for tens in range(1, 100))
_OFFICIAL = {"test": slice(0, 500), "dev": slice(500, 1500), "train": slice(1500, None), "all": slice(None)}
_SHARES = {"test": (0, 10), "dev": (10, 20), "train": (20, 100), "all": (0, 100)}  # percent of products

Option = tuple[str, str] | str


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be bought.

    Attributes:
        asin: id of the target product.
        category: the target's department.
        query: the target's query field.
        name: the target's title.
        product_category: the target's category path.
        instruction: the text that the shopper is shown.
        attributes: wanted attributes; at least one.
        price_upper: highest price in dollars that is accepted; 1,000,000 where there is no limit.
        options: wanted options: ``(name, value)`` in a synthetic goal, the value alone in a human one.
        weight: how often the original draws this goal, relative to the others.
    """

    asin: str
    category: str
    query: str
    name: str
    product_category: str
    instruction: str
    attributes: tuple[str, ...]
    price_upper: float
    options: tuple[Option, ...] = field(default=())
    weight: float = 1.0

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Goal:
        """Make a goal from the original's dictionary."""
        options = record["goal_options"]
        return cls(
            asin=record["asin"],
            category=record["category"],
            query=record["query"],
            name=record["name"],
            product_category=record["product_category"],
            instruction=record["instruction_text"],
            attributes=tuple(record["attributes"]),
            price_upper=float(record["price_upper"]),
            options=tuple(options.items() if isinstance(options, dict) else options),
            weight=record["weight"],
        )

    @property
    def key(self) -> str:
        """Hash of the content (12 hexadecimal digits); equal goals have equal keys."""
        content = repr((self.asin, self.instruction, self.attributes, self.price_upper, self.options))
        return short_digest(content.encode("utf-8", "backslashreplace"), 12)


def draw_goals(catalogue: Catalogue, goal_set: str, price_seed: int) -> tuple[list[float], list[Goal]]:
    """Draw all prices, then all goals, as the original does in one process.

    Args:
        catalogue: the products.
        goal_set: ``"synthetic"`` or ``"human"``.
        price_seed: seed of the draws of prices and limits; the order of goals does not depend on it.

    Returns:
        The price in dollars of each product, in catalogue order, and the goals in their final order.

    Raises:
        UserError: unknown goal set.
    """
    if goal_set not in GOAL_SETS:
        raise unknown("goal set", goal_set, GOAL_SETS)
    draws = random.Random(price_seed)
    prices = draw_prices(catalogue.price_ranges, draws)
    made = _synthetic(catalogue, prices, draws) if goal_set == "synthetic" else _human(catalogue, prices, draws)
    goals = list(made)
    if goal_set == "synthetic":
        goals = _weighted(goals)
    random.Random(_SHUFFLE_SEED).shuffle(goals)
    return prices, goals


def pick_goals(goals: Sequence[Goal], split: str, protocol: str) -> list[int]:
    """Return the indices of the goals of a split, ascending.

    Args:
        goals: all goals of a goal set, in their order.
        split: ``train``, ``dev``, ``test`` or ``all``.
        protocol: ``disjoint``: 10 % of the products are test, 10 % dev, the rest train, by a hash of the
            product id, so the same product is on the same side in every catalogue; ``original``: goals 0–499
            are test, 500–1499 dev, the rest train.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    if protocol == "original":
        return list(range(len(goals))[_OFFICIAL[split]])
    low, high = _SHARES[split]
    side = {asin: low <= _percent(asin) < high for asin in {goal.asin for goal in goals}}
    return [index for index, goal in enumerate(goals) if side[goal.asin]]


def goal_at(goals: Sequence[Goal], index: int) -> Goal:
    """Return the goal with this index.

    Raises:
        UserError: there is no such goal.
    """
    if not 0 <= index < len(goals):
        raise UserError(f"there is no goal {index}: the goals are numbered 0 to {len(goals) - 1}")
    return goals[index]


def _percent(asin: str) -> float:
    return 100 * number_of(f"webshop split {asin}") / 2**64


def _synthetic(catalogue: Catalogue, prices: Sequence[float], draws: random.Random) -> Iterator[Goal]:
    for place in catalogue.instructed:
        product = catalogue.products[place]
        limit, clause = _limit(prices[place], draws)
        names = sorted(product.options)
        for values in itertools.product(*(product.options[name] for name in names)):
            options = tuple(zip(names, values, strict=True))
            wish = ", and ".join(f"{name}: {value}" for name, value in options)
            instruction = f"{product.instruction}{' with ' if wish else ''}{wish}{clause}"
            yield _goal(product, instruction, product.instruction_attributes, limit, options)


def _human(catalogue: Catalogue, prices: Sequence[float], draws: random.Random) -> Iterator[Goal]:
    for place in sorted(catalogue.position[asin] for asin in catalogue.human):
        product = catalogue.products[place]
        for human in catalogue.human[product.asin]:
            if human.attributes:  # the original drops the others, without a draw
                limit, clause = _limit(prices[place], draws)
                yield _goal(product, human.text.strip(".") + clause, human.attributes, limit, human.options)


def _goal(
    product: Product, instruction: str, attributes: tuple[str, ...], limit: float, options: tuple[Option, ...]
) -> Goal:
    return Goal(
        product.asin,
        product.category,
        product.query,
        product.title,
        product.product_category,
        instruction,
        attributes,
        limit,
        options,
    )


def _limit(price: float, draws: random.Random) -> tuple[float, str]:
    choices = [limit for limit in _LIMITS if limit > price][:4]
    if len(choices) < 2:
        return NO_LIMIT, ""
    limit = max(draws.sample(choices, 2))
    return limit, f", and price lower than {limit:.2f} dollars"


def _weighted(goals: list[Goal]) -> list[Goal]:
    """Weight each goal by the mean rarity of its attributes."""
    count = Counter(attribute for goal in goals for attribute in goal.attributes)
    return [
        replace(goal, weight=sum(1.0 / count[wanted] for wanted in goal.attributes) / len(goal.attributes))
        for goal in goals
    ]
