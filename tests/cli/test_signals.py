"""SIGTERM and a closed terminal end every long command as Ctrl-C does: what is finished is stored, nobody is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import journals
import psutil
import pytest

from agentbench import open_run

SUPPORT = Path(__file__).parents[1] / "support"
START = """
import signal, sys
for number in (signal.SIGINT, signal.SIGHUP):  # a test in the background inherits that they are ignored
    signal.signal(number, signal.SIG_IGN if "--nohup" in sys.argv and number == signal.SIGHUP else
                  {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}[number])
if "--nohup" in sys.argv: sys.argv.remove("--nohup")
sys.path.insert(0, %r)
import toy_environment
from agentbench.cli import main
if __name__ == "__main__":
    main()
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    script = folder / "start.py"
    script.write_text(START % str(SUPPORT))
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def finished(run: Path) -> int:
    return len(journals.stored(run))


def stop(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    """Send a signal; return exit code and error stream, and see that no child is left."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, err = process.communicate(timeout=600)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive and "Traceback" not in err, err
    return process.returncode, err


SLOW = ("--env", "toy", "--policy", "walkthrough", "--delay", "0.2", "--workers", "2")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_evaluation_keeps_what_is_finished(tmp_path: Path, number: int, code: int) -> None:
    run = tmp_path / "run"
    process = start(tmp_path, "eval", *SLOW, "--tasks", "200", "--out", str(run))
    wait_for(lambda: finished(run) >= 2, process)
    found, err = stop(process, number)
    assert found == code and "of 200 episodes are finished and stored" in err
    assert len(open_run(run).episodes) == finished(run) >= 2
    assert not (open_run(run).episodes["outcome"] == "error").any()


def test_a_closed_terminal_does_not_end_what_nohup_started(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(tmp_path, "eval", *SLOW, "--tasks", "8", "--out", str(run), "--nohup")
    wait_for(lambda: finished(run) >= 1, process)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=600)
    assert process.returncode == 0 and len(open_run(run).episodes) == 8


@pytest.mark.slow
def test_the_signal_may_reach_the_workers_too(tmp_path: Path) -> None:
    """As a batch system sends it: with one attempt an episode, none may be lost to a worker that ended first."""
    run = tmp_path / "run"
    process = start(tmp_path, "eval", *SLOW, "--tasks", "200", "--attempts", "1", "--out", str(run))
    wait_for(lambda: finished(run) >= 2, process)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.terminate()
    found, _ = stop(process, signal.SIGTERM)
    assert found == 143 and not (open_run(run).episodes["outcome"] == "error").any()


def test_a_server_of_pages_ends(tmp_path: Path) -> None:
    process = start(tmp_path, "eval", "--env", "toy", "--policy", "walkthrough", "--out", str(tmp_path / "run"))
    process.communicate(timeout=600)
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 0)):
        process = start(tmp_path, "view", str(tmp_path / "run"))
        assert process.stdout is not None and "127.0.0.1" in process.stdout.readline()
        time.sleep(0.2)
        assert stop(process, number)[0] == code


def test_truth_ends_with_its_processes_and_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ("truth", "--env", "toy", "--policy", "random", "--group-size", "4", "--method", "monte-carlo")
    process = start(tmp_path, *settings, "--delay", "0.01", "--workers", "2", "--out", str(run))
    wait_for(lambda: lines(run / "truth.jsonl") >= 2, process)
    found, err = stop(process, signal.SIGTERM)
    assert found == 143 and "ended by SIGTERM" in err
    assert all(json.loads(line) for line in (run / "truth.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_training_ends_with_its_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    run = tmp_path / "run"
    settings = ("--env", "toy", "--split", "all", "--tasks-per-step", "2", "--group-size", "2", "--steps", "100000")
    process = start(tmp_path, "train", *settings, "--workers", "2", "--checkpoint-every", "1", "--out", str(run))
    wait_for(lambda: lines(run / "metrics.jsonl") >= 2, process)
    found, err = stop(process, signal.SIGTERM)
    assert found == 143 and "add --resume to continue" in err and list((run / "checkpoints").iterdir())


@pytest.mark.slow
def test_a_sweep_ends_its_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "sweep"
    settings = ("--schemes", "grpo,gigpo", "--seeds", "1", "--env", "alfworld", "--split", "generated:0:4")
    more = ("--eval-split", "generated:1:1", "--steps", "100000", "--tasks-per-step", "1", "--group-size", "2")
    process = start(tmp_path, "sweep", *settings, *more, "--jobs", "1", "--out", str(out))
    wait_for(lambda: lines(out / "grpo-0" / "metrics.jsonl") >= 1, process)
    found, err = stop(process, signal.SIGTERM)
    assert found == 143 and "0 of 2 runs are finished" in err and not (out / "gigpo-0").exists()
