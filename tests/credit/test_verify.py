"""Verification: all recorded vectors agree, and whatever does not agree or is not known fails aloud."""

import gzip
import json
from pathlib import Path

import pytest

from credit import CreditError
from credit.verification.verify import verify


@pytest.mark.reference
def test_every_recorded_vector_agrees(shared: Path):
    report = []
    code, summary = verify(shared / "reference" / "credit", report.append)
    assert code == 0, "\n".join(line for line in report if "FAIL" in line)
    assert "vectors agree" in summary


ROWS = {
    "group": ["g", "g", "g"],
    "trajectory": ["a", "a", "b"],
    "step": [0, 1, 0],
    "state": ["p", "q", "p"],
    "next_state": ["q", "success", "r"],
    "action": ["x", "y", "x"],
    "reward": [0.0, 1.0, 0.0],
    "episode_reward": [1.0, 1.0, 0.0],
    "is_valid": [True, True, True],
    "terminated": [False, True, False],
}
PARAMS = {"gamma": 0.5, "invalid_penalty": 0.0, "penalty_timing": "after_discounting"}


def vector(**changes):
    base = {
        "batch": "b",
        "method": "step_return",
        "params": PARAMS,
        "source": "reference",
        "advantage": [0.5, 1.0, 0.0],
    }
    return {**base, **changes}


def folder_with(tmp_path, *vectors):
    for name, lines in (("batches", [{"batch": "b", "rows": ROWS}]), ("vectors", vectors)):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    return tmp_path


def report_of(folder):
    lines = []
    code, summary = verify(folder, lines.append)
    return code, "\n".join(lines), summary


def test_a_right_vector_passes(tmp_path):
    code, report, summary = report_of(folder_with(tmp_path, vector()))
    assert code == 0
    assert "step_return" in report
    assert "pass" in report
    assert summary == "1 of 1 vectors agree, 1 method"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"advantage": [0.5, 1.0, 0.001]}, "b: deviation 1.0e-03"),
        ({"advantage": [0.5, 1.0, None]}, "b: deviation inf"),
        ({"advantage": [0.5, 1.0]}, "b: 3 values where the vector has 2"),
        ({"method": "oracle"}, "this method is not known"),
        ({"batch": "c"}, "there is no batch 'c'"),
        ({"source": "hearsay"}, "source 'hearsay' is not known"),
        ({"params": {**PARAMS, "temperature": 1}}, "parameter temperature=1 is not supported"),
        ({"params": {**PARAMS, "penalty_timing": "never"}}, "never"),
        ({"params": {**PARAMS, "gamma": 7}}, "gamma must be in"),
        ({"params": {"invalid_penalty": 0.0}}, "parameter gamma is missing"),
        ({"advantage": [0.51, 1.0, 0.0], "rounding_rows": [0]}, "b: deviation 1.0e-02"),
    ],
)
def test_whatever_is_wrong_or_unknown_fails(tmp_path, changes, complaint):
    code, report, summary = report_of(folder_with(tmp_path, vector(**changes), vector()))
    assert code == 1
    assert complaint in report
    assert summary.startswith("1 of 2")


def test_flagged_rows_are_held_to_the_looser_bound_and_their_exact_value(tmp_path):
    rounded = vector(advantage=[0.502, 1.0, 0.0], rounding_rows=[0])
    artefact = vector(advantage=[9.9, 1.0, 0.0], artefact_rows=[0], artefact_exact=[0.5])
    undefined = vector(advantage=[0.5, None, 0.0], nan_rows=[1])
    assert report_of(folder_with(tmp_path, rounded, artefact, undefined))[0] == 0


def test_an_empty_folder_and_a_damaged_file_are_refused(tmp_path):
    with pytest.raises(CreditError, match="holds no vectors"):
        verify(tmp_path, print)
    (tmp_path / "vectors.jsonl.gz").write_bytes(b"not gzip")
    with pytest.raises(CreditError, match="cannot be read"):
        verify(tmp_path, print)
