"""Installing: whole or not at all, digests checked, and what is not official said in every result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from webshop_small_catalogue import LAMP, MUG

from envs.base.errors import UserError
from envs.webshop import WebShopEnv, install, world
from envs.webshop.official import OFFICIAL

Write = Callable[..., Path]


@pytest.fixture
def lines() -> list[str]:
    return []


def test_a_folder_is_installed_with_its_index_and_played_from_there(
    write_catalogue: Write, private_home: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install.install(str(write_catalogue()), lines.append)
    assert any("4 products and 2 human instructions installed" in line for line in lines)
    assert any("items_shuffle_1000.json is not the official file" in line for line in lines)

    def no_build(*args: Any) -> None:
        raise AssertionError("the installed index was not used")

    monkeypatch.setattr(world.SearchIndex, "build", no_build)
    env = WebShopEnv(goals="synthetic", split="all")
    assert any("not the official file" in note for note in env.notes)
    _, info = env.reset(options={"task": "synthetic:0"})
    for action in info["walkthrough"]:
        _, _, _, _, info = env.step(action)
    assert info["score"] > 0


def test_installing_again_replaces_and_leaves_nothing_behind(
    write_catalogue: Write, private_home: Path, lines: list[str]
) -> None:
    install.install(str(write_catalogue()), lines.append)
    install.install(str(write_catalogue(items=[MUG, LAMP])), lines.append)
    assert [path.name for path in (private_home / "webshop").iterdir()] == ["1000"]
    assert len(WebShopEnv(goals="synthetic", split="all").shop.catalogue.products) == 2


def test_a_bad_catalogue_leaves_the_installed_one_alone(
    write_catalogue: Write, private_home: Path, lines: list[str]
) -> None:
    install.install(str(write_catalogue()), lines.append)
    with pytest.raises(UserError, match="product 0 "):
        install.install(str(write_catalogue(items=[MUG | {"pricing": "7"}])), lines.append)
    assert len(WebShopEnv(goals="synthetic", split="all").shop.catalogue.products) == 4


def test_a_noun_table_in_the_folder_comes_along(write_catalogue: Write, lines: list[str]) -> None:
    folder = write_catalogue()
    (folder / "nouns.json").write_text(json.dumps({f"B00000000{k}": ["thing"] for k in (1, 2, 3, 4)}))
    install.install(str(folder), lines.append)
    assert any("nouns.json" in note for note in WebShopEnv(goals="synthetic", split="all").notes)


def test_a_folder_without_human_instructions_gives_no_human_goals(write_catalogue: Write, lines: list[str]) -> None:
    folder = write_catalogue()
    (folder / "items_human_ins.json").unlink()
    install.install(str(folder), lines.append)
    assert any("there will be no human goals" in line for line in lines)
    with pytest.raises(UserError, match="has no goals"):
        WebShopEnv(goals="human", split="all")


def test_wrong_sources_say_what_is_needed(write_catalogue: Write, tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(UserError, match="unknown size '500'"):
        install.install(None, lines.append, size=500)
    with pytest.raises(UserError, match="is not a folder"):
        install.install(str(tmp_path / "nowhere"), lines.append)
    with pytest.raises(UserError, match=r"has no items_shuffle\.json"):
        install.install(str(write_catalogue()), lines.append, size="full")


def test_a_download_that_is_not_official_is_refused_and_fetched_again_next_time(
    private_home: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, target: Path, instead: str, write: Any) -> None:
        target.write_bytes(b"[]")

    monkeypatch.setattr("envs.base.download.download", download)
    with pytest.raises(UserError, match=r"items_shuffle_1000\.json came with 2 bytes.*not those of the official file"):
        install.install(None, lines.append)
    assert list((private_home / "webshop").rglob("*.json")) == []


def test_a_download_with_the_official_digests_is_installed(
    write_catalogue: Write, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_catalogue()
    files = OFFICIAL["1000"]
    by_url = {file.url: file.name for file in (files.items, files.attributes, files.human)}

    def download(url: str, target: Path, instead: str, write: Any) -> None:
        target.write_bytes((folder / by_url[url]).read_bytes())

    def official(file: Any, size: int, sha256: str) -> bool:
        return sha256 == hashlib.sha256((folder / file.name).read_bytes()).hexdigest()

    monkeypatch.setattr("envs.base.download.download", download)
    monkeypatch.setattr("envs.webshop.official.OfficialFile.is_official", official)
    install.install(None, lines.append, size=1000)
    notes = WebShopEnv(goals="synthetic", split="all").notes
    assert not any("official" in note for note in notes)
