"""Pages: what each shows in both modes, what can be clicked, and the oddities of the original."""

from __future__ import annotations

import pickle

import pytest

from envs.webshop import pages
from envs.webshop.goals import Goal
from envs.webshop.session import Shop, Visit

HEAD = "Instruction: [SEP] Find me a mug [SEP] Back to Search"


class Shopper:
    """Goes through the shop by accepted actions."""

    def __init__(self, shop: Shop, goal: Goal) -> None:
        self.shop, self.goal, self.visit = shop, goal, Visit()

    def does(self, *actions: str) -> Shopper:
        for action in actions:
            after = self.shop.act(self.visit, action, self.goal, self.clickables)
            assert after is not None, action
            self.visit = after
        return self

    @property
    def clickables(self) -> list[str]:
        return pages.clickables(self.shop.nodes(self.visit, self.goal))

    def sees(self, mode: str = "text") -> str:
        return self.shop.observe(self.visit, self.shop.nodes(self.visit, self.goal), mode)


@pytest.fixture
def shopper(shop: Shop, goal: Goal) -> Shopper:
    return Shopper(shop, goal)


def test_the_first_page(shopper: Shopper) -> None:
    assert shopper.sees() == "WebShop [SEP] Instruction: [SEP] Find me a mug [SEP] Search"
    assert shopper.sees("text_rich") == "WebShop\nInstruction: \nFind me a mug\n[button] Search [button_]\n"
    assert shopper.clickables == ["search"]


def test_a_page_of_results(shopper: Shopper) -> None:
    shopper.does("search[mug]")
    assert shopper.sees() == (
        f"{HEAD} [SEP] Page 1 (Total results: 4) [SEP] Next > "
        "[SEP] B000000001 [SEP] Acme Stoneware Coffee Mug [SEP] $7.5 "
        "[SEP] B000000002 [SEP] Bolt Paper Cup [SEP] $8.0 to $21.0 "
        "[SEP] B000000003 [SEP] Corner Lamp [SEP] $100.0 [SEP] B000000004 [SEP] Dora Velvet Sofa [SEP] $985.0"
    )
    assert shopper.clickables == ["back to search", "next >", *(f"b00000000{k}" for k in (1, 2, 3, 4))]


