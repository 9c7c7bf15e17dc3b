"""Many environments in one process: what one of them does to it costs the others a try at most, and no byte."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from toy_environment import UpPolicy

from agentbench import evaluate, open_run
from agentbench.runs.episodes import to_line

TASKS = 40
# Long enough that a busy machine can grow a process by 400 MB within it: what is at fault must be told, not the time.
STEP_TIMEOUT = 5.0
TOLD = {
    "sleep": f"a step took more than {STEP_TIMEOUT:g} s",
    "kill": "exit code -9",
    "grow": "the worker grew to",
    "raise": "the toy is broken",
}


def play(out: Path, faults: dict[str, str], **settings: Any) -> tuple[dict[str, str], dict[str, str | None]]:
    """Play 32 episodes at once in one process; return the episodes as lines without times, and their errors."""
    plays = out.with_name(f"{out.name}-plays")
    plays.mkdir()
    options = {"tasks": TASKS, "faults": faults, "max_steps": TASKS + 2, "plays": str(plays)}
    settings = {"parallel": 32, "workers": 1, "step_timeout": STEP_TIMEOUT, "memory_limit": 300, **settings}
    evaluate("toy", UpPolicy(), out=out, env_options=options, **settings)
    episodes = open_run(out).read_episodes()
    lines = {each.task_name: to_line(dataclasses.replace(each, timing={})) for each in episodes}
    return lines, {each.task_name: each.error for each in episodes}


def plays_of(out: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in out.with_name(f"{out.name}-plays").iterdir()}


def check(tmp_path: Path, faults: dict[str, str], **settings: Any) -> dict[str, int]:
    """Hold a disturbed run to an undisturbed one; return how often each task was begun."""
    whole, _ = play(tmp_path / "whole", {}, **settings)
    lines, errors = play(tmp_path / "disturbed", faults, **settings)
    bad = {f"toy:{index}": fault for index, fault in faults.items()}
    for name, fault in bad.items():
        assert TOLD[fault] in str(errors[name])
    assert {name: line for name, line in lines.items() if name not in bad} == {
        name: line for name, line in whole.items() if name not in bad
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
