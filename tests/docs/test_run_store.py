"""docs/run-store.md names every file of a run and every column with its type, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import journals
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from agentbench.cli import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "run-store.md"
JSON_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "list": list}


def rows(heading: str, first: str = "") -> dict[str, str]:
    """Return name -> second cell of the tables under a heading; a cell of several names gives several rows."""
    section = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.splitlines()[0].strip("`# ") == heading]
    found, chosen = {}, not first
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            chosen = not first
        elif not cells[0].startswith(("`", "---")):
            chosen = not first or cells[0] == first
        elif chosen and "---" not in cells[0]:
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[1])
    return found


def run(*command: str) -> None:
    result = CliRunner().invoke(app, list(command))
    assert result.exit_code == 0, (result.output, result.exception)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run("eval", "--split", "generated:0:2:small", "--policy", "mixed:0.5", "--workers", "1", "--out", str(folder))
    return folder


def matches(value: object, types: str) -> bool:
    """Tell whether a value is of one of the types in a cell such as ``list of strings or null``."""
    names = [part.split()[0] for part in types.split(" or ")]
    if value is None:
        return "null" in names
    return any(
        isinstance(value, JSON_TYPES[name]) and (name == "boolean") == isinstance(value, bool)
        for name in names
        if name != "null"
    )


def assert_described(record: dict[str, object], described: dict[str, str]) -> None:
    assert set(record) == set(described)
    for name, value in record.items():
        assert matches(value, described[name]), f"{name} = {value!r} is no {described[name]}"


def test_the_files_of_a_run(played: Path) -> None:
    text = PAGE.read_text(encoding="utf-8").partition("## ")[0]
    named = set(re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE))
    assert {path.name for path in played.iterdir()} == named


def test_run_json(played: Path) -> None:
    record = json.loads((played / "run.json").read_text())
    assert_described(record, rows("run.json"))
    sentence = PAGE.read_text(encoding="utf-8").partition("The identity of an evaluation has ")[2]
    assert set(re.findall(r"`([^`]+)`", sentence.partition("That of")[0])) == set(record["identity"])


def test_episodes_jsonl(played: Path) -> None:
    for line in journals.stored(played):
        record = json.loads(line)
        assert_described(record, rows("episodes.jsonl.gz", "field"))
        for step in record["steps"]:
            assert_described(step, rows("episodes.jsonl.gz", "field of a step"))


@pytest.mark.parametrize("name", ["episodes.parquet", "steps.parquet"])
def test_columns_and_types_of_the_tables(played: Path, name: str) -> None:
    schema = pq.read_schema(played / name)
    assert {field.name: str(field.type) for field in schema} == rows(name)
    assert list(rows(name)) == schema.names, "the page lists the columns in the order of the file"
    assert schema.metadata[b"agentbench_schema"] == b"2"


def test_the_files_of_a_training_run(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
    folder = tmp_path / "trained"
    settings = ["--steps", "1", "--tasks-per-step", "1", "--group-size", "2", "--store-every", "1"]
    settings += ["--env-options", '{"max_steps": 4}']
    split = ["--split", "generated:1:2:small", "--eval-split", "generated:2:1:small", "--eval-tasks", "1"]
    run("train", *settings, *split, "--out", str(folder))
    described = rows("Files of a training run")
    assert {path.name for path in folder.iterdir()} == {name.partition("/")[0] for name in described}
    (checkpoint,) = (folder / "checkpoints").iterdir()
    named = set(re.findall(r"`([^`]+)`", described["checkpoints/step-NNNNNN/"]))
    assert {path.name for path in checkpoint.iterdir()} == named
    assert {path.name for path in (folder / "policy").iterdir()} == {"policy.json", "weights.safetensors"}
    assert {path.name for path in (folder / "best").iterdir()} == {"policy.json", "weights.safetensors"}
    assert set(json.loads((folder / "evaluation.json").read_text())) == {"step", "episodes", "seal"}
