"""Bad input in every format: cut, empty, in another encoding, of another kind. The reason and the place are told."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_logs as logs
import pandas as pd
import pytest

from agentbench.importing import FORMATS, import_run
from agentbench.importing.parts import Bad, Options
from envs.base.errors import UserError


def _json(record: Any) -> Callable[[], bytes]:
    return lambda: (json.dumps(record) + "\n").encode()


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("header.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
        archive.writestr("samples/a_epoch_1.json", json.dumps(logs.INSPECT))
    return buffer.getvalue()


def _parquet() -> bytes:
    row = {"step": 1, "prompt": "q", "completion": "a" * 50, "accuracy": 1.0, "advantage": 0.5}
    return pd.DataFrame([row]).to_parquet()  # type: ignore[no-any-return]


GOOD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "chat": ("log.jsonl", _json(logs.CHAT)),
    "inspect": ("log.eval", _archive),
    "verifiers": ("results.jsonl", _json(logs.VERIFIERS)),
    "verl-agent": ("1.jsonl", _json(logs.VERL_AGENT)),
    "verl": ("1.jsonl", _json(logs.VERL)),
    "trl": ("completions_00001.parquet", _parquet),
    "atif": ("trajectory.json", _json(logs.ATIF)),
    "tau2": ("results.json", _json(logs.TAU2)),
    "steps": ("steps.csv", lambda: logs.TABLE.encode()),
    "swe-agent": ("a.traj", _json({**logs.TRAJ, "reward": 1.0})),
    "openhands": ("output.jsonl", _json({"instance_id": "a", "history": logs.EVENTS, "reward": 1.0})),
    "claude-code": ("s1.jsonl", lambda: b"".join(_json(each)() for each in logs.SESSION)),
    "responses": ("rollouts.jsonl", _json(logs.ROLLOUT)),
    "langsmith": ("runs.jsonl", _json(logs.ROOT)),
    "appworld": ("environment_io.md", lambda: logs.interactions(("print(1)", "1"), ("print(2)", "2")).encode()),
}


def write(folder: Path, format: str, content: bytes) -> Path:
    path = folder / "a_1" / "logs" / GOOD[format][0]
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def bad_parts(path: Path, folder: Path, format: str) -> str:
    """Return what is told of a file, as one text."""
    options = Options(outcomes=outcomes_of(folder)) if format in ("claude-code", "appworld") else Options()
    try:
        found = import_run(path, folder / "run", format=format, options=options)
    except UserError as error:
        return str(error)
    return "; ".join(f"{bad.where}: {bad.reason}" for bad in found.bad)


def outcomes_of(folder: Path) -> Path:
    return logs.whole(folder / "outcomes.json", {"s1": True, "a_1": True})


def test_every_format_is_here_and_in_the_documentation() -> None:
    assert set(GOOD) == set(FORMATS.own)
    page = Path(__file__).parents[2].joinpath("docs", "importing.md").read_text(encoding="utf-8")
    assert [name for name in FORMATS.own if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("format", GOOD)
def test_good_input_is_read(tmp_path: Path, format: str) -> None:
    told = bad_parts(write(tmp_path, format, GOOD[format][1]()), tmp_path, format)
    assert not told or format == "steps"  # whose table has a broken episode
    assert (tmp_path / "run" / "episodes.parquet").exists()


@pytest.mark.parametrize("format", GOOD)
def test_an_empty_file(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, format, b"")
    told = bad_parts(path, tmp_path, format)
    assert path.name in told and "empty" in told
    with pytest.raises(UserError, match="empty"):
        import_run(path, tmp_path / "run")


@pytest.mark.parametrize("format", sorted(set(GOOD) - {"steps", "claude-code"}))
def test_a_file_that_was_cut(tmp_path: Path, format: str) -> None:
    content = GOOD[format][1]()
    path = write(tmp_path, format, content[: len(content) * 3 // 5])
    told = bad_parts(path, tmp_path, format)
    assert path.name in told
    whole = ("ends in the middle", "not whole", "no whole", "damaged", "not a zip")
    assert any(each in told for each in whole), told


def test_a_session_that_was_cut_loses_its_last_line_alone(tmp_path: Path) -> None:
    content = GOOD["claude-code"][1]()
    told = bad_parts(write(tmp_path, "claude-code", content[:-20]), tmp_path, "claude-code")
    assert f"s1.jsonl:{len(logs.SESSION)}" in told and "it ends in the middle" in told


@pytest.mark.parametrize("format", sorted(set(GOOD) - {"inspect", "trl"}))
def test_a_file_in_another_encoding(tmp_path: Path, format: str) -> None:
    content = GOOD[format][1]()
    half = content.index(b"o", len(content) // 3)
    told = bad_parts(write(tmp_path, format, content[:half] + b"\xe9" + content[half:]), tmp_path, format)
    assert GOOD[format][0] in told and "UTF-8" in told, told
    assert "0xe9" in told or "position" in told, told


@pytest.mark.parametrize("format", GOOD)
def test_a_file_of_another_kind(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, format, b'{"pages": 3, "title": "no log"}\n')
    told = bad_parts(path, tmp_path, format)
    assert "cannot tell" not in told and (path.name in told or "a_1" in told)
    assert any(
        each in told for each in ("has no", "not of this format", "nothing says", "no log", "not a", "must be text")
    ), told


def test_what_is_bad_has_a_place(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_bytes(_json(logs.ROLLOUT)() + b'{"responses_create_params": {}}\n' + b"[1]\n" + _json(logs.ROLLOUT)())
    assert import_run(path, tmp_path / "run").bad == [
        Bad("rollouts.jsonl:2", "it is not of this format (KeyError: 'output')"),
        Bad("rollouts.jsonl:3", "not a JSON object but list"),
    ]
