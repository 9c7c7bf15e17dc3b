"""The run store: nothing that finished is lost, whatever stops the run, and nothing is mixed up."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import journals
import pytest
import report_runs
from toy_environment import UpPolicy
from typer.testing import CliRunner

from agentbench import UserError, evaluate, open_run
from agentbench.cli import app
from agentbench.runs import tables
from agentbench.runs.writer import RunWriter
from envs.base.digest import sha256_of
from envs.base.journal import PACKED, journal_of

SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests started in the background inherit that it is ignored
sys.path.insert(0, {support!r})
from toy_environment import UpPolicy
from agentbench import evaluate
evaluate("toy", UpPolicy(), out={out!r}, trials=4, workers=2, env_options={{"delay": {delay}}})
"""


def start(out: Path, delay: float) -> subprocess.Popen[bytes]:
    """Start the evaluation of the toy in a process of its own."""
    support = str(Path(__file__).resolve().parent.parent / "support")
    script = SCRIPT.format(support=support, out=str(out), delay=delay)
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)


def lines(out: Path) -> int:
    """Count the finished episodes on disk."""
    return len(journals.stored(out))


def wait_for(condition: Any, seconds: float = 600) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "change", [{"schema": "2"}, {"notes": 5}, {"versions": []}, {"identity": []}, {"identity": {"trials": None}},
               {"identity": {"number_of_tasks": 1e308}}],
)  # fmt: skip
def test_a_record_of_another_shape_is_one_clear_line(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = report_runs.write_run(tmp_path / "run", [report_runs.make_episode(0, 0, ["hall"], won=True)])
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(UserError, match=r"cannot be read \(its .* is .*, no |it describes no run"):
        open_run(folder)


def test_half_a_character_in_a_text_harms_no_table_and_no_export(tmp_path: Path) -> None:
    """AppWorld prints whatever code prints; Parquet, UTF-8 and tokenizers take no lone surrogates."""
    half = "left \ud800 right \U0001f642"
    episode = report_runs.make_episode(0, 0, ["hall", "attic"], won=True)
    step = replace(episode.steps[0], observation=half, anchor=half, admissible_actions=[half], details={half: [half]})
    episode = replace(episode, instruction=half, final_observation=half, steps=[step, *episode.steps[1:]])
    folder = report_runs.write_run(tmp_path / "run", [episode])
    assert open_run(folder).step_table["observation"][0] == "left ? right \U0001f642"
    page, chats = str(tmp_path / "page.html"), str(tmp_path / "chats.jsonl")
    for command in (
        ["replay", "--episode", "0"],
        ["report", "--out", page],
        ["export", "--to", "chat", "--out", chats],
    ):
        command.insert(1, str(folder))
        assert CliRunner().invoke(app, command).exit_code == 0


def test_a_killed_run_goes_on_and_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole, 0.02).wait(120) == 0
    for more in (4, 11):
        process = start(cut, 0.02)
        wait_for(lambda more=more: lines(cut) >= more)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = journals.stored(cut)
    assert start(cut, 0.02).wait(120) == 0
    assert journals.stored(cut)[: len(kept)] == kept, "a finished episode was lost"
    for name in ("episodes.parquet", "steps.parquet"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_no_worker_outlives_a_killed_run(tmp_path: Path) -> None:
    import psutil

    process = start(tmp_path / "run", 0.5)
    wait_for(lambda: lines(tmp_path / "run") >= 1)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    process = start(tmp_path / "run", 0.1)
    wait_for(lambda: lines(tmp_path / "run") >= 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    assert lines(tmp_path / "run") >= 2
    assert len(open_run(tmp_path / "run").episodes) == lines(tmp_path / "run")


def test_a_torn_last_line_is_repaired_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "run"
    evaluate("toy", UpPolicy(), out=out)
    before = (out / "episodes.parquet").read_bytes()
    journal = journal_of(out)
    journal.write_bytes(journal.read_bytes()[:-40])
    evaluate("toy", UpPolicy(), out=out)
    assert "1 damaged or torn line(s) (line 6)" in caplog.text
    assert (out / "episodes.parquet").read_bytes() == before
    assert len([json.loads(line) for line in gzip.decompress(journal.read_bytes()).splitlines()]) == 6


def test_a_damaged_line_in_the_middle_costs_only_its_own_episode(tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate("toy", UpPolicy(), out=out)
    before = (out / "episodes.parquet").read_bytes()
    content = journals.stored(out)
    content[2] = b"\x00\xff garbage\n"
    journals.store(out, content)
    evaluate("toy", UpPolicy(), out=out)
    assert (out / "episodes.parquet").read_bytes() == before


def test_another_configuration_is_refused_and_the_difference_shown(tmp_path: Path) -> None:
    evaluate("toy", UpPolicy(), out=tmp_path / "run", seed=1)
    with pytest.raises(UserError, match=r"seed: 1 → 2; trials: 1 → 3"):
        evaluate("toy", UpPolicy(), out=tmp_path / "run", seed=2, trials=3)
    with pytest.raises(UserError, match="policy_digest"):
        evaluate("toy", UpPolicy(lazy=[1]), out=tmp_path / "run", seed=1)


def test_a_second_run_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    with RunWriter(tmp_path, {"a": 1}, {}), pytest.raises(UserError, match="being written by another process"):
        RunWriter(tmp_path, {"a": 1}, {})
    with RunWriter(tmp_path, {"a": 1}, {}):
        pass


def test_a_full_disk_is_one_clear_message_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real_fsync, calls = tmp_path / "run", os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device; 2 finished episodes are safe"):
        evaluate("toy", UpPolicy(), out=out, parallel=1)  # of several at once, the clock says how many a sync takes
    assert lines(out) == 2
    monkeypatch.undo()
    assert len(evaluate("toy", UpPolicy(), out=out).frame) == 6


def test_a_disk_that_takes_only_half_a_line_leaves_no_half_line(tmp_path: Path) -> None:
    """A real limit on file size, hit in the middle of a line, in a process of its own."""
    support = str(Path(__file__).resolve().parent.parent / "support")
    script = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    script += "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
    script += SCRIPT.format(support=support, out=str(tmp_path / "run"), delay=0)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert "finished episodes are safe: make room and run the same command again" in done.stderr
    journal = journal_of(tmp_path / "run")
    assert 0 < journal.stat().st_size <= 3000 and gzip.decompress(journal.read_bytes()).endswith(b"\n")


def test_errors_are_played_again_when_asked(tmp_path: Path) -> None:
    options = {"faults": {"1": "raise"}, "times": 3, "folder": str(tmp_path), "tasks": 3}
    out = tmp_path / "run"
    first = evaluate("toy", UpPolicy(), out=out, env_options=options)
    assert list(first.frame["outcome"]).count("error") == 1
    again = evaluate("toy", UpPolicy(), out=out, env_options=options)
    assert list(again.frame["outcome"]).count("error") == 1
    retried = evaluate("toy", UpPolicy(), out=out, env_options=options, retry_errors=True)
    assert list(retried.frame["outcome"]) == ["success"] * 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        evaluate("toy", UpPolicy(), out=tmp_path / "file" / "run")


def test_reading_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run in .*: it has no run.json"):
        open_run(tmp_path)
    (tmp_path / "run.json").write_text("{half")
    with pytest.raises(UserError, match="cannot be read"):
        open_run(tmp_path)


def test_run_json_records_configuration_versions_and_seed(tmp_path: Path) -> None:
    run = evaluate("toy", UpPolicy(), out=tmp_path / "run", seed=7).run
    assert run.config["identity"]["seed"] == 7
    assert {"agentbench", "numpy", "pyarrow"} <= set(run.config["versions"])
    assert {"git", "python", "host", "config", "started"} <= set(run.config)


def test_the_tables_join_and_agree(tmp_path: Path) -> None:
    run = evaluate("toy", UpPolicy(lazy=[1]), out=tmp_path / "run").run
    steps, episodes = run.step_table, run.episodes
    counted = steps.groupby("episode").size()
    assert list(counted) == list(episodes["steps"])
    one = steps[steps["episode"] == episodes.set_index("task_name").loc["toy:3", "episode"]]
    assert list(one["anchor"]) == ["at 0", "at 1", "at 2", "at 3"]
    assert list(one["next_anchor"]) == ["at 1", "at 2", "at 3", "at 4"]
    assert list(one["reward"]) == [0, 0, 0, 1]
    assert list(one["terminated"]) == [False, False, False, True]
    assert list(one["admissible_actions"].iloc[0]) == ["stay", "up"]


@pytest.mark.parametrize("content", [None, "", "precious\n"])
def test_a_run_is_not_gone_on_with_through_a_link_out_of_its_folder(tmp_path: Path, content: str | None) -> None:
    out, outside = tmp_path / "run", tmp_path / "outside"
    evaluate("toy", UpPolicy(), out=out, inline=True)
    if content is not None:
        outside.write_text(content)
    journal_of(out).unlink()
    (out / PACKED).symlink_to(outside)
    with pytest.raises(UserError, match="is a link to a file outside of the run"):
        evaluate("toy", UpPolicy(), out=out, inline=True)
    assert (outside.read_text() if outside.exists() else None) == content


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["episodes.jsonl.gz", "episodes.jsonl", "metrics.jsonl", "quality.csv"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    evaluate("toy", UpPolicy(), out=tmp_path, inline=True)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    for use in (lambda: open_run(tmp_path), lambda: evaluate("toy", UpPolicy(), out=tmp_path, inline=True)):
        with pytest.raises(UserError, match="is a pipe or a device and no file"):
            use()


def test_a_link_to_a_device_is_refused(tmp_path: Path) -> None:
    evaluate("toy", UpPolicy(), out=tmp_path, inline=True)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="is a link to a file outside of the run"):
        open_run(tmp_path)


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = evaluate("alfworld", "random", split="generated:0:2:small", out=tmp_path / "run", inline=True).run
    hashed: list[str] = []

    def counted(path: Path) -> str:
        hashed.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(tables, "sha256_of", counted)
    run.current_table("steps")
    assert hashed == ["episodes.jsonl.gz", "steps.parquet"]
    run.current_table("steps")  # the files are new: they may change again within what their times tell apart
    assert len(hashed) == 4
    later = time.time() + 10
    monkeypatch.setattr("agentbench.runs.tables.time.time", lambda: later)
    hashed.clear()
    for _ in range(3):
        run.current_table("steps")
    assert hashed == ["episodes.jsonl.gz", "steps.parquet"]
    journal = run.folder / "episodes.jsonl.gz"
    before, content = journal.stat(), journal.read_bytes()
    journal.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(journal, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not tables.is_current(run.folder, "steps.parquet")
    journal.write_bytes(content)
    assert tables.is_current(run.folder, "steps.parquet")
