from __future__ import annotations

import math
from pathlib import Path

import pytest
from report_runs import Writer

from agentbench.report import make_report
from agentbench.report.curves import learning_curves
from agentbench.report.runs import read_runs


def test_seeds_of_one_setting_become_their_interquartile_mean_with_an_interval(train_run: Writer) -> None:
    folders = [train_run(f"g-{seed}", [0.1 * seed, 1.0], seed=seed) for seed in range(4)]
    notes: list[str] = []
    table = learning_curves(read_runs(folders), notes)
    first, last = table
    assert first["estimate"] == pytest.approx(0.15)  # the mean of 0.1 and 0.2: the lowest and the highest are dropped
    assert first["low"] < 0.15 < first["high"] and (first["seeds"], first["step"]) == (4, 0)
    assert (last["low"], last["estimate"], last["high"]) == (1, 1, 1)
    assert notes == []


def test_a_single_run_has_no_interval_and_a_note(train_run: Writer) -> None:
    notes: list[str] = []
    table = learning_curves(read_runs([train_run("one", [0.2, 0.4])]), notes)
    assert all(math.isnan(row["low"]) and math.isnan(row["high"]) for row in table)
    assert len(notes) == 1 and "single training run" in notes[0]


def test_lines_are_named_by_the_settings_in_which_they_differ(train_run: Writer) -> None:
    folders = [
        train_run(f"{scheme}-{seed}", [0.2], scheme=scheme, seed=seed) for scheme in ("salt", "grpo") for seed in (0, 1)
    ]
    assert list(dict.fromkeys(row["line"] for row in learning_curves(read_runs(folders), []))) == ["salt", "grpo"]


def test_a_line_ends_where_the_shortest_seed_is(train_run: Writer) -> None:
    folders = [train_run("a", [0.1, 0.2, 0.3]), train_run("b", [0.1, 0.2], seed=1)]
    assert [row["step"] for row in learning_curves(read_runs(folders), [])] == [0, 10]


def test_a_torn_last_line_of_metrics_is_passed_over(train_run: Writer) -> None:
    folder: Path = train_run("torn", [0.1, 0.2])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "eval/suc')
    (chart,) = make_report([folder]).index["curves"]
    assert chart["lines"][0]["step"] == [0, 10]
