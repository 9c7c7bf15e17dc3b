"""The packed catalogue: the same products as in memory, from a file that is read in pieces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envs.base.errors import UserError
from envs.webshop import WebShopEnv
from envs.webshop.catalogue import Catalogue, load_catalogue
from envs.webshop.generator import generate_catalogue
from envs.webshop.goals import draw_goals
from envs.webshop.install import install
from envs.webshop.packed import open_packed, pack, stream_array

Write = Callable[..., Path]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Catalogue, Catalogue]:
    """A generated catalogue, in memory and packed."""
    catalogue = generate_catalogue(2, 150)
    pack(iter(catalogue.products), lambda ids: {}, ["a note"], tmp_path / "packed")
    return catalogue, open_packed(tmp_path / "packed", "full")


def test_all_that_is_known_of_the_products_is_the_same(pair: tuple[Catalogue, Catalogue]) -> None:
    memory, packed = pair
    assert list(packed.products) == list(memory.products)
    assert [packed.products[place] for place in (0, 149, -1)] == [memory.products[place] for place in (0, 149, -1)]
    assert packed.products[3:5] == memory.products[3:5]
    assert dict(packed.position) == dict(memory.position)
    assert dict(packed.by_query) == dict(memory.by_query)
    assert dict(packed.by_category) == dict(memory.by_category)
    assert list(packed.price_ranges) == list(memory.price_ranges)
    assert packed.instructed == memory.instructed
    assert packed.notes == ("a note",)
    assert draw_goals(packed, "synthetic", 5) == draw_goals(memory, "synthetic", 5)


def test_what_is_not_there_is_not_found(pair: tuple[Catalogue, Catalogue]) -> None:
    _, packed = pair
    for asin in ("", "A", "G000000000x", "ZZZZZZZZZZ", "G00000000"):
        assert asin not in packed.position
    assert packed.by_query.get("no such query", []) == []
    with pytest.raises(IndexError):
        packed.products[150]


def full_folder(write_catalogue: Write, **options: Any) -> Path:
    folder = write_catalogue(**options)
    shutil.move(folder / "items_shuffle_1000.json", folder / "items_shuffle.json")
    shutil.move(folder / "items_ins_v2_1000.json", folder / "items_ins_v2.json")
    return folder


def test_the_full_size_is_installed_packed_and_plays_as_the_small_one(
    write_catalogue: Write, private_home: Path
) -> None:
    lines: list[str] = []
    small = write_catalogue()
    expected = load_catalogue(small)
    install(str(full_folder(write_catalogue)), lines.append, size="full")
    write_catalogue()
    assert sorted(path.name for path in (private_home / "webshop" / "full").iterdir()) == ["index", "packed"]
    for goals in ("synthetic", "human"):
        envs = [
            WebShopEnv(goals=goals, split="all", catalogue="full"),
            WebShopEnv(goals=goals, split="all", data=small),
        ]
        assert list(envs[0].shop.catalogue.products) == list(expected.products)
        assert envs[0].tasks == envs[1].tasks
        for task in envs[0].tasks:
            episodes = []
            for env in envs:
                _, info = env.reset(options={"task": task.id})
                episodes.append([env.step(action) for action in ("search[mug lamp sofa]", *info["walkthrough"])])
            assert episodes[0] == episodes[1]


def test_repeated_and_bad_products_of_the_full_file_are_left_out_and_noted(
    write_catalogue: Write, private_home: Path
) -> None:
    lines: list[str] = []
    products = json.loads((write_catalogue() / "items_shuffle_1000.json").read_text())
    folder = full_folder(write_catalogue, items=[*products, products[0], products[1] | {"asin": "B9", "pricing": "x"}])
    install(str(folder), lines.append, size="full")
    env = WebShopEnv(goals="synthetic", split="all", catalogue="full")
    assert len(env.shop.catalogue.products) == 4
    assert sum("left out product" in note for note in env.notes) == 2


def test_the_full_size_must_be_installed(write_catalogue: Write) -> None:
    with pytest.raises(UserError, match="--size full"):
        WebShopEnv(goals="human", catalogue="full")


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_is_streamed_whole_whatever_the_pieces(tmp_path: Path, chunk: int, indent: int | None) -> None:
    records = [{"a": '[{,é"\\]}', "b": [1, {"c": None}]}, {}, {"d": "x" * 50}]
    path = tmp_path / "items.json"
    path.write_text(" \n" + json.dumps(records, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    assert list(stream_array(path, chunk)) == records
    path.write_text("[ ]")
    assert list(stream_array(path, chunk)) == []


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_truncated_file_is_refused_and_says_where(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps([{"number": number} for number in range(5)])[:-cut])
    with pytest.raises(UserError, match=r"items\.json is not whole JSON .*in element \d"):
        list(stream_array(path, 16))


@pytest.mark.parametrize("content", ['{"a": 1}', "x"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "items.json").write_text(content)
    with pytest.raises(UserError, match="does not hold a list of products"):
        list(stream_array(tmp_path / "items.json"))


@pytest.mark.parametrize("name", ["products.bin", "offsets.npy", "meta.json"])
def test_a_damaged_packed_catalogue_is_refused(tmp_path: Path, name: str) -> None:
    pack(iter(generate_catalogue(2, 20).products), lambda ids: {}, [], tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-10])
    with pytest.raises(UserError, match="make it again"):
        open_packed(tmp_path, "full")
