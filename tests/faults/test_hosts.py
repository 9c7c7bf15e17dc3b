"""Many environments in one process: what one of them does to it costs the others a try at most, and no byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hosts import TOLD, line_of, play, plays_of


def check(tmp_path: Path, faults: dict[str, str], **settings: Any) -> dict[str, int]:
    """Hold a disturbed run to an undisturbed one; return how often each task was begun."""
    whole = play(tmp_path / "whole", {}, **settings)
    disturbed = play(tmp_path / "disturbed", faults, **settings)
    bad = {f"toy:{index}": fault for index, fault in faults.items()}
    for name, fault in bad.items():
        assert TOLD[fault] in str(disturbed[name].error)
    assert {name: line_of(each) for name, each in disturbed.items() if name not in bad} == {
        name: line_of(each) for name, each in whole.items() if name not in bad
    }
    assert set(plays_of(tmp_path / "whole").values()) == {1}
    plays = plays_of(tmp_path / "disturbed")
    attempts = settings.get("attempts", 3)
    assert {plays[name] for name in bad} == {attempts} and max(plays.values()) == attempts
    return plays


@pytest.mark.parametrize("fault", ["sleep", "kill", "grow", "raise"])
def test_one_bad_environment_of_many_in_a_process_is_the_only_error(tmp_path: Path, fault: str) -> None:
    plays = check(tmp_path, {"7": fault})
    # It is known which one was at work, and that plays by itself from then on: the others lose one try at most.
    assert sorted(plays.values())[-2] <= (1 if fault == "raise" else 2)


@pytest.mark.slow
def test_one_that_hangs_one_that_dies_and_one_that_grows(tmp_path: Path) -> None:
    check(tmp_path, {"3": "sleep", "11": "kill", "29": "grow", "30": "raise"})


def test_several_bad_ones_over_several_processes(tmp_path: Path) -> None:
    check(tmp_path, {"3": "kill", "11": "raise", "12": "kill", "29": "raise"}, parallel=12, workers=3)


def test_where_an_episode_has_one_try_it_shares_no_process(tmp_path: Path) -> None:
    plays = check(tmp_path, {"7": "kill"}, attempts=1, parallel=4)
    assert set(plays.values()) == {1}
