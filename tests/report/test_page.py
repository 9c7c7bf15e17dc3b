from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import pandas as pd
import pytest
from report_runs import EVIL, make_episode, write_run

from agentbench.evaluation.compare_runs import compare
from agentbench.evaluation.summary import summarise
from agentbench.report import make_report, page, step_rows, steps, write_page
from agentbench.runs import tables
from agentbench.runs.run import open_run
from credit import advantages
from envs.base.errors import UserError


def unpacked(text: str) -> dict:
    return json.loads(zlib.decompress(base64.b64decode(text)))


def rows(table: dict) -> list[dict]:
    return [dict(zip(table["keys"], row, strict=True)) for row in table["rows"]]


def test_the_page_is_one_file_that_names_no_other_place(weak: Path, strong: Path, tmp_path: Path) -> None:
    written = write_page(make_report([weak, strong]), tmp_path / "page.html")
    assert written == [tmp_path / "page.html"]
    text = written[0].read_text()
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nothing is loaded from
    assert not re.search(r"<(link|img|iframe)[^>]+(href|src)=\"(?!data:)", text)


def test_text_of_a_run_never_becomes_markup(weak: Path, tmp_path: Path) -> None:
    text = write_page(make_report([weak], title=EVIL), tmp_path / "page.html")[0].read_text()
    assert "<script>window.evil" not in text
    assert "<img" not in text
    assert "innerHTML" not in page.script()


def test_the_same_runs_give_the_same_bytes(weak: Path, tmp_path: Path) -> None:
    first = write_page(make_report([weak]), tmp_path / "a.html")[0].read_bytes()
    assert write_page(make_report([weak]), tmp_path / "b.html")[0].read_bytes() == first


