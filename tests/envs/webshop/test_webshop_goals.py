"""Goals: drawn in the original's order from a seed, split without sharing products."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envs.base.errors import UserError
from envs.webshop.catalogue import Catalogue, load_catalogue
from envs.webshop.generator import generate_catalogue
from envs.webshop.goals import NO_LIMIT, draw_goals, goal_at, pick_goals


@pytest.fixture
def catalogue(write_catalogue: Callable[..., Path]) -> Catalogue:
    return load_catalogue(write_catalogue())


def test_synthetic_goals_by_hand(catalogue: Catalogue) -> None:
    """The draws in order: the cup's price, then the limits of mug and lamp; the sofa is too dear for a limit."""
    draws = random.Random(3)
    cup = draws.uniform(8.0, 21.0)
    mug_limit = max(draws.sample([10.0, 20.0, 30.0, 40.0], 2))
    lamp_limit = max(draws.sample([110.0, 120.0, 130.0, 140.0], 2))
    made = [
        f"Find me dishwasher safe coffee mugs with color: {color}, and size: {size}, "
        f"and price lower than {mug_limit:.2f} dollars"
        for color in ("red | white", "black", "black")
        for size in ('4" tall', "standard")
    ]
    made += [f"Find me bright lamps, and price lower than {lamp_limit:.2f} dollars", "Find me soft sofas"]
    random.Random(233).shuffle(made)
    prices, goals = draw_goals(catalogue, "synthetic", 3)
    assert prices == [7.5, cup, 100.0, 985.0]
    assert [goal.instruction for goal in goals] == made
    sofa = next(goal for goal in goals if goal.asin == "B000000004")
    assert sofa.price_upper == NO_LIMIT


def test_human_goals_by_hand(catalogue: Catalogue) -> None:
    draws = random.Random(3)
    draws.uniform(8.0, 21.0)
    limit = max(draws.sample([10.0, 20.0, 30.0, 40.0], 2))
    _, goals = draw_goals(catalogue, "human", 3)
    assert [goal.instruction for goal in goals] == [f"i want a black mug, and price lower than {limit:.2f} dollars"]
    assert goals[0].options == ("black",)


def test_a_goal_weighs_the_mean_rarity_of_its_attributes(catalogue: Catalogue) -> None:
    _, goals = draw_goals(catalogue, "synthetic", 3)
    assert sorted(goal.weight for goal in goals) == [1 / 6] * 6 + [1.0] * 2


def test_the_seed_changes_limits_and_not_the_order() -> None:
    catalogue = generate_catalogue(1, 200)
    (prices, first), (other_prices, second) = (
        draw_goals(catalogue, "synthetic", 1),
        draw_goals(catalogue, "synthetic", 2),
    )
    assert prices != other_prices
    assert [goal.price_upper for goal in first] != [goal.price_upper for goal in second]
    assert [(goal.asin, goal.options) for goal in first] == [(goal.asin, goal.options) for goal in second]
    assert draw_goals(catalogue, "synthetic", 1) == (prices, first)


def test_the_disjoint_split_shares_no_product_and_loses_no_goal() -> None:
    _, goals = draw_goals(generate_catalogue(0, 1000), "synthetic", 0)
    sides = {split: pick_goals(goals, split, "disjoint") for split in ("train", "dev", "test")}
    assert sorted(index for side in sides.values() for index in side) == list(range(len(goals)))
    products = [{goals[index].asin for index in side} for side in sides.values()]
    assert sum(map(len, products)) == len(set.union(*products))
    assert all(side == sorted(side) for side in sides.values())
    assert min(map(len, sides.values())) > 0.05 * len(goals)


def test_a_product_keeps_its_side_in_a_larger_catalogue() -> None:
    small, large = (draw_goals(generate_catalogue(0, size), "synthetic", 0)[1] for size in (300, 600))
    test_of_small = {small[index].asin for index in pick_goals(small, "test", "disjoint")}
    test_of_large = {large[index].asin for index in pick_goals(large, "test", "disjoint")}
    assert test_of_small <= test_of_large


def test_the_original_split_goes_by_index() -> None:
    _, goals = draw_goals(generate_catalogue(0, 1000), "synthetic", 0)
    assert pick_goals(goals, "test", "original") == list(range(500))
    assert pick_goals(goals, "dev", "original") == list(range(500, 1500))
    assert pick_goals(goals, "train", "original") == list(range(1500, len(goals)))
    assert pick_goals(goals, "all", "original") == list(range(len(goals)))


def test_the_key_of_a_goal_comes_from_its_content(catalogue: Catalogue) -> None:
    goal = draw_goals(catalogue, "synthetic", 3)[1][0]
    assert goal.key == replace(goal, weight=7.0, category="x").key
    assert goal.key != replace(goal, price_upper=1.0).key


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda catalogue: draw_goals(catalogue, "sinthetic", 0), "unknown goal set 'sinthetic'.*synthetic"),
        (lambda catalogue: pick_goals([], "valid", "disjoint"), "unknown split 'valid'"),
        (lambda catalogue: pick_goals([], "test", "disjunct"), "unknown protocol 'disjunct'.*disjoint"),
        (lambda catalogue: goal_at(draw_goals(catalogue, "human", 0)[1], 1), "there is no goal 1.*0 to 0"),
        (lambda catalogue: goal_at(draw_goals(catalogue, "human", 0)[1], -1), "there is no goal -1"),
    ],
)
def test_unknown_names_and_indices_are_refused(
    catalogue: Catalogue, call: Callable[[Catalogue], object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        call(catalogue)
