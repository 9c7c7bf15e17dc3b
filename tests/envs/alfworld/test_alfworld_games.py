"""Reading games from every kind of source, whole and damaged."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from small_house import as_compact, as_zip, official_text, small_game, write_tree

from envs.alfworld.games import BadGameError, Damaged, Game, parse_game_file
from envs.alfworld.sources import read_games
from envs.base.errors import UserError

GAMES = [small_game("Heat"), small_game("Pick"), small_game("Look", "train")]


def names(source: Path) -> list[str]:
    return sorted(part.name for part in read_games(source) if isinstance(part, Game))


def test_every_kind_of_source_gives_the_same_games(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, GAMES)
    tar = tmp_path / "games.tar.xz"
    with tarfile.open(tar, "w:xz") as archive:
        archive.add(tree, "json_2.1.1")
    sources = [
        *(tmp_path, tree, tar, as_zip(tree, tmp_path / "games.zip")),
        *(as_compact(tmp_path / "games.jsonl.xz", GAMES), as_compact(tmp_path / "games.jsonl.gz", GAMES)),
    ]
    for source in sources:
        found = {game.name: game for game in read_games(source) if isinstance(game, Game)}
        assert found == {game.name: game for game in GAMES}, source
        assert {game.id for game in found.values()} == {game.id for game in GAMES}
    assert names(tree / "train") == [GAMES[2].name]


def test_a_folder_and_a_zip_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, GAMES)
    expected = sorted(game.name for game in GAMES)
    for source in (tree, as_zip(tree, tmp_path / "games.zip")):
        assert [part.name for part in read_games(source)] == expected


def test_the_id_depends_on_sentence_and_problem_alone() -> None:
    game = small_game("Heat")
    assert game.id.startswith("heat-") and len(game.id) == 17
    respaced = game.problem.replace("\n", " \n\t").replace("plan_small", "plan_other").upper()
    same = Game(
        "elsewhere", "train", "Heat", f"  {game.sentence.upper()}", respaced.replace("(:OBJECTS", "(:objects"), ()
    )
    assert same.id == game.id
    assert Game("x", "train", "Heat", "do it.", game.problem, ()).id != game.id
    other = game.problem.replace("(isCool Apple_bar_2)", "")
    assert Game("x", "train", "Heat", game.sentence, other, ()).id != game.id


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[: len(text) // 2], "cut short"),
        (lambda text: "[]", "not a JSON object"),
        (lambda text: "", "cut short"),
        (lambda text: text.replace("(:goal", "(:gaol"), "incomplete"),
        (lambda text: text.replace("Your task is to", "Do"), "no sentence"),
        (lambda text: text.replace('"walkthrough"', '"walk"'), "no 'walkthrough'"),
        (lambda text: text.replace("inReceptacle", ")"), "incomplete"),
    ],
)
def test_a_damaged_game_file_is_reported_and_the_others_load(tmp_path: Path, change, reason: str) -> None:
    tree = write_tree(tmp_path, GAMES)
    path = tree / GAMES[0].name / "game.tw-pddl"
    path.write_text(change(path.read_text()))
    parts = list(read_games(tree))
    damaged = [part for part in parts if isinstance(part, Damaged)]
    assert [part.name for part in damaged] == [f"{GAMES[0].name}/game.tw-pddl"] and reason in damaged[0].reason
    assert len(parts) == len(GAMES)


def test_games_that_the_original_passes_over_are_passed_over(tmp_path: Path) -> None:
    text = official_text(small_game())
    assert parse_game_file("train/pick_and_place_with_movable_recep-X/t", text) is None
    assert parse_game_file("train/pick_and_place_simple-AppleSliced-X/t", text) is None
    unsolvable = json.dumps({**json.loads(text), "solvable": False})
    assert parse_game_file(small_game().name, unsolvable) is None
    with pytest.raises(BadGameError, match="no known task type"):
        parse_game_file("train/juggle-Apple/t", text)


def test_an_archive_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, GAMES)
    whole = tmp_path / "whole.tar"
    with tarfile.open(whole, "w") as archive:
        archive.add(tree, "json_2.1.1")
    cut = tmp_path / "cut.tar"
    with tarfile.open(whole) as archive:
        last = max(member.offset_data for member in archive if member.name.endswith("tw-pddl"))
    cut.write_bytes(whole.read_bytes()[: last + 100])
    parts = list(read_games(cut))
    assert sum(isinstance(part, Game) for part in parts) == 2
    assert isinstance(parts[-1], Damaged) and "breaks off after 2 games" in parts[-1].reason
    compact = as_compact(tmp_path / "games.jsonl.gz", GAMES)
    compact.write_bytes(compact.read_bytes()[:-30])
    parts = list(read_games(compact))
    assert isinstance(parts[-1], Damaged) and "breaks off" in parts[-1].reason


def test_one_bad_member_of_a_zip_does_not_spoil_the_rest(tmp_path: Path) -> None:
    path = as_zip(write_tree(tmp_path, GAMES), tmp_path / "games.zip")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"json_2.1.1/{GAMES[1].name}/game.tw-pddl")
    data = bytearray(path.read_bytes())
    for i in range(200, 220):
        data[info.header_offset + i] ^= 0xFF
    path.write_bytes(data)
    parts = list(read_games(path))
    assert [part.name for part in parts if isinstance(part, Damaged)] == [f"{GAMES[1].name}/game.tw-pddl"]
    assert sum(isinstance(part, Game) for part in parts) == 2


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.md").write_text("hello")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 cut off")
    for name, message in (
        ("empty", "no ALFWorld game"),
        ("text.md", "not a known kind"),
        ("absent", "does not exist"),
        ("cut.zip", "not a whole zip"),
    ):
        with pytest.raises(UserError, match=message):
            list(read_games(tmp_path / name))
