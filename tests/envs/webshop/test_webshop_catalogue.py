"""The catalogue: official files read as the original reads them, bad ones refused by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from webshop_small_catalogue import CUP, LAMP, MUG

from envs.base.errors import UserError
from envs.webshop.catalogue import BadProduct, draw_prices, load_catalogue, parse_price

Write = Callable[..., Path]


def test_products_are_read_as_the_original_reads_them(write_catalogue: Write) -> None:
    mug, cup, _, _ = load_catalogue(write_catalogue()).products
    assert mug.options == {"color": ("red | white", "black", "black"), "size": ('4" tall', "standard")}
    assert mug.query == "coffee mugs"
    assert (mug.prices, mug.price_tag) == ((7.5,), "$7.5")
    assert (cup.prices, cup.price_tag) == ((8.0, 21.0), "$8.0 to $21.0")
    assert cup.bullets == ("light",)
    assert cup.instruction is None


def test_a_product_without_options_or_price_has_none_and_costs_100(write_catalogue: Write) -> None:
    lamp = load_catalogue(write_catalogue()).products[2]
    assert lamp.options == {}
    assert (lamp.prices, lamp.price_tag) == ((100.0,), "$100.0")


def test_a_product_without_an_attribute_record_has_the_originals_stand_in(write_catalogue: Write) -> None:
    assert load_catalogue(write_catalogue(attributes={})).products[0].attributes == ("DUMMY_ATTR",)


def test_human_instructions_of_other_products_are_left_out(write_catalogue: Write) -> None:
    human = load_catalogue(write_catalogue()).human
    assert list(human) == ["B000000001"]
    assert human["B000000001"][0].options == ("black",)


def test_the_human_file_may_be_absent(write_catalogue: Write) -> None:
    folder = write_catalogue()
    (folder / "items_human_ins.json").unlink()
    assert load_catalogue(folder).human == {}


@pytest.mark.parametrize("name", ["items_shuffle_1000.json", "items_ins_v2_1000.json"])
def test_a_missing_file_is_named(write_catalogue: Write, name: str) -> None:
    folder = write_catalogue()
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name} is not there"):
        load_catalogue(folder)


@pytest.mark.parametrize("name", ["items_shuffle_1000.json", "items_ins_v2_1000.json", "items_human_ins.json"])
@pytest.mark.parametrize("keep", [0, 1, 100])
def test_a_truncated_file_is_named(write_catalogue: Write, name: str, keep: int) -> None:
    folder = write_catalogue()
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(UserError, match=f"{name} is not whole JSON"):
        load_catalogue(folder)


def test_a_file_of_the_wrong_shape_is_refused(write_catalogue: Write) -> None:
    with pytest.raises(UserError, match="holds a list, and a dict is needed"):
        load_catalogue(write_catalogue(attributes=[]))


BAD = {
    "no title": (MUG | {"name": None}, "name is None"),
    "no category": ({key: value for key, value in LAMP.items() if key != "category"}, "category is missing"),
    "no sign": (CUP | {"pricing": "7.50"}, "pricing '7.50' has no \\$ sign"),
    "no digits": (CUP | {"pricing": "$free"}, "pricing '\\$free' is not a price"),
    "two points": (CUP | {"pricing": "$7.5.0"}, "is not a price"),
    "bullets": (CUP | {"small_description": [1]}, "small_description is not a list of texts"),
    "options": (CUP | {"customization_options": {"size": [{"name": "x"}]}}, "value is missing"),
    "option list": (CUP | {"customization_options": {"size": "x"}}, "option 'size' is not a list"),
    "no object": ("B000000009", "the record is not an object"),
}


@pytest.mark.parametrize(("product", "message"), BAD.values(), ids=BAD)
def test_a_bad_product_stops_with_its_number_or_is_skipped_with_a_note(
    write_catalogue: Write, product: object, message: str
) -> None:
    bad = product | {"asin": "B000000009"} if isinstance(product, dict) else product
    folder = write_catalogue(items=[MUG, bad, LAMP])
    with pytest.raises(UserError, match=rf"product 1 \(.*\): .*{message}"):
        load_catalogue(folder)
    catalogue = load_catalogue(folder, on_bad="skip")
    assert [product.asin for product in catalogue.products] == ["B000000001", "B000000003"]
    assert any("left out product 1" in note for note in catalogue.notes)


def test_a_repeated_id_stops_or_leaves_out_the_later_product(write_catalogue: Write) -> None:
    folder = write_catalogue(items=[MUG, LAMP, MUG | {"name": "Another"}])
    with pytest.raises(UserError, match=r"product 2 \(B000000001\): its id is also that of product 0"):
        load_catalogue(folder)
    catalogue = load_catalogue(folder, on_bad="skip")
    assert [product.title for product in catalogue.products] == [MUG["name"], LAMP["name"]]


def test_ids_that_are_none_are_left_out_as_the_original_does(write_catalogue: Write) -> None:
    folder = write_catalogue(items=[MUG | {"asin": "nan"}, MUG | {"asin": "B0000000012"}, LAMP])
    catalogue = load_catalogue(folder)
    assert [product.asin for product in catalogue.products] == [LAMP["asin"]]
    assert sum("is not a product id" in note for note in catalogue.notes) == 2


def test_an_instruction_without_attributes_is_refused(write_catalogue: Write) -> None:
    broken = {"B000000001": {"attributes": [], "instruction": "Find me", "instruction_attributes": []}}
    with pytest.raises(UserError, match="its instruction has no instruction_attributes"):
        load_catalogue(write_catalogue(attributes=broken))


def test_bad_human_instructions_are_named(write_catalogue: Write) -> None:
    with pytest.raises(UserError, match="human instructions of B000000001"):
        load_catalogue(write_catalogue(human={"B000000001": [{"instruction": "x"}]}))


def test_files_that_are_not_the_official_ones_are_noted(write_catalogue: Write) -> None:
    notes = load_catalogue(write_catalogue()).notes
    assert any("items_shuffle_1000.json is not the official file" in note for note in notes)


@pytest.mark.parametrize(
    ("pricing", "prices", "tag"),
    [
        ("$1,299.00", (1299.0,), "$1299.0"),
        ("$3.00 $4.00 $5.00", (3.0, 4.0), "$3.0 to $4.0"),
        ("from $5 or so", (5.0,), "$5.0"),
        (None, (100.0,), "$100.0"),
    ],
)
def test_prices_are_read_from_what_follows_each_sign(pricing: object, prices: tuple[float, ...], tag: str) -> None:
    assert parse_price(pricing) == (prices, tag)


def test_a_price_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadProduct, match="is not a text"):
        parse_price(7.5)


def test_only_products_with_a_range_draw_a_price(write_catalogue: Write) -> None:
    ranges = load_catalogue(write_catalogue()).price_ranges
    assert draw_prices(ranges, random.Random(5)) == [7.5, random.Random(5).uniform(8.0, 21.0), 100.0, 985.0]
