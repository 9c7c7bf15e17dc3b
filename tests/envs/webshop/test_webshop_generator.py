"""The generated catalogue: the same from the same seed, and every goal can be won."""

from __future__ import annotations

import pytest

from envs.base.errors import UserError
from envs.webshop import WebShopEnv
from envs.webshop.ceiling import ceiling
from envs.webshop.generator import generate_catalogue


def test_a_seed_makes_one_catalogue_and_another_seed_another() -> None:
    assert generate_catalogue(4, 50).products == generate_catalogue(4, 50).products
    assert generate_catalogue(4, 50).products != generate_catalogue(5, 50).products


def test_a_smaller_catalogue_is_the_beginning_of_a_larger_one() -> None:
    assert generate_catalogue(4, 100).products[:50] == generate_catalogue(4, 50).products


def test_the_default_has_thousands_of_goals_and_all_can_be_won() -> None:
    env = WebShopEnv(split="all")
    rows = ceiling(env)
    assert rows[-1].type == "all"
    assert rows[-1].goals == rows[-1].winnable == len(env.tasks) > 3000
    assert {row.type for row in rows[:-1]} == {"beauty", "electronics", "fashion", "garden", "grocery"}
    assert sum(row.goals for row in rows[:-1]) == rows[-1].goals


def test_every_target_can_be_found() -> None:
    env = WebShopEnv(split="all", catalogue="generated:7:300")
    for task in env.tasks:
        _, info = env.reset(options={"task": task.id})
        assert len(info["walkthrough"]) <= env.max_steps


def test_ids_are_distinct() -> None:
    products = generate_catalogue(0, 2000).products
    assert len({product.asin for product in products}) == 2000


@pytest.mark.parametrize("count", [0, -1, 100_001])
def test_a_size_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(UserError, match="1 to 100000"):
        generate_catalogue(0, count)
