"""Archives from strangers: no path in one leads out of where we write, and no member fills the memory or ends us."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from dataclasses import replace

import pytest
from small_house import compact_line, official_text, small_game

from agentbench.importing import import_run
from agentbench.importing import inspect_log as inspect_reader
from envs.alfworld import ALFWorldEnv, sources
from envs.alfworld.games import SPLITS, BadGameError, Damaged
from envs.alfworld.install import install
from envs.appworld.layout import layout
from envs.appworld.official import fetch_official
from envs.base.errors import UserError

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


PROGRAM = "put {{__import__('os').system('touch {marker}')}} in desk."


@pytest.mark.parametrize("sign", ["{0}", "#0#", "[x]", "a|b", "<a>", "a;b", '"', "\\", "a\nb"])
def test_a_game_whose_sentence_is_a_program_for_the_original_engine_is_refused(tmp_path, sign):
    game = replace(GAME, sentence=f"put {sign} in desk.")
    (tmp_path / "games.jsonl").write_text(compact_line(game) + "\n" + compact_line(GAME))
    bad, good = sources.read_games(tmp_path / "games.jsonl")
    assert "would read as a program" in bad.reason and good.id == GAME.id
    tree = tmp_path / "tree" / game.name
    tree.mkdir(parents=True)
    (tree / "game.tw-pddl").write_text(official_text(game))
    (part,) = sources.read_games(tmp_path / "tree")
    assert isinstance(part, Damaged)


def test_the_original_engine_is_never_given_a_program(tmp_path):
    original = pytest.importorskip("envs.alfworld.original")
    pytest.importorskip("textworld", reason="the original engine is not installed: pip install -e '.[alfworld]'")
    marker = tmp_path / "marker"
    with pytest.raises(BadGameError):
        original.OriginalPlayer().start("key", replace(GAME, sentence=PROGRAM.format(marker=marker)))
    assert not marker.exists()


@pytest.mark.parametrize("split", ["", "..", "\x00", "x" * 300, "a b", "/", "-x"])
def test_a_split_that_is_no_name_is_refused(tmp_path, split):
    line = json.loads(compact_line(GAME)) | {"split": split}
    (tmp_path / "games.jsonl").write_text(json.dumps(line))
    (part,) = sources.read_games(tmp_path / "games.jsonl")
    assert isinstance(part, Damaged)


def pax_bomb():
    """Return the header of a tar archive whose extended header says that it is 1 TB long."""
    member = tarfile.TarInfo("valid_seen/pick_and_place_simple-A/t/game.tw-pddl")
    member.type, member.size = tarfile.XHDTYPE, 1 << 40
    return member.tobuf(tarfile.GNU_FORMAT)


def test_a_tar_header_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    asked = []
    read = sources._Bounded.read
    monkeypatch.setattr(sources._Bounded, "read", lambda self, size=-1: asked.append(size) or read(self, size))
    (tmp_path / "games.tar").write_bytes(pax_bomb() + bytes(1024))
    (part,) = sources.read_games(tmp_path / "games.tar")
    assert isinstance(part, Damaged) and "breaks off after 0 games" in part.reason
    assert max(asked) > sources._LARGEST  # and was refused, with nothing read


@pytest.mark.parametrize("opener", [gzip.open, lzma.open, open])
def test_a_line_without_end_does_not_fill_the_memory(tmp_path, monkeypatch, opener):
    monkeypatch.setattr(sources, "_LARGEST", 10_000)
    with opener(tmp_path / "games.jsonl", "wb") as file:
        file.write(b" " * 5_000_000)
    (part,) = sources.read_games(tmp_path / "games.jsonl")
    assert part.reason == "longer than 10000 bytes: no game"


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress, bz2.compress, bytes])
def test_how_an_archive_is_packed_is_told_by_its_bytes_and_not_by_its_name(tmp_path, packed):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo(f"{GAME.name}/game.tw-pddl")
        member.size = len(official_text(GAME))
        archive.addfile(member, io.BytesIO(official_text(GAME).encode()))
    (tmp_path / "games.tar.gz").write_bytes(packed(content.getvalue()))
    assert [part.id for part in sources.read_games(tmp_path / "games.tar.gz")] == [GAME.id]


def test_a_link_in_a_folder_of_data_is_not_copied_to_where_a_model_can_read_it(tmp_path):
    (tmp_path / "data" / "tasks").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "data" / "tasks" / "x").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=r"holds a link \(tasks/x\)"):
        fetch_official(layout(tmp_path), str(tmp_path / "data"), tmp_path / "root", print)
    assert not (tmp_path / "root").exists()


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


def test_texts_that_are_named_a_million_times_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(inspect_reader, "MAX_BYTES", 1_000_000)
    parts = [{"type": "text", "text": "attachment://long"}] * 1000
    messages = [{"role": "user", "content": parts}, *SAMPLE["messages"][1:]]
    bomb = {**SAMPLE, "id": "bomb", "messages": messages, "attachments": {"long": "x" * 2000}}
    small = {**SAMPLE, "messages": messages, "attachments": {"long": "x" * 999}}
    members = {"samples/a_epoch_1.json": json.dumps(small), "samples/b_epoch_1.json": json.dumps(bomb)}
    found = import_run(write_log(tmp_path / "log.eval", members), tmp_path / "run")
    assert list(found.run.episodes["task_id"]) == ["t:a"]
    assert [part.reason for part in found.bad] == ["longer than 1000000 characters with its attachments"]


@pytest.mark.parametrize("signs", [(1, 1), (1, -1)])
@pytest.mark.parametrize("weight", [1, 1e308])
def test_rewards_without_a_sum_are_named(tmp_path, signs, weight):
    """Each is a number that can be written; their sum is not."""
    messages = SAMPLE["messages"]
    nodes = [{"message": each, "sampled": each["role"] == "assistant"} for each in messages]

    def line(rewards):
        trace = {"nodes": nodes, "ok": True, "rewards": rewards, "agent": {}}
        return json.dumps({"traces": [trace], "env": {"id": "e"}, "task": {"data": {"id": "1"}}})

    huge = {str(place): {"score": sign * 1.7e308, "weight": weight} for place, sign in enumerate(signs)}
    (tmp_path / "traces.jsonl").write_text(f"{line(huge)}\n{line({'a': {'score': 1.0}})}\n")
    found = import_run(tmp_path / "traces.jsonl", tmp_path / "run", format="verifiers")
    cancels = signs == (1, -1) and weight == 1
    assert list(found.run.episodes["total_reward"]) == ([0.0, 1.0] if cancels else [1.0])
    chat = [{"messages": messages * 2, "rewards": [1.7e308, 1.7e308]}, {"messages": messages, "reward": 1}]
    (tmp_path / "chat.jsonl").write_text("\n".join(map(json.dumps, chat)))
    assert len(import_run(tmp_path / "chat.jsonl", tmp_path / "chats").bad) == 1


def test_a_dump_that_was_written_to_take_long_is_read_at_once(tmp_path):
    """Each of these lines takes hours with a pattern that goes back over what it has seen."""
    starts = [
        "your task is to: ",
        "your current observation is:]",
        "admissible actions of the current situation are: [",
    ]
    fillers = [" ", "\n", "] ", ". ", "admissible actions of the current situation are: ["]
    prompts = [start + filler * 300_000 + "x" for start in starts for filler in fillers]
    lines = [{"input": text, "output": "<action>" * 100_000, "score": 0, "step": 1} for text in prompts]
    (tmp_path / "1.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = import_run(tmp_path / "1.jsonl", tmp_path / "run")
    assert len(found.run.episodes) == len(lines)


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
