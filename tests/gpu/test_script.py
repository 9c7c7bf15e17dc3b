"""The GPU script runs end to end on a processor, and what it was cut off from does not cost what it had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="it is torch that is measured: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[language]'")

SCRIPT = Path(__file__).parent / "run.py"


def script(out: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Run the script with tiny models on the processor; return its exit code and its figures."""
    command = [
        sys.executable,
        str(SCRIPT),
        "--tiny",
        "--device",
        "cpu",
        "--minutes",
        "60",
        "--out",
        str(out),
        *arguments,
    ]
    code = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode
    return code, [json.loads(line) for line in (out / "figures.jsonl").read_text().splitlines()]


def test_its_parts_run_and_leave_figures(tmp_path: Path) -> None:
    code, figures = script(tmp_path, "--parts", "versions,ceilings,decode,update")
    assert code == 0
    assert [each["part"] for each in figures if each.get("end") == "passed"] == [
        *("versions", "ceilings", "decode", "update")
    ]
    of_decoding = [each for each in figures if each["part"] == "decode" and "rows" in each]
    assert {each["rows"] for each in of_decoding} == {1, 4}
    assert all(each["tokens_per_second"] > 0 for each in of_decoding)
    fixed = [each for each in of_decoding if each["fixed"]]
    assert len(fixed) == len(of_decoding) / 2 == 4
    assert all(each["same_answers"] == 1 for each in fixed if each["precision"] == "float32")
    assert all(each["log_probs_apart"] < 0.1 for each in fixed)
    assert {each["precision"] for each in figures if each["part"] == "update" and "rows" in each} == {
        *("float32", "tf32", "autocast", "bf16 weights")
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_trains_and_learns(tmp_path: Path) -> None:
    code, figures = script(tmp_path, "--parts", "configurations,learn")
    assert code == 0
    assert [each["name"] for each in figures if "name" in each] == ["plain", "scorer"]
    trained = [each for each in figures if "scheme" in each]
    assert [each["scheme"] for each in trained] == ["grpo", "gigpo"]
    assert all(each["steps"] > each["resumed_at"] > 0 and each["brought_back"] for each in trained)
    assert len(list(tmp_path.glob("learn-*/*-adapters"))) == 2


def test_a_part_without_time_is_named_and_the_others_stay(tmp_path: Path) -> None:
    code, figures = script(tmp_path, "--parts", "versions", "--minutes", "0.05")
    assert code == 1
    assert figures == [{"part": "versions", "end": "ended at its time limit", "seconds": figures[0]["seconds"]}]


def test_weights_in_halves_are_put_together(tmp_path: Path) -> None:
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from run import joined  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    (tmp_path / "a").write_bytes(b"GG")
    (tmp_path / "b").write_bytes(b"UF")
    assert joined([tmp_path / "a", tmp_path / "b"], tmp_path / "whole").read_bytes() == b"GGUF"