def test_later_pages_are_empty_and_keep_the_total(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[next >]", "click[Next >]")
    assert shopper.sees() == f"{HEAD} [SEP] Page 3 (Total results: 4) [SEP] < Prev [SEP] Next >"
    shopper.does("click[< prev]")
    assert "Page 2" in shopper.sees()


def test_an_item_page(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[b000000001]")
    assert shopper.sees() == (
        f'{HEAD} [SEP] < Prev [SEP] color [SEP] red | white [SEP] black [SEP] black [SEP] size [SEP] 4" tall '
        "[SEP] standard [SEP] Acme Stoneware Coffee Mug [SEP] Price: $7.5 [SEP] Rating: N.A. "
        "[SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )
    buttons = ["back to search", "< prev", "description", "features", "reviews", "buy now"]
    assert shopper.clickables == [*buttons, "red | white", "black", '4" tall', "standard"]


def test_chosen_options_show_in_the_rich_mode_the_last_listed_first(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[b000000001]", "click[black]", "click[standard]")
    assert shopper.sees("text_rich").startswith(
        "You have clicked standard.\nYou have clicked black.\nYou have clicked black.\nInstruction:\n"
    )
    assert "  [clicked button] black [clicked button_]\n  [clicked button] black [clicked button_]\n" in shopper.sees(
        "text_rich"
    )
    assert "  [button] red | white [button_]\n" in shopper.sees("text_rich")


def test_another_value_replaces_the_first_and_keeps_its_place(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[b000000001]", "click[black]", "click[standard]", "click[red | white]")
    assert shopper.visit.options == (("color", "red | white"), ("size", "standard"))


def test_values_with_quotes_never_show_as_chosen_but_are(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[b000000001]", 'click[4" tall]')
    assert "clicked" not in shopper.sees("text_rich")
    assert shopper.visit.options == (("size", '4" tall'),)


def test_a_quoted_word_in_the_query_shows_as_chosen(shopper: Shopper) -> None:
    shopper.does('search[a "black" mug]', "click[b000000001]")
    assert shopper.sees("text_rich").startswith("You have clicked black.\n")


def test_visited_products_are_marked_until_back_to_search(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[b000000002]", "click[< prev]")
    assert "\n[clicked button] B000000002 [clicked button_]\n" in shopper.sees("text_rich")
    shopper.does("search[other]")
    assert "\n[clicked button] B000000002 [clicked button_]\n" in shopper.sees("text_rich")
    shopper.does("click[back to search]", "search[mug]")
    assert "clicked" not in shopper.sees("text_rich")


def test_sub_pages_keep_the_options_and_leaving_the_item_drops_them(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[b000000001]", "click[black]", "click[Description]")
    assert shopper.sees() == f"{HEAD} [SEP] < Prev [SEP] A mug for coffee."
    shopper.does("click[< prev]")
    assert shopper.visit.options == (("color", "black"),)
    shopper.does("click[features]")
    assert shopper.sees() == f"{HEAD} [SEP] < Prev [SEP] dishwasher safe [SEP] holds 12 oz"
    assert shopper.sees("text_rich").endswith("[button] < Prev [button_]\n dishwasher safe \n holds 12 oz\n")
    shopper.does("click[< prev]", "click[reviews]")
    assert shopper.sees() == f"{HEAD} [SEP] < Prev"
    shopper.does("click[< prev]", "click[< prev]", "click[b000000001]")
    assert shopper.visit.options == ()


def test_blank_texts(shopper: Shopper) -> None:
    """A blank bullet stays as an empty part; one with a newline, and an empty description, add nothing."""
    shopper.does("search[lamp]", "click[b000000003]", "click[features]")
    assert shopper.sees() == f"{HEAD} [SEP] < Prev [SEP]  [SEP] bright"
    assert shopper.sees("text_rich").endswith("[button] < Prev [button_]\n \n bright\n")
    shopper.does("search[cup]", "click[b000000002]", "click[description]")
    assert shopper.sees() == f"{HEAD} [SEP] < Prev"


def test_a_value_of_two_options_goes_to_the_later_one(shopper: Shopper) -> None:
    shopper.does("search[cup]", "click[b000000002]", "click[plain]")
    assert shopper.visit.options == (("style", "plain"),)


def test_the_last_page_escapes_the_options(shopper: Shopper) -> None:
    shopper.does("search[cup]", "click[b000000002]", "click[<b>'x'&]", "click[buy now]")
    assert '{"style": "\\u003cb\\u003e\\u0027x\\u0027\\u0026"}' in shopper.sees()
    assert shopper.sees().endswith("Your score (min 0.0, max 1.0) [SEP] 0.0 [SEP] Reward Details [SEP] None")
    assert shopper.clickables == []


def test_the_shop_stays_open_after_a_purchase(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[b000000001]", "click[black]", 'click[4" tall]', "click[buy now]")
    assert shopper.visit.bought is not None and shopper.visit.bought.reward == 1.0
    shopper.does("search[mug]", "click[b000000001]", "click[buy now]")
    assert shopper.visit.bought.reward == 0.5


def test_search_works_on_every_page_and_the_search_button_does_nothing(shopper: Shopper) -> None:
    assert shopper.shop.act(Visit(), "click[search]", shopper.goal, ["search"]) is None
    for way in (
        [],
        ["click[b000000001]"],
        ["click[b000000001]", "click[reviews]"],
        ["click[b000000001]", "click[buy now]"],
    ):
        shopper.does("search[mug]", *way, "search[more]")
        assert shopper.visit.page == "results"


def test_a_query_with_the_name_of_a_page_confuses_the_way_back(shopper: Shopper) -> None:
    shopper.does("search[search_results]", "click[b000000001]", "click[< prev]")
    assert shopper.sees() == f"{HEAD} [SEP] Page 0 (Total results: 4) [SEP] Next >"
    shopper.does("search[item_page]", "click[b000000001]", "click[features]", "click[< prev]")
    assert shopper.visit.page == "results"


def test_without_compat_the_state_of_the_visit_decides(shop: Shop, goal: Goal) -> None:
    plain = Shop(shop.catalogue, shop.prices, lambda query: (0, 1, 2, 3), lambda place: (), compat=False)
    shopper = Shopper(plain, goal).does("search[search_results]", "click[b000000001]", 'click[4" tall]')
    assert shopper.sees("text_rich").startswith('You have clicked 4" tall.\n')
    shopper.does("click[features]", "click[< prev]", "click[< prev]")
    assert shopper.sees().startswith(f"{HEAD} [SEP] Page 1 (Total results: 4) [SEP] B000000001")


def test_a_visit_survives_pickling(shopper: Shopper) -> None:
    shopper.does("search[mug]", "click[b000000001]", "click[black]", "click[buy now]")
    assert pickle.loads(pickle.dumps(shopper.visit)) == shopper.visit


def test_a_query_that_the_search_cannot_answer_is_refused(shop: Shop, goal: Goal) -> None:
    unable = Shop(shop.catalogue, shop.prices, lambda query: None, lambda place: ())
    assert unable.act(Visit(), "search[mug]", goal, ["search"]) is None
