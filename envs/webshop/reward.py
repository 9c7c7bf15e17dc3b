"""The reward of a purchase: attributes, options, price and type of the product bought, against the goal.

Yao et al. 2022, "WebShop: Towards Scalable Real-World Web Interaction with Grounded Language Agents",
section 3.1, equation 1:

    reward = r_type · (matched attributes + matched options + [price ≤ limit]) / (|attributes| + |options| + 1)

with the rules of the released code for what counts as a match. Fuzzy comparison is ``token_set_ratio`` of
thefuzz 0.22: both texts lose their Latin-1 characters and punctuation, are lower-cased, and are compared as
sets of words; a pair (name, value) is compared by its printed form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rapidfuzz import fuzz
from rapidfuzz.utils import default_process

from envs.webshop.catalogue import Product
from envs.webshop.goals import Goal, Option

# The colour words of the original, in its order: the first one found in a value stands for the value.
_COLOR_WORDS = """
    alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy camel
    camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry
    cream crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green
    grey heather indigo ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot
    midnight mint mocha multicolor mushroom mustard natural navy nude olive orange peach pewter pink plum purple
    rainbow red rose royal rust sand sapphire seashell silver skull slate steel stone stonewash sunflower tan
    taupe teal tiger turquoise violet walnut wheat white wine yellow
"""
COLORS = tuple(_COLOR_WORDS.split())

_THRESHOLD = 85
_LATIN_1 = dict.fromkeys(range(128, 256))


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward and what it is made of.

    Attributes:
        reward: the whole, in [0, 1].
        r_type: factor for the kind of product: 1, 0.5, 0.1 or 0.
        r_att: share of the goal's attributes that the product has.
        r_option: share of the goal's options that were chosen; ``None`` if the goal has none.
        r_price: whether the price is within the limit.
        title_score: share of the nouns of the target's title that are in the title of the product bought.
        query_match: whether both products have the same query field.
        category_match: whether their category paths share two parts.
    """

    reward: float
    r_type: float
    r_att: float
    r_option: float | None
    r_price: bool
    title_score: float
    query_match: bool
    category_match: bool


def reward(
    product: Product,
    goal: Goal,
    price: float,
    options: Mapping[str, str],
    product_nouns: Iterable[str],
    goal_nouns: Sequence[str],
) -> Reward:
    """Score a purchase.

    Args:
        product: the product bought.
        goal: what was to be bought; it has at least one attribute.
        price: price paid, in dollars.
        options: chosen values by option name.
        product_nouns: lower-case nouns of the title of the product bought.
        goal_nouns: lower-case nouns of the target's title, in order, repeated as they are repeated.
    """
    title_score = _title_score(product_nouns, goal_nouns)
    query_match = product.query == goal.query
    category_match = len(_path(product.product_category) & _path(goal.product_category)) >= 2
    r_type = _type_factor(title_score, query_match or category_match)
    attributes = _matched_attributes(product, goal.attributes)
    chosen = _matched_options(options.values(), goal.options)
    within = price <= goal.price_upper
    parts = len(goal.attributes) + len(goal.options) + 1
    return Reward(
        reward=(attributes + chosen + within) / parts * r_type,
        r_type=r_type,
        r_att=attributes / len(goal.attributes),
        r_option=chosen / len(goal.options) if goal.options else None,
        r_price=within,
        title_score=title_score,
        query_match=query_match,
        category_match=category_match,
    )


def breakdown(scored: Reward, goal: Goal) -> dict[str, Any]:
    """Return the parts of a reward with their weights, under the names that the original gives them."""
    parts = len(goal.attributes) + len(goal.options) + 1
    info: dict[str, Any] = {
        "r_type": scored.r_type,
        "r_att": scored.r_att,
        "w_att": len(goal.attributes) / parts,
        "query_match": scored.query_match,
        "category_match": scored.category_match,
        "title_score": scored.title_score,
    }
    if scored.r_option is not None:
        info |= {"r_option": scored.r_option, "w_option": len(goal.options) / parts}
    return info | {"r_price": scored.r_price, "w_price": 1 / parts}


def token_set_ratio(first: Option, second: Option) -> int:
    """Compare two texts as sets of words: 0 (nothing shared) to 100, rounded half to even.

    A pair (name, value) is compared by its printed form, ``('color', 'red')``.
    """
    return round(fuzz.token_set_ratio(_processed(str(first)), _processed(str(second))))


def normal_color(value: Option) -> Option:
    """Return the first colour word that a value contains, or the value itself.

    In a pair (name, value) a colour counts only if it is the whole of one of the two.
    """
    return next((color for color in COLORS if color in value), value)


@lru_cache(maxsize=65536)
def _processed(value: str) -> str:
    return default_process(value.translate(_LATIN_1))


@lru_cache(maxsize=65536)
def _path(product_category: str) -> frozenset[str]:
    return frozenset(part.strip() for part in product_category.split("›"))


def _title_score(product_nouns: Iterable[str], goal_nouns: Sequence[str]) -> float:
    if not goal_nouns:
        return 0.2
    return len(set(product_nouns) & set(goal_nouns)) / len(goal_nouns)


def _type_factor(title_score: float, same_shelf: bool) -> float:
    if title_score == 0:
        return 0.0
    if title_score < 0.1:
        return 0.1
    return 1.0 if same_shelf or title_score > 0.2 else 0.5


def _matched_attributes(product: Product, wanted: Sequence[str]) -> int:
    places = (product.title.lower(), " ".join(product.bullets).lower(), product.description.lower())
    return sum(
        any(token_set_ratio(has, attribute) > _THRESHOLD for has in product.attributes)
        or any(attribute in place for place in places)
        for attribute in wanted
    )


def _matched_options(chosen: Iterable[str], wanted: Sequence[Option]) -> int:
    normal = [normal_color(value) for value in chosen]
    return sum(
        any(token_set_ratio(value, target) > _THRESHOLD for value in normal) for target in map(normal_color, wanted)
    )
