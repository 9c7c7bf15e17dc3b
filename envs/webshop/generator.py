"""A catalogue of our own: products, options, prices and instructions made from a seed.

It needs no download and is the environment's default. It has the shape of the original (departments, query
fields, category paths, attributes, options, price ranges, synthetic instructions), so that goals, pages, search
and reward work on it unchanged. Every product is made from its own seed: a catalogue of 500 products is the
first half of one of 1,000. All option values are chosen so that buying the target with its options scores 1.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from envs.base.errors import UserError
from envs.webshop.catalogue import Catalogue, Product

VERSION = 1
LARGEST = 100_000

_KINDS = """
fashion|Clothing, Shoes & Jewelry › Men › Clothing › Shirts|men's shirts|shirt|color size|12 45
fashion|Clothing, Shoes & Jewelry › Men › Clothing › Shorts|men's shorts|shorts|color size|10 40
fashion|Clothing, Shoes & Jewelry › Women › Clothing › Dresses|women's dresses|dress|color size|18 80
fashion|Clothing, Shoes & Jewelry › Women › Clothing › Coats|women's coats|coat|color size|35 150
fashion|Clothing, Shoes & Jewelry › Women › Shoes › Sandals|women's sandals|sandals|color shoe|15 70
fashion|Clothing, Shoes & Jewelry › Men › Shoes › Sneakers|men's sneakers|sneakers|color shoe|25 110
fashion|Clothing, Shoes & Jewelry › Luggage › Backpacks|backpacks|backpack|color|20 90
fashion|Clothing, Shoes & Jewelry › Accessories › Scarves|scarves|scarf|color|8 35
garden|Home & Kitchen › Furniture › Living Room › Console Tables|console tables|console table|finish length|60 420
garden|Home & Kitchen › Furniture › Bedroom › Nightstands|nightstands|nightstand|finish|40 190
garden|Home & Kitchen › Furniture › Office › Desk Chairs|desk chairs|desk chair|color|70 320
garden|Home & Kitchen › Bedding › Throw Pillow Covers|decorative pillows|pillow cover|color square|7 40
garden|Home & Kitchen › Bedding › Blankets|blankets|blanket|color bed|15 90
garden|Home & Kitchen › Lighting › Table Lamps|table lamps|table lamp|finish|20 140
garden|Home & Kitchen › Rugs › Runners|area rugs|rug|color rug|25 240
garden|Home & Kitchen › Window Treatments › Curtains|window coverings|curtain panel|color drop|14 75
beauty|Beauty & Personal Care › Hair Care › Shampoo|shampoo|shampoo|scent volume|6 35
beauty|Beauty & Personal Care › Hair Care › Masks|hair treatments|hair mask|scent volume|8 45
beauty|Beauty & Personal Care › Skin Care › Body Lotion|body lotions|body lotion|scent volume|6 40
beauty|Beauty & Personal Care › Skin Care › Face Wash|face wash|face wash|scent volume|5 30
beauty|Beauty & Personal Care › Makeup › Lips|lip balms|lip balm|scent pack|4 20
beauty|Beauty & Personal Care › Tools › Brushes|makeup brushes|brush set|color pack|6 50
beauty|Beauty & Personal Care › Oral Care › Toothbrushes|toothbrushes|toothbrush|color pack|5 60
beauty|Beauty & Personal Care › Tools › Travel Bottles|refillable containers|travel bottle|color volume|5 25
electronics|Electronics › Headphones › Earbuds|headphones|earbuds|color|15 180
electronics|Electronics › Cables › HDMI|hdmi cables|cable|length pack|6 45
electronics|Electronics › Cases › Phone Cases|phone cases|phone case|color model|6 35
electronics|Electronics › Cases › Tablet Cases|tablet cases|tablet case|color model|12 60
electronics|Electronics › Power › Chargers|chargers|wall charger|color pack|9 55
electronics|Electronics › Speakers › Portable Speakers|bluetooth speakers|speaker|color|18 200
electronics|Electronics › Camera › Tripods|tripods|tripod|length|15 160
electronics|Electronics › Computers › Keyboards|keyboards|keyboard|color layout|20 140
grocery|Grocery & Gourmet Food › Snacks › Crackers|crackers|crackers|flavor pack|4 35
grocery|Grocery & Gourmet Food › Snacks › Trail Mix|trail mix|trail mix|flavor pack|6 40
grocery|Grocery & Gourmet Food › Snacks › Protein Bars|protein bars|protein bar|flavor pack|8 45
grocery|Grocery & Gourmet Food › Beverages › Tea|teas|tea|flavor pack|5 30
grocery|Grocery & Gourmet Food › Beverages › Coffee|coffees|coffee|flavor weight|8 50
grocery|Grocery & Gourmet Food › Pantry › Sauces|sauces|sauce|flavor pack|4 28
grocery|Grocery & Gourmet Food › Pantry › Pasta|pasta|pasta|shape pack|3 25
grocery|Grocery & Gourmet Food › Pantry › Granola|granola|granola|flavor weight|5 30
"""

# Option sets: name shown on the page, then the values.
_OPTIONS = {
    "color": "color: black, white, navy, beige, dark green, light blue, pink, wine red, grey, purple, yellow, teal",
    "finish": "color: walnut, black, white, espresso, light grey, dark brown, oak",
    "size": "size: x-small, small, medium, large, x-large, xx-large, 3x-large",
    "shoe": "size: 5, 6, 7, 8, 9, 10, 11, 12",
    "square": "size: 16 x 16 inch, 18 x 18 inch, 20 x 20 inch, 24 x 24 inch",
    "bed": "size: throw, twin, full, queen, king",
    "rug": "size: 2 x 6 feet, 3 x 5 feet, 4 x 6 feet, 5 x 8 feet, 8 x 10 feet",
    "drop": "size: 42 x 63 inch, 42 x 84 inch, 52 x 63 inch, 52 x 84 inch, 52 x 96 inch",
    "length": "size: 3 feet, 6 feet, 10 feet, 15 feet, 25 feet",
    "volume": "size: 2 fl oz, 4 fl oz, 8 fl oz, 12 fl oz, 16 fl oz",
    "weight": "size: 8 ounce, 12 ounce, 1 pound, 2 pound, 5 pound",
    "pack": "item package quantity: pack of 1, pack of 2, pack of 3, pack of 6, pack of 12",
    "scent": "scent: unscented, coconut, vanilla, lavender, mint, rose, tea tree, citrus",
    "flavor": "flavor name: original, sea salt, honey, cinnamon, dark chocolate, peanut butter, lemon, garlic",
    "shape": "style: penne, fusilli, spaghetti, linguine, macaroni",
    "model": "style: 2019, 2020, 2021, 2022, pro 2021, pro 2022",
    "layout": "style: compact, full, ten keyless",
}

_ATTRIBUTES = {
    "fashion": "machine wash, hand wash, short sleeve, long sleeve, slim fit, loose fit, elastic waist, quick drying, "
    "polyester spandex, everyday wear, water resistant, rubber sole, tummy control, unique design",
    "garden": "easy clean, easy assemble, non slip, machine washable, double sided, solid wood, metal legs, "
    "eco friendly, heavy duty, space saving, storage space, living room, fade resistant, super soft",
    "beauty": "cruelty free, sulfate free, paraben free, natural ingredients, dry skin, sensitive skin, hair growth, "
    "damaged hair, long lasting, leak proof, bpa free, easy carry, fragrance free, travel size",
    "electronics": "fast charging, noise cancelling, high speed, gold plated, wireless bluetooth, water proof, "
    "hands free, easy install, carrying case, aluminum alloy, long battery, plug play, high definition, dust proof",
    "grocery": "gluten free, non gmo, dairy free, low sugar, keto friendly, plant based, certified organic, "
    "nut free, kosher certified, high protein, low carb, artificial colors, shelf stable, individually wrapped",
}

_USES = "home, travel, gifts, work, outdoor days, small rooms, busy mornings, weekends, guests, school"
_SYLLABLES = "ba bo da del fa gan hal jo ka lor lu ma mi nor pa ri so ta ven vi wes yo za zen"


@dataclass(frozen=True, slots=True)
class _Kind:
    department: str
    path: str
    query: str
    noun: str
    options: tuple[str, ...]
    low: float
    high: float


def generate_catalogue(seed: int = 0, products: int = 1000) -> Catalogue:
    """Make a catalogue.

    Args:
        seed: another seed, another catalogue.
        products: how many products, 1 to 100,000; about half of them have an instruction.

    Raises:
        UserError: the number of products is out of range.
    """
    if not 1 <= products <= LARGEST:
        raise UserError(f"a generated catalogue has 1 to {LARGEST} products, not {products}")
    kinds = _kinds()
    return Catalogue(
        name=f"generated:{seed}:{products}",
        products=[_product(seed, number, kinds) for number in range(products)],
        human={},
        digest=f"generated-{VERSION}-{seed}-{products}",
    )


def _kinds() -> list[_Kind]:
    kinds = []
    for line in _KINDS.strip().splitlines():
        department, path, query, noun, options, prices = line.split("|")
        low, high = map(float, prices.split())
        kinds.append(_Kind(department, path, query, noun, tuple(options.split()), low, high))
    return kinds


def _product(seed: int, number: int, kinds: Sequence[_Kind]) -> Product:
    draws = random.Random(f"webshop product {VERSION} {seed} {number}")
    kind = kinds[number % len(kinds)] if number < len(kinds) else draws.choice(kinds)
    attributes = draws.sample(_ATTRIBUTES[kind.department].split(", "), draws.randint(3, 5))
    brand = "".join(draws.sample(_SYLLABLES.split(), draws.randint(2, 3))).capitalize()
    uses = draws.sample(_USES.split(", "), 2)
    in_title = attributes[: draws.randint(0, 2)]
    prices, price_tag = _prices(kind, draws)
    wanted = tuple(draws.sample(attributes, draws.randint(1, min(3, len(attributes)))))
    return Product(
        asin=f"G{seed % 1000:03d}{number:06d}",
        title=" ".join((brand, *in_title, kind.noun, "for", uses[0])).title(),
        description=_description(kind, uses),
        bullets=tuple(
            f"{attribute.upper()}: this {kind.noun} for {use}."
            for attribute, use in zip(attributes, (*uses, *uses, *uses), strict=False)
        ),
        price_tag=price_tag,
        prices=prices,
        options=dict(_option(name, draws) for name in kind.options if draws.random() < 0.85),
        category=kind.department,
        query=kind.query,
        product_category=kind.path,
        attributes=tuple(attributes),
        instruction=_instruction(kind, wanted) if draws.random() < 0.5 else None,
        instruction_attributes=wanted,
    )


def _prices(kind: _Kind, draws: random.Random) -> tuple[tuple[float, ...], str]:
    low = round(draws.uniform(kind.low, kind.high), 2)
    if draws.random() < 0.9:
        return (low,), f"${low}"
    high = round(low * draws.uniform(1.1, 1.6), 2)
    return (low, high), f"${low} to ${high}"


def _option(name: str, draws: random.Random) -> tuple[str, tuple[str, ...]]:
    shown, _, listed = _OPTIONS[name].partition(": ")
    values = listed.split(", ")
    count = draws.randint(2, min(5, len(values)))
    picked = sorted(draws.sample(range(len(values)), count))
    return shown, tuple(values[place] for place in picked)


def _instruction(kind: _Kind, wanted: Sequence[str]) -> str:
    first, last = wanted[:-1], wanted[-1]
    return f"Find me {', '.join(first)}{' ' if first else ''}{kind.query} with {last}"


def _description(kind: _Kind, uses: Sequence[str]) -> str:
    return (
        f"Made for {uses[0]} and {uses[1]}. See the features for what sets this {kind.noun} apart, "
        f"and check the options before you order; returns are accepted for thirty days."
    )
