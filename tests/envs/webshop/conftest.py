"""A catalogue of four products under the official file names, and a shop on it with a search by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from webshop_small_catalogue import ATTRIBUTES, CUP, HUMAN, LAMP, MUG, SOFA

from envs.webshop.catalogue import load_catalogue
from envs.webshop.goals import Goal
from envs.webshop.nouns import rule_nouns
from envs.webshop.session import Shop


@pytest.fixture
def write_catalogue(tmp_path: Path) -> Callable[..., Path]:
    """Write a catalogue folder: by default the four products with their instructions."""

    def write(items: Any = (MUG, CUP, LAMP, SOFA), attributes: Any = ATTRIBUTES, human: Any = HUMAN) -> Path:
        folder = tmp_path / "catalogue"
        folder.mkdir(exist_ok=True)
        contents = {
            "items_shuffle_1000.json": list(items),
            "items_ins_v2_1000.json": attributes,
            "items_human_ins.json": human,
        }
        for name, content in contents.items():
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
        return folder

    return write


@pytest.fixture
def shop(write_catalogue: Callable[..., Path]) -> Shop:
    """A shop on the four products whose search finds all of them, in order, for any words."""
    catalogue = load_catalogue(write_catalogue())
    prices = [product.prices[0] for product in catalogue.products]
    return Shop(
        catalogue, prices, lambda query: (0, 1, 2, 3), lambda place: rule_nouns(catalogue.products[place].title)
    )


@pytest.fixture
def goal(shop: Shop) -> Goal:
    """Asks for the mug in black, 4" tall, for at most 20 dollars."""
    mug = shop.catalogue.products[0]
    return Goal(
        mug.asin,
        mug.category,
        mug.query,
        mug.title,
        mug.product_category,
        "Find me a mug",
        ("dishwasher safe",),
        20.0,
        (("color", "black"), ("size", '4" tall')),
    )
