"""docs/troubleshooting.md has an entry for whatever doctor can say, and for the errors that users meet most often."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import tomllib
from pathlib import Path

import filelock
import pytest
from typer.testing import CliRunner

from agentbench.cli import app, doctor

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
PAGE = (PROJECT.parent / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^### (.+)$", PAGE, flags=re.MULTILINE)


def entries() -> dict[str, tuple[str, str]]:
    """Return line of doctor -> (state, advice), from the table of the page."""
    rows = re.findall(r"^\| `([^`]+)` \| (missing|optional) \| (.+) \|$", PAGE, flags=re.MULTILINE)
    return {line: (state, advice) for line, state, advice in rows}


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which everything that doctor looks for is missing."""

    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    wanted = [*project["dependencies"], *(f'{each}; extra == "{name}"' for name, all_ in extras for each in all_)]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(os, "access", lambda path, mode: False)


def test_everything_that_doctor_can_find_wrong_has_an_entry_with_its_remedy(bare_machine: None) -> None:
    found = [finding for finding in doctor.examine() if finding.state != "ok"]
    described = entries()
    assert {finding.what for finding in found} == set(described)
    for finding in found:
        state, advice = described[finding.what]
        assert finding.state == state, finding
        assert finding.remedy in advice, f"{finding.what}: the page does not say to type {finding.remedy}"


def test_a_package_of_a_wrong_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1")
    (core,) = [finding for finding in doctor.examine() if finding.what == "core packages"]
    assert core.state == "missing"
    assert "numpy 0.0.1 is not >=1.26" in core.detail


def test_an_extra_that_the_installation_does_not_know_is_not_taken_for_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy>=1.26"])
    found = {finding.what: finding for finding in doctor.examine()}
    assert found["extra [ray]"].state == "optional"
    assert "not known to this installation" in found["extra [ray]"].detail


def test_every_extra_for_users_has_a_line() -> None:
    extras = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(extras)


MISTAKES = {
    "eval --env alfword": "unknown … did you mean …?",
    "eval --split valid_unsen": "unknown … did you mean …?",
    "eval --policy rndom": "unknown … did you mean …?",
    "eval --policy results/none": "no saved policy in …",
    "eval --trails 3": "unknown … did you mean …?",
    "credit run --scheme gigop": "unknown … did you mean …?",
    "train --scheme gigop --out t": "unknown … did you mean …?",
    "eval --split valid_unseen": "the ALFWorld split … is not installed",
    "eval --env webshop --goals synthetic": "… is not there: type `agentbench install webshop`",
    "eval --env appworld": "AppWorld is not installed",
    "eval --env webshop --policy expert": "there is no policy … for environment …",
    "eval --split generated:0:1:small --out run": "… holds a run of another configuration",
    "eval --split generated:0:2:small --out busy": "… is being written by another process",
    "show nowhere": "no run in …",
    "compare-runs run other": "… were played on different tasks",
    "compare-runs run": "compare-runs needs two runs or more",
    "quality run": "no true advantages in …",
    "credit run --scheme gae": "… needs the column …, which this table does not have",
    "eval --policy openai:m --split generated:0:1:small --base-url http://127.0.0.1:9/v1 --attempts 1": (
        "no server answers at …"
    ),
    "eval --policy vllm:m": "policy … needs a package that is not installed",
    "eval --trials 0": "bad setting: …",
    "eval results": "unexpected argument …",
    "eval --split generated:0:1:small --workers 1 --memory-limit 2 --attempts 1 --out large": (
        "workers cannot start the environment …"
    ),
}
SHOWN_BY = {
    "ended by SIGTERM": "cli/test_signals.py",
    "nothing is printed while a command runs in a batch job": "cli/test_progress.py",
    "no episode was judged, so there is no result": "runs/test_failures.py",
    "policy … ran out of memory": "runs/test_failures.py",
}
"""Entries that no single command brings about, and the tests that do."""

OF_TRAINING = {
    "train --scheme gae --out t": "scheme … needs values of states",
    "train --policy expert --out t": "policy … cannot be trained",
    "train --out trained": "… holds a training run: add --resume",
    "sweep --schemes grpo --seeds 1 --out s": "a sweep compares success on held-out tasks",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, split in (("run", "generated:0:2:small"), ("other", "generated:1:2:small")):
        command = ["eval", "--split", split, "--inline", "--out", str(folder / name)]
        assert CliRunner().invoke(app, command).exit_code == 0
    (folder / "trained" / "checkpoints").mkdir(parents=True)
    for file in ("run.json", "metrics.jsonl"):
        (folder / "trained" / file).write_text("{}")
    (folder / "busy").mkdir()
    return folder


def assert_described(command: str, heading: str) -> None:
    assert heading in HEADINGS
    result = CliRunner().invoke(app, command.split())
    assert result.exception is not None, "the command was expected to fail"
    pattern = ".*".join(re.escape(part.strip()) for part in heading.split("…"))
    assert re.search(pattern, str(result.exception)), f"{result.exception} is not what the page calls {heading!r}"


@pytest.mark.parametrize("command", MISTAKES)
def test_a_common_mistake_gives_the_message_that_the_page_explains(
    runs: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "vllm" in command and importlib.util.find_spec("vllm"):
        pytest.skip("vllm is installed")
    monkeypatch.chdir(runs)
    with filelock.FileLock(runs / "busy" / ".lock"):
        assert_described(command, MISTAKES[command])


@pytest.mark.parametrize("command", OF_TRAINING)
def test_a_common_mistake_in_training(runs: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
    monkeypatch.chdir(runs)
    assert_described(command, OF_TRAINING[command])


def test_every_message_of_the_page_is_tried() -> None:
    assert set(HEADINGS) == {*MISTAKES.values(), *OF_TRAINING.values(), *SHOWN_BY}
    folder = Path(__file__).parents[1]
    assert all((folder / name).is_file() for name in SHOWN_BY.values())
