"""Official data: a stand-in in their layout, made from the tasks of ``mini``, is taken in, checked and played."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from https_stub import https_stub

from envs.appworld import AppWorldEnv
from envs.appworld.install import install
from envs.appworld.layout import Layout, layout
from envs.appworld.official import OFFICIAL_SPLITS
from envs.appworld.tasks import PROTECTED
from envs.base.errors import UserError

pytestmark = pytest.mark.slow

HOST = "s3.us-west-2.amazonaws.com"
PACK = (
    "import sys; from appworld.common.constants import PASSWORD, SALT; from appworld.common.utils import pack_bundle; "
    "pack_bundle(bundle_file_path=sys.argv[1], base_directory=sys.argv[2], include_directories=['data'],"
    " password=PASSWORD, salt=SALT)"
)


@pytest.fixture(scope="module")
def data(appworld_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder ``data`` with 732 tasks in four splits: those of ``mini`` again and again, under other names."""
    mini = layout(appworld_home).whole("mini") / "data"
    made = tmp_path_factory.mktemp("official") / "data"
    for part in ("base_dbs", "api_docs"):
        shutil.copytree(mini / part, made / part)
    (made / "datasets").mkdir()
    kinds = sorted(path.name.rpartition("_")[0] for path in (mini / "tasks").glob("*_1"))
    number = 0
    for split, tasks in OFFICIAL_SPLITS.items():
        names = []
        for _ in range(tasks // 3):
            for variant in (1, 2, 3):
                names.append(f"{number:07x}_{variant}")
                _copy_task(mini / "tasks" / f"{kinds[number % 8]}_{variant}", made / "tasks" / names[-1])
            number += 1
        tagged = [f"{name}:checked" if split == "dev" else name for name in names]
        (made / "datasets" / f"{split}.txt").write_text("\n".join(tagged) + "\n")
    return made


def _copy_task(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=os.link)
    (target / "ground_truth" / "walkthrough.json").unlink()
    specification = json.loads((source / "specs.json").read_text())
    (target / "specs.json").unlink()
    specification["instruction"] += f" ({target.name})"
    (target / "specs.json").write_text(json.dumps(specification))


@pytest.fixture(scope="module")
def bundle(data: Path, appworld_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same data as AppWorld packs them: encrypted."""
    path = tmp_path_factory.mktemp("bundle") / "data-0.1.0.bundle"
    python = layout(appworld_home).python
    subprocess.run([str(python), "-c", PACK, str(path), str(data.parent)], check=True, cwd=path.parent)
    return path


def test_the_folder_is_taken_in_and_its_tasks_are_played(data: Path, place: Layout) -> None:
    lines: list[str] = []
    install(None, lines.append, data=str(data))
    assert lines[-1].endswith("mini, train, dev, test_normal, test_challenge")
    assert {split: len(AppWorldEnv(split=split).tasks) for split in OFFICIAL_SPLITS} == OFFICIAL_SPLITS
    assert AppWorldEnv(split="dev").tasks[0].name == "000001e_1"
    env = AppWorldEnv(split="test_normal", guard=False)
    assert env.notes == (PROTECTED,) and env.protected == PROTECTED
    name = env.tasks[0].name
    same = place.whole("mini") / "data/tasks/countnotes_1"  # scenario 49 of 8
    solution = json.loads((same / "ground_truth/walkthrough.json").read_text())
    try:
        _, info = env.reset(options={"task": name})
        assert info["walkthrough"] is None and info["instruction"].endswith(f"({name})")
        assert "No such file" in env.step(f"open('/world/data/tasks/{name}/ground_truth/answer.json')")[0]
        for block in solution:
            _, reward, terminated, _, info = env.step(block)
        assert terminated and reward == 1.0 and info["won"]
    finally:
        env.close()


def test_the_encrypted_archive_gives_the_same_tasks_and_the_player_sees_no_ground_truth(
    bundle: Path, data: Path, place: Layout
) -> None:
    assert b"instruction" not in bundle.read_bytes()
    lines: list[str] = []
    install(str(bundle), lines.append)
    index = json.loads(place.index("official").read_text())
    assert {split: len(tasks) for split, tasks in index.items()} == OFFICIAL_SPLITS
    assert not list(place.shown("official").rglob("ground_truth"))
    assert len(list(place.whole("official").glob("data/tasks/*/ground_truth/evaluation.py"))) == 732
    taken = place.index("official").read_bytes()
    install(None, lines.append, data=str(data.parent))
    assert place.index("official").read_bytes() == taken
    told = "\n".join(lines)
    assert all(word not in told for word in ("ground_truth", "Todoist", "alarm"))


def test_appworlds_own_download_is_used(
    bundle: Path, place: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with https_stub(place.python, HOST, tmp_path, 403, b"no") as variables:
        _set(monkeypatch, variables)
        with pytest.raises(UserError, match=r"download gave no data: .*403.*--data"):
            install(None, print, data="download")
    with https_stub(place.python, HOST, tmp_path, 200, bundle.read_bytes()) as variables:
        _set(monkeypatch, variables)
        install(None, print, data="download")
    assert len(AppWorldEnv(split="test_challenge").tasks) == 417
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"own download of its data .*failed: .*it continues from here"):
        install(None, print, data="download")
    assert len(AppWorldEnv(split="test_challenge").tasks) == 417  # what was there before is kept


def _set(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


BROKEN = {
    "a split too short": ("datasets/train.txt", "0000000_1\n", r"split 'train' has 1 tasks and should have 90"),
    "a task without databases": ("tasks/0000003_2/dbs", None, r"task 0000003_2 has no dbs"),
    "a task without its evaluation": (
        "tasks/0000004_1/ground_truth/evaluation.py",
        None,
        r"task 0000004_1 has no ground_truth/evaluation.py",
    ),
    "a damaged task": ("tasks/0000005_1/specs.json", "{", r"task 0000005_1 is damaged"),
    "another version": (
        "tasks/0000000_1/specs.json",
        json.dumps({"db_version": "0.2.0"}),
        r"data of version 0.2.0, and appworld .* plays version 0.1.0",
    ),
    "no base databases": ("base_dbs", None, r"has no folder data/base_dbs"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_data_that_are_not_whole_are_told_and_change_nothing(
    what: str, data: Path, place: Layout, tmp_path: Path
) -> None:
    part, content, message = BROKEN[what]
    target, kept = data / part, tmp_path / "kept"
    shutil.move(target, kept)
    before = place.record.read_bytes()
    try:
        if content is not None:
            target.write_text(content)
        with pytest.raises(UserError, match=message):
            install(None, print, data=str(data))
    finally:
        target.unlink(missing_ok=True)
        shutil.move(kept, target)
    assert place.record.read_bytes() == before and not place.index("official").exists()


def test_half_a_bundle_is_told(bundle: Path, place: Layout, tmp_path: Path) -> None:
    half = tmp_path / "half.bundle"
    half.write_bytes(bundle.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"half.bundle cannot be unpacked: .* only a part of it"):
        install(None, print, data=str(half))
    assert not place.index("official").exists()
