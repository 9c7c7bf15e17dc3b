from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import journals
import pandas as pd
import pytest
from report_runs import EVIL, Writer, make_episode, write_run
from toy_environment import UpPolicy

from agentbench import evaluate
from agentbench.report.export import export
from agentbench.runs.run import open_run
from credit import advantages
from envs.base.errors import UserError


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_every_table_behind_the_page_is_written(
    form: str, weak: Path, strong: Path, train_run: Writer, tmp_path: Path
) -> None:
    written = export([weak, strong, train_run("t", [0.1, 0.2])], form, tmp_path / "out", ["grpo"])
    read = {path.stem: (pd.read_csv if form == "csv" else pd.read_parquet)(path) for path in written}
    assert sorted(read) == ["comparisons", "credit", "curves", "episodes", "passes", "rates", "tasks"]
    assert read["comparisons"]["difference"].tolist() == pytest.approx([0.75])
    assert len(read["episodes"]) == 8 and set(read["episodes"]["run"]) == {"weak", "strong"}
    weak_credit = read["credit"].loc[read["credit"]["run"] == "weak", "grpo"]
    assert weak_credit.to_numpy() == pytest.approx(advantages("grpo", open_run(weak).steps()))
    assert read["curves"]["estimate"].tolist() == pytest.approx([0.1, 0.2])


def test_the_quality_table_is_written_with_its_intervals(weak: Path, strong: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"scheme": ["grpo"], "cosine": [0.5], "cosine_low": [0.4], "cosine_high": [0.6]})
    table.to_csv(weak / "quality.csv", index=False)
    written = {path.stem: path for path in export([weak, strong], "csv", tmp_path / "out")}
    read = pd.read_csv(written["quality"])
    assert read.drop(columns="run").equals(table) and read["run"].tolist() == ["weak"]


def test_the_latex_table_has_a_row_a_run_and_escapes_names(strong: Path, tmp_path: Path) -> None:
    odd = write_run(
        tmp_path / "50%_odd", [make_episode(task, trial, ["hall"], False) for task in (0, 1) for trial in (0, 1)]
    )
    (path,) = export([odd, strong], "latex", tmp_path / "table.tex")
    lines = path.read_text().splitlines()
    assert r"Run & Tasks & overall & Even & Odd \\" in lines
    odd_row = next(line for line in lines if "odd" in line)
    assert odd_row.startswith(r"50\%\_odd & 2 & 0.0 {\footnotesize [0.0, ")
    assert lines[1] == r"\begin{tabular}{lrlll}" and lines[-1] == r"\end{tabular}"


def test_chats_alternate_and_hold_every_text(weak: Path, tmp_path: Path) -> None:
    (path,) = export([weak], "chat", tmp_path / "chats.jsonl")
    chats = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [(chat["task_id"], chat["trial"], chat["outcome"]) for chat in chats][1] == ("task-0", 1, "success")
    messages = chats[0]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 3 + ["user"]
    assert messages[0]["content"].endswith(EVIL) and messages[1]["content"] == "leave hall"
    assert messages[-1]["content"] == "the end"


