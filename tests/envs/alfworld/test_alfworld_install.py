"""Installing games: what is official goes in, whole, once; what is not is named; interruptions are mended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from small_house import as_zip, official_text, small_game, write_tree

from envs.alfworld import ALFWorldEnv
from envs.alfworld.games import SPLITS, Game
from envs.alfworld.install import install
from envs.alfworld.manifest import official_ids, write_manifest
from envs.base.download import download
from envs.base.errors import UserError

GAMES = [small_game("Pick"), small_game("Heat"), small_game("Look", "train")]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def our_official_games(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small games stand for the official ones."""
    ids = {split: frozenset(game.id for game in GAMES if game.split == split) for split in SPLITS}
    monkeypatch.setattr("envs.alfworld.install.official_ids", lambda: ids)
    monkeypatch.setattr("envs.alfworld.tasks.official_ids", lambda: ids)


def installed(split: str = "valid_seen") -> list[str]:
    return [task.name for task in ALFWorldEnv(split).tasks]


def test_installed_games_are_played_and_an_incomplete_split_says_so(tmp_path: Path, lines: list[str]) -> None:
    install(str(write_tree(tmp_path, GAMES)), lines.append)
    assert lines == [
        "train: 1 of 3553 official games installed, 1 of them new",
        "valid_seen: 2 of 140 official games installed, 2 of them new",
    ]
    env = ALFWorldEnv("valid_seen")
    assert env.notes == ("valid_seen: 2 of 140 official games are installed",)
    assert [task.id for task in env.tasks] == [GAMES[0].id, GAMES[1].id] and env.tasks[0].type == "Pick"
    for task in env.tasks:
        _, info = env.reset(options={"task": task.id})
        for command in info["walkthrough"]:
            _, reward, terminated, _, info = env.step(command)
        assert terminated and reward == 1.0 and info["won"]


def test_a_split_that_is_not_installed_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    with pytest.raises(UserError, match="type `agentbench install alfworld`"):
        ALFWorldEnv("valid_unseen")
    write_tree(tmp_path, GAMES)  # the user has the data of the original package
    with pytest.raises(UserError, match=r"type `agentbench install alfworld --from .*json_2.1.1`"):
        ALFWorldEnv("valid_unseen")


def test_installing_again_changes_nothing_and_more_games_join(
    tmp_path: Path, private_home: Path, lines: list[str]
) -> None:
    install(str(write_tree(tmp_path / "a", GAMES[:1])), lines.append)
    path = private_home / "alfworld" / "valid_seen.games"
    before = path.stat()
    install(str(tmp_path / "a"), lines.append)
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino
    install(str(write_tree(tmp_path / "b", GAMES[1:])), lines.append)
    assert installed() == [GAMES[0].name, GAMES[1].name]
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["train.games", "valid_seen.games"]


def test_damaged_and_foreign_games_are_named_and_the_rest_goes_in(tmp_path: Path, lines: list[str]) -> None:
    foreign = Game(**{**small_game("Clean").__dict__, "sentence": "do something else."})
    tree = write_tree(tmp_path, [*GAMES, foreign])
    (tree / GAMES[0].name / "game.tw-pddl").write_text(official_text(GAMES[0])[:500])
    with pytest.raises(UserError, match="2 games or parts were left out"):
        install(str(tree), lines.append)
    assert f"{foreign.name}: wrong digest: not the official game of this split" in lines
    assert any(line.startswith(f"{GAMES[0].name}/game.tw-pddl: not valid JSON") for line in lines)
    assert installed() == [GAMES[1].name] and installed("train") == [GAMES[2].name]
    (tree / GAMES[0].name / "game.tw-pddl").write_text(official_text(GAMES[0]))
    (tree / foreign.name / "game.tw-pddl").unlink()
    install(str(tree), lines.append)
    assert installed() == [GAMES[0].name, GAMES[1].name]


def test_a_source_without_official_games_installs_nothing(tmp_path: Path, private_home: Path) -> None:
    tree = write_tree(tmp_path, [small_game("Cool")])
    with pytest.raises(UserError, match="nothing was installed"):
        install(str(tree), print)
    assert not (private_home / "alfworld").exists()