def test_rows_are_the_same_whatever_is_asked_for_first(weak: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page asks in order, a browser for any chunk: rows that went by, that lie ahead, that share a batch."""
    monkeypatch.setattr(step_rows, "BATCH", 3)
    path = open_run(weak).current_table("steps")
    whole = pd.read_parquet(path)[list(step_rows.SHOWN)]
    last = len(whole)
    book = step_rows.StepRows(path)
    for first, end in ((0, 2), (1, 5), (5, last), (4, 5), (0, last), (last - 1, last), (2, 2)):
        found = book.read(first, end).to_pandas().reset_index(drop=True)
        expected = whole.iloc[first:end].reset_index(drop=True)
        assert found["observation"].tolist() == expected["observation"].tolist(), (first, end)
        assert [*map(list, found["admissible_actions"])] == [*map(list, expected["admissible_actions"])]


def test_numbers_are_those_of_the_statistics(weak: Path, strong: Path) -> None:
    report = make_report([weak, strong])
    shown = next(row for row in rows(report.index["tables"]["rates"]) if row["run"] == "weak")
    overall = summarise(open_run(weak).episodes).overall
    assert shown["success_rate"] == pytest.approx(0.25)
    assert (shown["success_low"], shown["success_high"]) == pytest.approx((overall.success_low, overall.success_high))
    difference = rows(report.index["tables"]["comparisons"])[0]
    expected = compare(open_run(weak).episodes, open_run(strong).episodes)
    assert difference["difference"] == pytest.approx(0.75)
    assert (difference["low"], difference["p_value"]) == pytest.approx((expected.low, expected.p_value), rel=1e-6)


def test_steps_carry_text_states_and_the_credit_of_every_scheme(weak: Path) -> None:
    report = make_report([weak], ["gigpo", "grpo"])
    chunk = unpacked(report.pack(0, 0))
    episode = chunk["episodes"]["task-0/0"]
    assert chunk["texts"][episode["observation"][0]] == f"you are in hall {EVIL}"
    assert [chunk["texts"][place] for place in episode["action"]] == ["leave hall", "leave cellar", "leave hall"]
    other = chunk["episodes"]["task-0/1"]
    assert episode["state"][0] == episode["state"][2] == other["state"][0]
    assert other["next"][-1] == -1 and episode["next"][-1] != -1  # a success ends in the goal
    steps = open_run(weak).steps()
    together = [value for key in sorted(chunk["episodes"]) for value in chunk["episodes"][key]["credit"]["gigpo"]]
    assert together == pytest.approx(advantages("gigpo", steps), abs=1e-3)


def test_a_scheme_that_cannot_be_computed_is_named_with_the_reason(weak: Path) -> None:
    run = make_report([weak], ["gae", "grpo"]).index["runs"][0]
    assert [scheme["name"] for scheme in run["schemes"]] == ["grpo"]
    assert run["skipped"][0][0] == "gae" and "value" in run["skipped"][0][1]


def test_true_advantages_stand_first(weak: Path) -> None:
    steps = open_run(weak).step_table
    truth = steps[["task_id", "trial", "step"]].assign(true_advantage=[0.5] + [0.0] * (len(steps) - 1))
    truth.to_parquet(weak / "truth.parquet")
    report = make_report([weak], ["grpo"])
    assert [scheme["name"] for scheme in report.index["runs"][0]["schemes"]] == ["truth", "grpo"]
    assert unpacked(report.pack(0, 0))["episodes"]["task-0/0"]["credit"]["truth"] == [0.5, 0, 0]


def test_the_quality_table_is_shown_with_a_picture_a_measure(weak: Path) -> None:
    table = {"scheme": ["grpo", "gigpo"], "group_size": [8, 8], "cosine": [0.5, 0.7]}
    pd.DataFrame(table | {"cosine_low": [0.4, 0.6], "cosine_high": [0.6, 0.8]}).to_csv(
        weak / "quality.csv", index=False
    )
    index = make_report([weak]).index
    assert index["quality_plots"] == [
        {"part": "", "title": "cosine", "rows": [["grpo", 0.5, 0.4, 0.6], ["gigpo", 0.7, 0.6, 0.8]]}
    ]
    assert rows(index["tables"]["quality"])[1]["scheme"] == "gigpo"


def test_a_measure_without_an_interval_is_shown_all_the_same(weak: Path) -> None:
    table = pd.DataFrame({"scheme": ["grpo", "gigpo"], "cosine": [0.5, None], "cosine_low": None, "cosine_high": None})
    table.to_csv(weak / "quality.csv", index=False)
    (picture,) = make_report([weak]).index["quality_plots"]
    assert picture["rows"] == [["grpo", 0.5, None, None]]


def test_many_steps_go_to_files_beside_the_page(weak: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "INLINE_BYTES", 10)
    monkeypatch.setattr("agentbench.report.steps.CHUNK_STEPS", 1)
    out, folder = write_page(make_report([weak]), tmp_path / "page.html")
    assert sorted(file.name for file in folder.iterdir()) == ["0-0.js", "0-1.js"]  # a task is never torn
    name, packed = json.loads("[" + (folder / "0-1.js").read_text().strip()[len("agentbenchSteps(") : -2] + "]")
    assert name == "0-1" and sorted(unpacked(packed)["episodes"]) == ["task-1/0", "task-1/1"]
    assert packed not in out.read_text()


def test_texts_are_read_a_chunk_at_a_time_whatever_parts_the_table_was_written_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "CHUNK_STEPS", 3)
    made = [make_episode(task, trial, ["a", "b"][: trial + 1], won=True) for task in range(5) for trial in range(3)]
    made.append(make_episode(5, 0, [], won=False))
    whole = make_report([write_run(tmp_path / "whole", made)])
    monkeypatch.setattr(tables, "_BATCH_TEXT", 1)  # an episode a part
    parts = make_report([write_run(tmp_path / "parts", made)])
    assert len(parts.chunk_names()) > 3
    for name in parts.chunk_names():
        assert parts.pack(*name) == whole.pack(*name)


def test_a_step_table_in_another_order_is_refused(weak: Path) -> None:
    table = open_run(weak).step_table
    (weak / "episodes.jsonl").unlink()  # else the table is made again
    table.iloc[::-1].to_parquet(weak / "steps.parquet")
    with pytest.raises(UserError, match="not sorted by episode and step"):
        make_report([weak])


def test_a_run_of_another_set_of_tasks_is_not_compared(weak: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", [make_episode(7, 0, ["hall"], True)])
    index = make_report([weak, other]).index
    assert "comparisons" not in index["tables"]
    assert any("2 different sets of tasks" in note for note in index["notes"])


def test_a_run_without_a_finished_episode_is_shown_as_such(tmp_path: Path) -> None:
    empty = write_run(tmp_path / "empty", [], number_of_tasks=3, trials=2)
    (run,) = make_report([empty]).index["runs"]
    assert "episodes" not in run and run["expected"] == 6


def test_a_folder_without_a_run_and_one_named_twice_are_refused(weak: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run"):
        make_report([tmp_path / "nothing"])
    with pytest.raises(UserError, match="twice"):
        make_report([weak, weak])


def test_the_script_stays_small() -> None:
    assert len(page.script()) < 68_000


@pytest.mark.slow
def test_a_thousand_long_episodes_stay_under_five_megabytes(tmp_path: Path) -> None:
    rooms = [f"room {number} of a large house with many things in it to look at" for number in range(60)]
    episodes = [
        make_episode(
            task, trial, [rooms[(task * 7 + trial * 3 + place * place) % 60] for place in range(50)], trial == 0
        )
        for task in range(250)
        for trial in range(4)
    ]
    written = write_page(make_report([write_run(tmp_path / "long", episodes)]), tmp_path / "page.html")
    assert sum(path.stat().st_size for path in written) < 5_000_000
    assert len(written) == 1


ODD_NUMBERS = ("NaN", "1e999", '"x"', "[1]", "{}", "null", "true", "9" * 400)


def test_a_page_is_made_whatever_stands_in_the_metrics(weak: Path, tmp_path: Path) -> None:
    lines = ["{}", '{"success":1}', *(f'{{"step":{odd},"success":0.5}}' for odd in ODD_NUMBERS)]
    lines += [f'{{"step":{place + 2},"success":{odd}}}' for place, odd in enumerate(ODD_NUMBERS)]
    (weak / "metrics.jsonl").write_text("\n".join([*lines, '{"step":99,"success":0.5}']) + "\n")
    report = make_report([weak])
    write_page(report, tmp_path / "page.html")
    assert report.index["runs"][0]["training_steps"] == 99


@pytest.mark.parametrize(
    "change",
    [{"env": {"a": float("inf")}}, {"policy": [float("nan")]}, {"scheme": float("nan")}, {"split": {}}, {"x": 1e999}],
)
def test_a_page_is_made_whatever_the_settings_are(weak: Path, tmp_path: Path, change: dict) -> None:
    record = json.loads((weak / "run.json").read_text())
    record["identity"] |= change
    (weak / "run.json").write_text(json.dumps(record | {"started": float("nan"), "kind": float("inf")}))
    write_page(make_report([weak]), tmp_path / "page.html")


def test_a_number_of_tasks_that_nobody_can_write_is_told(weak: Path) -> None:
    record = json.loads((weak / "run.json").read_text())
    record["identity"] |= {"number_of_tasks": int("9" * 4000), "trials": int("9" * 4000)}
    (weak / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="its number_of_tasks is out of all bounds"):
        make_report([weak])


@pytest.mark.parametrize("row", ["run,scheme,cosine,cosine_low,cosine_high\na,grpo,1,1,1\n",
                                 "scheme,cosine,cosine_low,cosine_high\ngrpo,inf,-inf,nan\n"])  # fmt: skip
def test_an_odd_quality_table_is_shown(weak: Path, tmp_path: Path, row: str) -> None:
    (weak / "quality.csv").write_text(row)
    write_page(make_report([weak]), tmp_path / "page.html")


@pytest.mark.parametrize("odd", [{"trial": "x"}, {"true_advantage": "x"}, {"task_id": 1}, {"step": None}])
def test_a_table_of_truths_of_another_kind_is_told_in_one_line(weak: Path, odd: dict) -> None:
    row = {"task_id": "task-0", "trial": 0, "step": 0, "true_advantage": 1.0} | odd
    pd.DataFrame([row]).to_parquet(weak / "truth.parquet")
    with pytest.raises(UserError, match="true advantages has a column of another kind") as told:
        make_report([weak])
    assert "\n" not in str(told.value)
