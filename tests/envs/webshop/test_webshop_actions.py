"""Actions: parsed by the original's pattern; whatever is refused changes nothing."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from envs.webshop import pages
from envs.webshop.goals import Goal
from envs.webshop.session import Shop, Visit, parse_action


def restated(action: str) -> tuple[str, str] | None:
    """The rule in words: on the first line, the argument ends at the last ``]`` and begins after the last ``[``
    that leaves it at least one character; the name is everything before."""
    line = action.split("\n", maxsplit=1)[0]
    end = line.rfind("]")
    for begin in range(end - 2, 0, -1):
        if line[begin] == "[":
            name, argument = line[:begin], line[begin + 1 : end]
            return (name, argument.lower()) if name in ("search", "click") else None
    return None


pieces = st.lists(
    st.sampled_from(["search", "click", "[", "]", "\n", " ", "a", "Buy Now", "[[", "]]", "é", "\u2028", "\r", "SEARCH"])
    | st.text(max_size=3),
    max_size=8,
).map("".join)


@given(pieces)
@example("search[a] and more")
@example("search[[a]]")
@example("search[a]b]")
@example("click[a] click[buy now]")
@example("search[]")
@example("search[ ]")
@example("\nsearch[a]")
@example("search[a\n]")
@example("search[]]")
@example("click[[]")
def test_the_parser_follows_the_rule_in_words(action: str) -> None:
    assert parse_action(action) == restated(action)


@pytest.mark.parametrize(
    ("action", "parsed"),
    [
        ("search[Red Shoes]", ("search", "red shoes")),
        ("click[Next >] please", ("click", "next >")),
        ("search[a]b]", ("search", "a]b")),
        ("search[[a]]", None),
        ("click[a] click[buy now]", None),
        ("Search[a]", None),
        (" search[a]", None),
        ("search[]", None),
        ("search[a", None),
        ("", None),
    ],
)
def test_the_readable_cases(action: str, parsed: tuple[str, str] | None) -> None:
    assert parse_action(action) == parsed


@pytest.mark.parametrize("piece", ["[", "x[", "search[", "]["])
def test_an_action_of_a_million_brackets_is_parsed_at_once(piece: str) -> None:
    """The original's pattern takes hours for it: the model would turn its failure into an error of the machine."""
    assert parse_action(piece * 300_000) is None


def _random_action(draws: random.Random, clickable: list[str]) -> str:
    kind = draws.random()
    if kind < 0.35 and clickable:
        name = draws.choice(clickable)
        return f"click[{name.upper() if draws.random() < 0.3 else name}]"
    if kind < 0.55:
        words = ["red", "mug", '"black"', "<q>", "<c>", "<r>", "<a>", "", "coffee mugs", "item_page", "garden", "done"]
        return f"search[{' '.join(draws.choices(words, k=draws.randint(1, 4)))}]"
    letters = "searchclick[]<> \n\t\"'\\é漢\u0130\U0001f600bB012"
    return "".join(draws.choices(letters, k=draws.randint(0, 30)))


def _fuzz(shop: Shop, goal: Goal, count: int, seed: int) -> int:
    draws, visit, accepted = random.Random(seed), Visit(), 0
    for _ in range(count):
        nodes = shop.nodes(visit, goal)
        clickable = pages.clickables(nodes)
        before = shop.observe(visit, nodes, "text"), shop.observe(visit, nodes, "text_rich")
        action = _random_action(draws, clickable)
        parsed = parse_action(action)
        after = shop.act(visit, action, goal, clickable)
        if after is None:
            nodes = shop.nodes(visit, goal)
            assert (shop.observe(visit, nodes, "text"), shop.observe(visit, nodes, "text_rich")) == before
        else:
            accepted += 1
            assert parsed is not None
            assert parsed[0] == "search" or parsed[1] in clickable
            assert (after.page == "done") == (parsed == ("click", "buy now"))
            visit = after
    return accepted


def test_random_actions_never_fail_and_change_nothing_unless_valid(shop: Shop, goal: Goal) -> None:
    assert 1000 < _fuzz(shop, goal, 5_000, seed=1) < 4500


@pytest.mark.slow
def test_a_hundred_thousand_random_actions(shop: Shop, goal: Goal) -> None:
    assert 20_000 < _fuzz(shop, goal, 100_000, seed=2) < 90_000


def test_searches_that_crash_the_original_are_refused(shop: Shop, goal: Goal) -> None:
    for action in ("search[<c>]", "search[<a> easy clean]", "search[<a>]"):
        assert shop.act(Visit(), action, goal, ()) is None


def test_special_searches_list_products_in_catalogue_order(shop: Shop, goal: Goal) -> None:
    def found(action: str) -> list[int]:
        visit = shop.act(Visit(), action, goal, ())
        assert visit is not None
        return list(shop.results(visit) or ())

    assert found("search[<q> Coffee  Mugs]") == []  # the words must be joined exactly as the field is
    assert found("search[<q> coffee mugs]") == [0, 1]
    assert found("search[<c> electronics and more]") == [2, 3]
    assert found("search[<c> ]") == []
    assert sorted(found("search[<r>]")) == [0, 1, 2, 3]


def test_random_products_are_drawn_anew_each_time_and_the_same_for_one_visit(shop: Shop, goal: Goal) -> None:
    first = shop.act(Visit(), "search[<r>]", goal, ())
    assert first is not None
    draws = {tuple(shop.results(first) or ())}
    visit = first
    for _ in range(20):
        visit = shop.act(visit, "search[<r>]", goal, ()) or visit
        draws.add(tuple(shop.results(visit) or ()))
    assert len(draws) > 1
    assert shop.results(first) == shop.results(first)