@pytest.mark.parametrize("keep", [0, 20, -5])
def test_a_file_cut_short_later_is_reported_and_mended(
    tmp_path: Path, private_home: Path, lines: list[str], keep: int
) -> None:
    tree = write_tree(tmp_path, GAMES)
    install(str(tree), lines.append)
    path = private_home / "alfworld" / "valid_seen.games"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"valid_seen.games is damaged .* type `agentbench install alfworld`"):
        ALFWorldEnv("valid_seen")
    install(str(tree), lines.append)
    assert len(installed()) == 2


def test_a_game_changed_on_disk_is_reported_when_it_is_played(
    tmp_path: Path, private_home: Path, lines: list[str]
) -> None:
    install(str(write_tree(tmp_path, GAMES)), lines.append)
    path = private_home / "alfworld" / "train.games"
    data = bytearray(path.read_bytes())
    data[-200] ^= 0xFF
    path.write_bytes(data)
    env = ALFWorldEnv("train")
    with pytest.raises(UserError, match=f"game {GAMES[2].name} cannot be read"):
        env.reset()


def test_the_list_of_official_games_is_complete_and_checked(tmp_path: Path) -> None:
    assert {split: len(ids) for split, ids in official_ids().items()} == SPLITS
    with pytest.raises(ValueError, match="train has 1 different games instead of 3553"):
        write_manifest(GAMES, tmp_path / "ids.gz")


# -- downloading -------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 400


class Server(BaseHTTPRequestHandler):
    """Serves ``CONTENT``; ``/cut`` breaks off after 1000 bytes, ``/whole`` ignores ranges."""

    ranges: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.ranges.append(wanted)
        start = int(wanted[6:-1]) if wanted and self.path != "/whole" else 0
        if self.path == "/absent":
            self.send_error(404)
        elif start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
        else:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start:][: 1000 if self.path == "/cut" else None])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Server.ranges.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_download_that_broke_off_is_resumed(tmp_path: Path, address: str, lines: list[str]) -> None:
    target = tmp_path / "deep" / "file.zip"
    for _ in range(2):
        with pytest.raises(UserError, match=r"broke off .* run again"):
            download(f"{address}/cut", target, "use --from", lines.append)
    assert not target.exists()
    download(f"{address}/file", target, "use --from", lines.append)
    assert target.read_bytes() == CONTENT
    assert Server.ranges == ["", "bytes=1000-", "bytes=2000-"]
    download(f"{address}/file", target, "use --from", lines.append)
    assert len(Server.ranges) == 3


@pytest.mark.parametrize(("have", "path"), [(0, "/file"), (500, "/whole"), (len(CONTENT), "/file")])
def test_a_download_is_whole_whatever_was_there_and_whatever_the_server_can(
    tmp_path: Path, address: str, have: int, path: str
) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:have])
    download(address + path, tmp_path / "file", "use --from", print)
    assert (tmp_path / "file").read_bytes() == CONTENT and not (tmp_path / "file.part").exists()


def test_a_part_longer_than_the_file_is_fetched_anew(tmp_path: Path, address: str) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    download(f"{address}/file", tmp_path / "file", "use --from", print)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_without_network_the_error_says_what_to_do_instead(tmp_path: Path, address: str) -> None:
    with pytest.raises(UserError, match=r"cannot download .*: use --from"):
        download("http://127.0.0.1:9/file", tmp_path / "file", "use --from", print)
    with pytest.raises(UserError, match=r"Not Found.*: use --from"):
        download(f"{address}/absent", tmp_path / "file", "use --from", print)


def test_the_official_archive_is_fetched_read_and_removed(
    tmp_path: Path, private_home: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr("envs.alfworld.install.ARCHIVE_URL", f"{address}/games.zip")
    archive = as_zip(write_tree(tmp_path, GAMES), tmp_path / "games.zip")
    monkeypatch.setitem(globals(), "CONTENT", archive.read_bytes()[:-100])
    with pytest.raises(UserError, match="not a whole zip"):
        install(None, lines.append)
    monkeypatch.setitem(globals(), "CONTENT", archive.read_bytes())
    install(None, lines.append)
    assert len(installed()) == 2
    assert list((private_home / "alfworld" / "downloads").iterdir()) == []
