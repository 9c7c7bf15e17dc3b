"""Off a terminal a long command says every so often how far it is; on a terminal there is a bar and no such line."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_environment

from envs.base.terminal import ProgressLines

Run = Callable[..., tuple[int, str, str]]


def test_a_line_tells_count_note_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", "0")
    seconds = iter([100.0, 100.0, 120.0, 700.0])
    with ProgressLines("it on toy", clock=lambda: next(seconds)) as lines:
        lines.report(10, 134)  # of an earlier call: no part of the rate
        lines.report(50, 134, "31 won, 2 errors")
        lines.report(60, 134, "40 won")
    assert capsys.readouterr().err.splitlines() == [
        "agentbench: it on toy: 10 of 134 episodes",
        "agentbench: it on toy: 50 of 134 episodes, 31 won, 2 errors, 2.0/s, 0:00:42 left",
        "agentbench: it on toy: 60 of 134 episodes, 40 won, 5.0/min, 0:14:48 left",
    ]


def test_there_are_lines_while_nothing_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", "0.01")
    said = threading.Semaphore(0)
    kept = ProgressLines.line

    def line(lines: ProgressLines) -> str:
        said.release()
        return kept(lines)

    monkeypatch.setattr(ProgressLines, "line", line)
    with ProgressLines("slow") as lines:
        lines.report(0, 4)
        for _ in range(3):
            assert said.acquire(timeout=60)
    assert capsys.readouterr().err.count("agentbench: slow: 0 of 4 episodes\n") >= 2


def test_a_job_of_unknown_size_and_one_that_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", "0")
    with ProgressLines("import", look=lambda: (7, None, "so far")):
        pass
    assert capsys.readouterr().err == "agentbench: import: 7 episodes, so far\n"


@pytest.mark.parametrize(("interval", "lines"), [("0", 7), ("inf", 0), ("3600", 0)])
def test_an_evaluation_says_how_far_it_is(run: Run, monkeypatch: pytest.MonkeyPatch, interval: str, lines: int) -> None:
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", interval)
    code, out, err = run("eval", "--env", "toy", "--policy", "walkthrough", "--inline", "--out", "run")
    found = re.findall(r"^agentbench: walkthrough on toy: (\d+) of 6 episodes, (\d+) won", err, re.MULTILINE)
    assert code == 0 and len(found) == lines and "episodes, " not in out
    assert found == [(str(done), str(done)) for done in range(lines)]


@pytest.mark.parametrize("interval", ["often", "-1", "nan"])
def test_an_interval_that_is_none_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, interval: str) -> None:
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", interval)
    code, _, err = run("eval", "--env", "toy", "--policy", "walkthrough", "--inline", "--out", "run")
    assert code == 2 and "AGENTBENCH_PROGRESS_SECONDS is a number of seconds" in err


def test_truth_says_how_far_both_its_parts_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", "0")
    call = ("truth", "--env", "toy", "--policy", "random", "--tasks", 1, "--group-size", 2, "--rollouts", 2)
    code, _, err = run(*call, "--workers", 1, "--out", "run")
    assert code == 0, err
    assert "agentbench: random on toy: 2 of 2 episodes" in err and "agentbench: true advantages: 2 of 2 episodes" in err


def test_training_and_cloning_say_how_far_they_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", "0")
    settings = ("--env", "toy", "--split", "all", "--tasks-per-step", 2, "--group-size", 2, "--steps", 2)
    code, _, err = run("train", "--out", "trained", *settings, "--workers", 0)
    assert code == 0, err
    assert [f"{done} of 2 training steps" in err for done in range(3)] == [True] * 3
    assert re.search(r"training steps, success [\d.]+", err)
    assert run("eval", "--env", "toy", "--policy", "walkthrough", "--inline", "--out", "played")[0] == 0
    code, _, err = run("clone", "--from", "played", "--out", "cloned", "--passes", 2)
    assert code == 0 and "agentbench: cloning played: 42 of 42 steps" in err


@pytest.mark.slow
def test_a_sweep_says_how_far_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", "0")
    settings = ("--env", "alfworld", "--split", "generated:0:2", "--tasks-per-step", 1, "--group-size", 2, "--steps", 1)
    more = ("--eval-split", "generated:1:1", "--seeds", 1, "--schemes", "grpo", "--workers", 0)
    code, _, err = run("sweep", "--out", "sweep", *settings, *more)
    assert code == 0 and "agentbench: sweep: 0 of 1 training steps" in err, err
    assert "1 of 1 training steps" in Path("sweep/grpo-0/train.log").read_text()


def test_an_import_says_how_far_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTBENCH_PROGRESS_SECONDS", "0")
    messages = [{"role": "user", "content": "go"}, {"role": "assistant", "content": "north"}]
    Path("log.jsonl").write_text(json.dumps({"task": "t", "messages": messages, "reward": 1.0}) + "\n")
    code, _, err = run("import", "log.jsonl", "--out", "run")
    assert code == 0 and "agentbench: import into run: 0 episodes, so far" in err


def test_on_a_terminal_there_is_a_bar_and_no_line(tmp_path: Path) -> None:
    """In a process of its own whose error stream is a terminal."""
    ours, theirs = pty.openpty()
    support = Path(toy_environment.__file__).parent
    begin = f"import sys; sys.path.insert(0, {str(support)!r}); import toy_environment; "
    script = begin + "from agentbench.cli import main; main()"
    call = [sys.executable, "-c", script, "eval", "--env", "toy", "--policy", "walkthrough", "--inline", "--out", "run"]
    environment = {**os.environ, "AGENTBENCH_PROGRESS_SECONDS": "0", "TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen(call, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0, said
    assert b"6/6" in said and b"6 won" in said and b"of 6 episodes" not in said
