"""Archives from strangers: no path in one leads out of where we write, and no member fills the memory or ends us."""

import io
import json
import tarfile
import zipfile

import pytest
from small_house import official_text, small_game

from agentbench.importing import import_run
from agentbench.importing import inspect_log as inspect_reader
from envs.alfworld import ALFWorldEnv, sources
from envs.alfworld.games import SPLITS, Damaged
from envs.alfworld.install import install
from envs.errors import UserError

GAME = small_game("Pick")
PLACES = (
    "../../../valid_seen/pick_and_place_simple-A/t/game.tw-pddl",
    "/tmp/valid_seen/pick_and_place_simple-B/t/game.tw-pddl",
    "..\\..\\valid_seen\\pick_and_place_simple-C\\t/game.tw-pddl",
    "valid_seen/../../../etc/pick_and_place_simple-D/t/game.tw-pddl",
    "game.tw-pddl",
)


def everything_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def official(monkeypatch):
    """Let the small game stand for an official one, so that something is installed."""
    ids = {split: frozenset([GAME.id]) for split in SPLITS}
    monkeypatch.setattr("envs.alfworld.install.official_ids", lambda: ids)
    monkeypatch.setattr("envs.alfworld.tasks.official_ids", lambda: ids)


def hostile_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        for place in PLACES:
            archive.writestr(place, official_text(GAME))
        archive.writestr(f"{GAME.name}/game.tw-pddl", official_text(GAME))
    return path


def hostile_tar(path):
    with tarfile.open(path, "w:gz") as archive:
        for place in PLACES:
            member = tarfile.TarInfo(place)
            member.size = len(official_text(GAME))
            archive.addfile(member, io.BytesIO(official_text(GAME).encode()))
        for kind, target in (
            (tarfile.SYMTYPE, "/etc/passwd"),
            (tarfile.LNKTYPE, "../../secret"),
            (tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo("valid_seen/pick_and_place_simple-L/t/game.tw-pddl")
            member.type, member.linkname = kind, target
            archive.addfile(member)
        member = tarfile.TarInfo(f"{GAME.name}/game.tw-pddl")
        member.size = len(official_text(GAME))
        archive.addfile(member, io.BytesIO(official_text(GAME).encode()))
    return path


@pytest.mark.parametrize(("make", "name"), [(hostile_zip, "games.zip"), (hostile_tar, "games.tar.gz")])
def test_no_path_in_an_archive_of_games_leads_out_of_the_data_folder(tmp_path, monkeypatch, official, make, name):
    home = tmp_path / "inner" / "home"
    home.mkdir(parents=True)
    monkeypatch.setenv("AGENTBENCH_HOME", str(home))
    (tmp_path / "secret").write_text("secret")
    archive = make(tmp_path / name)
    with pytest.raises(UserError, match="were left out"):  # those in the wrong place
        install(str(archive), lambda line: None, home)
    written = [path for path in everything_below(tmp_path) if not path.startswith("inner/home/alfworld/")]
    assert written == sorted([name, "secret", "inner", "inner/home", "inner/home/alfworld"])
    assert [path.name.partition(".")[0] for path in (home / "alfworld").iterdir()] == ["valid_seen"]
    assert [task.name for task in ALFWorldEnv("valid_seen").tasks] == [GAME.name]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"solvable": ' + "[" * 100_000, "\ud800".encode("utf-8", "replace").decode()]
)
def test_a_hostile_game_file_is_named_and_the_rest_goes_on(tmp_path, text):
    path = tmp_path / "games.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("valid_seen/pick_and_place_simple-A/t/game.tw-pddl", text)
        archive.writestr(f"{GAME.name}/game.tw-pddl", official_text(GAME))
    found = list(sources.read_games(path))
    assert [type(part) for part in found].count(Damaged) == 1
    assert [part.id for part in found if not isinstance(part, Damaged)] == [GAME.id]


def test_a_member_too_long_for_a_game_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_LARGEST", 1000)
    with zipfile.ZipFile(tmp_path / "games.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("valid_seen/pick_and_place_simple-A/t/game.tw-pddl", " " * 10_000)
    with tarfile.open(tmp_path / "games.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("valid_seen/pick_and_place_simple-A/t/game.tw-pddl")
        member.size = 10_000
        archive.addfile(member, io.BytesIO(b" " * 10_000))
    for name in ("games.zip", "games.tar.gz"):
        (part,) = sources.read_games(tmp_path / name)
        assert "longer than 1000 bytes" in part.reason


SAMPLE = {"id": "a", "epoch": 1, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}],
          "scores": {"s": {"value": 1}}}  # fmt: skip


def write_log(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_no_path_in_a_log_leads_out_of_the_run(tmp_path):
    hostile = {"id": "../../../escaped", "epoch": 1, **{key: SAMPLE[key] for key in ("messages", "scores")}}
    members = {
        "samples/../../../escaped_epoch_1.json": json.dumps(hostile),
        "samples//etc/passwd_epoch_1.json": json.dumps(hostile),
        "../samples/a_epoch_1.json": json.dumps(SAMPLE),
        "samples/a_epoch_1.json": json.dumps(SAMPLE),
    }
    log = write_log(tmp_path / "log.eval", members)
    found = import_run(log, tmp_path / "inner" / "run")
    assert sorted(found.run.episodes["task_id"]) == ["t:../../../escaped", "t:../../../escaped", "t:a"]
    outside = [name for name in everything_below(tmp_path) if not name.startswith("inner/run/")]
    assert outside == ["inner", "inner/run", "log.eval"]


def test_a_bomb_in_a_log_is_named_and_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(inspect_reader, "MAX_BYTES", 10_000)
    members = {"samples/bomb_epoch_1.json": b" " * 100_000, "samples/deep_epoch_1.json": "[" * 9_000}
    log = write_log(tmp_path / "log.eval", {**members, "samples/a_epoch_1.json": json.dumps(SAMPLE)})
    found = import_run(log, tmp_path / "run")
    assert list(found.run.episodes["task_id"]) == ["t:a"]
    assert [part.reason for part in found.bad] == ["longer than 10000 bytes", "nested too deeply"]


def test_a_member_that_lies_about_its_length_is_named(tmp_path):
    log = write_log(
        tmp_path / "log.eval", {"samples/a_epoch_1.json": json.dumps(SAMPLE), "samples/b_epoch_1.json": "x" * 500}
    )
    content = log.read_bytes()
    log.write_bytes(content.replace((500).to_bytes(4, "little"), (20).to_bytes(4, "little")))
    found = import_run(log, tmp_path / "run")
    assert list(found.run.episodes["task_id"]) == ["t:a"]
    assert len(found.bad) == 1


def test_text_of_a_log_is_text_and_nothing_more(tmp_path):
    """What a model wrote comes out as it was: not run, not filled in, not taken for a path."""
    planted = [
        "__import__('os').system('touch /tmp/x')",
        "{{7*7}}",
        "$(id)",
        "<script>alert(1)</script>",
        "../../x",
        "%s%n",
    ]
    lines = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": text}], "reward": 1}
        for text in planted
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run = import_run(tmp_path / "a.jsonl", tmp_path / "run").run
    assert list(run.step_table["action"]) == planted