def test_the_inspect_log_has_a_sample_a_trial(weak: Path, tmp_path: Path) -> None:
    (path,) = export([weak], "inspect", tmp_path / "log.json")
    log = json.loads(path.read_text())
    assert (log["version"], log["status"], len(log["samples"])) == (2, "success", 4)
    assert [(sample["id"], sample["epoch"]) for sample in log["samples"]][:2] == [("task-0", 1), ("task-0", 2)]
    assert [sample["scores"]["success"]["value"] for sample in log["samples"]] == [0.0, 1.0, 0.0, 0.0]
    assert log["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 0.25


def test_inspect_reads_its_log(weak: Path, tmp_path: Path) -> None:
    inspect_log = pytest.importorskip("inspect_ai.log", reason="inspect-ai is not installed: the log is read by nobody")
    (path,) = export([weak], "inspect", tmp_path / "log.json")
    log = inspect_log.read_eval_log(str(path))
    assert log.results.scores[0].metrics["accuracy"].value == 0.25
    assert log.samples[1].messages[1].text == "leave hall"


def test_wrong_forms_and_empty_runs_are_refused(weak: Path, strong: Path, train_run: Writer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean csv"):
        export([weak], "cvs", tmp_path / "out")
    with pytest.raises(UserError, match="one run, got 2"):
        export([weak, strong], "inspect", tmp_path / "log.json")
    with pytest.raises(UserError, match="no finished episodes"):
        export([train_run("t", [0.1])], "chat", tmp_path / "chats.jsonl")


PROTECTION = "its licence asks that it stays here"


@pytest.mark.parametrize("form", ["chat", "inspect", "csv"])
def test_what_is_protected_is_marked_and_warned_of(
    form: str, weak: Path, strong: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = json.loads((weak / "run.json").read_text()) | {"protected": PROTECTION}
    (weak / "run.json").write_text(json.dumps(record))
    export([strong], form, tmp_path / "open")
    assert not caplog.records
    (path, *_) = export([weak], form, tmp_path / "closed")
    (warning,) = caplog.records
    assert warning.levelname == "WARNING" and PROTECTION in warning.getMessage() and str(weak) in warning.getMessage()
    if form == "chat":
        assert all(json.loads(line)["protected"] == PROTECTION for line in path.read_text().split("\n")[:-1])
    if form == "inspect":
        assert json.loads(path.read_text())["eval"]["metadata"]["protected"] == PROTECTION


def test_the_report_command_warns_of_what_is_protected(weak: Path, tmp_path: Path) -> None:
    record = json.loads((weak / "run.json").read_text()) | {"protected": PROTECTION}
    (weak / "run.json").write_text(json.dumps(record))
    command = [sys.executable, "-m", "agentbench", "report", str(weak), "--out", str(tmp_path / "page.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert PROTECTION in done.stderr and "page.html" in done.stdout


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    """A run of a language model: one answer broke the format and was cut."""
    episode = make_episode(0, 0, ["hall", "attic"], False)
    for step, reason in zip(episode.steps, ("there is no action", None), strict=True):
        step.text = f"<think>{EVIL}</think> {step.action}"
        step.details = {"invalid": reason, "cut_answer": reason is not None, "prompt_tokens": 90, "answer_tokens": 8}
    return write_run(tmp_path / "answered", [episode, make_episode(1, 0, ["porch"], False)])


def test_answers_and_why_they_did_not_count_are_written(answered: Path, tmp_path: Path) -> None:
    read = {path.stem: pd.read_parquet(path) for path in export([answered], "parquet", tmp_path / "out")}
    assert read["reasons"][["reason", "answers", "share"]].to_numpy().tolist() == [["there is no action", 1, 0.5]]
    assert read["answers"][["answers", "cut_share", "prompt_tokens"]].to_numpy().tolist() == [[2, 0.5, 180]]
    first = read["answer_steps"].iloc[0]
    assert first["text"].startswith("<think>") and first["invalid"] == "there is no action" and first["cut"]
    (chats,) = export([answered], "chat", tmp_path / "chats.jsonl")
    known, unknown = map(json.loads, chats.read_text().rstrip("\n").split("\n"))
    assert [each["invalid"] for each in known["answers"]] == ["there is no action", None] and "answers" not in unknown
    (log,) = export([answered], "inspect", tmp_path / "log.json")
    messages = json.loads(log.read_text())["samples"][0]["messages"]
    assert messages[1]["metadata"]["invalid"] == "there is no action"
    assert EVIL in messages[1]["content"]


def test_the_stored_lines_come_out_as_they_are(tmp_path: Path) -> None:
    evaluate("toy", UpPolicy(), out=tmp_path / "run", inline=True)
    (path,) = export([tmp_path / "run"], "jsonl", tmp_path / "out" / "episodes.jsonl")
    assert path.read_bytes() == b"".join(journals.stored(tmp_path / "run")) != b""
    with pytest.raises(UserError, match="holds one run, got 2"):
        export([tmp_path / "run", write_run(tmp_path / "b", [])], "jsonl", tmp_path / "both.jsonl")
