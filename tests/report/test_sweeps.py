"""A sweep on the page: what the seeds say of every scheme, from the tables that the sweep wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_runs import Writer
from typer.testing import CliRunner

pytest.importorskip("torch", reason="summing a sweep up needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: F401  (registers the environment 'toy')
from invented_sweep import invent_sweep

from agentbench.cli import app
from agentbench.report import make_report, write_page
from agentbench.report.export import export
from agentbench.report.server import LiveReport
from agentbench.train.sweep_record import record_plan
from envs.base.errors import UserError

MEANS = {"grpo": 0.60, "gigpo": 0.75, "salt": 0.60, "mapo": 0.45}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return invent_sweep(tmp_path_factory.mktemp("sweeps") / "compared", MEANS, seeds=8)


def rows(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table["keys"], row, strict=True)) for row in table["rows"]]


def test_a_sweep_stands_for_its_runs_with_the_verdicts_that_the_command_wrote(sweep: Path) -> None:
    index = make_report([sweep]).index
    assert {run["sweep"] for run in index["runs"]} == {"compared"} and len(index["runs"]) == 32
    assert [line["label"] for line in index["curves"][0]["lines"]] == list(MEANS)
    (shown,) = index["sweeps"]
    assert shown["primary_measures"] == ["success", "area"]
    assert dict(shown["facts"])["seeds"] == "8 of each scheme (0 to 7)"
    written = pd.read_csv(sweep / "comparisons.csv")
    found = rows(shown["tables"]["comparisons"])
    assert [(row["measure"], row["scheme"]) for row in found] == list(
        zip(written["measure"], written["scheme"], strict=True)
    )
    assert {row["scheme"]: row["verdict"] for row in found if row["measure"] == "success"} == {
        "gigpo": "better", "salt": "tie", "mapo": "worse"
    }  # fmt: skip
    assert found[0]["low"] == pytest.approx(written["low"][0], rel=1e-5)


def test_profiles_are_a_chart_of_shares_over_the_levels_where_schemes_differ(sweep: Path) -> None:
    profile = make_report([sweep]).index["sweeps"][0]["profile"]
    assert [(line["label"], line["seeds"]) for line in profile["lines"]] == [(name, 8) for name in MEANS]
    best, worst = profile["lines"][1], profile["lines"][3]
    assert min(best["step"]) > 0.3 and max(best["step"]) < 0.9
    at = next(place for place, level in enumerate(best["step"]) if level == pytest.approx(0.6))
    assert best["estimate"][at] == 1 and worst["estimate"][at] == 0


def test_a_sweep_and_a_run_of_it_beside_are_one_run_named_twice(sweep: Path) -> None:
    with pytest.raises(UserError, match="named twice"):
        make_report([sweep, sweep / "grpo-0"])


def test_runs_that_are_missing_and_tables_that_are_missing_are_said(tmp_path: Path) -> None:
    folder = invent_sweep(tmp_path / "cut", {"grpo": 0.5, "gigpo": 0.6}, seeds=2)
    record_plan(folder, ["grpo", "gigpo"], range(3), "success", None)
    (shown,) = make_report([folder]).index["sweeps"]
    assert any("added after the first runs: seed 2" in note for note in shown["notes"])
    assert any(note.startswith("2 of the planned runs are not in the tables") for note in shown["notes"])
    (folder / "runs.csv").unlink()
    (shown,) = make_report([folder]).index["sweeps"]
    assert shown["tables"] == {} and shown["profile"] is None
    assert any("no tables of this sweep yet" in note for note in shown["notes"])
    (folder / "comparisons.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"comparisons\.csv cannot be read"):
        make_report([folder])


def test_a_sweep_of_which_no_run_has_begun_is_refused_in_one_line(tmp_path: Path) -> None:
    record_plan(tmp_path / "planned", ["grpo", "gigpo"], range(2), "success", None)
    result = CliRunner().invoke(app, ["report", str(tmp_path / "planned"), "--out", str(tmp_path / "page.html")])
    assert isinstance(result.exception, UserError) or result.exit_code == 2
    assert "has begun" in str(result.exception) + result.output


def test_a_page_without_a_sweep_has_none(train_run: Writer) -> None:
    index = make_report([train_run("a", [0.1, 0.2])]).index
    assert index["sweeps"] == [] and index["runs"][0]["sweep"] is None


def test_export_and_the_live_page_take_a_sweep_too(sweep: Path, tmp_path: Path) -> None:
    export([sweep], "csv", tmp_path / "tables")
    assert set(pd.read_csv(tmp_path / "tables" / "curves.csv")["line"]) == set(MEANS)
    live = LiveReport([sweep])
    before = live.current()[0]
    table = sweep / "schemes.csv"
    table.write_text(table.read_text() + "\n")
    assert live._fingerprint() != before


@pytest.fixture
def opened(browser: Any, sweep: Path, tmp_path: Path) -> Iterator[Any]:
    (out,) = write_page(make_report([sweep]), tmp_path / "page.html")
    browser.get_log("browser")
    browser.get(f"{out.as_uri()}#/schemes")
    yield browser
    assert browser.get_log("browser") == []


def test_the_page_draws_a_verdict_and_an_interval_for_every_scheme(opened: Any) -> None:
    script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
    cells = opened.execute_script(script, "[data-table=verdicts-success] tbody td:nth-child(2)")
    assert cells == ["better", "equal within 5 points", "worse"]
    drawn = json.loads(opened.execute_script(
        "return JSON.stringify([...document.querySelectorAll('figure')].map((figure) => "
        "[figure.querySelector('h3').textContent, figure.querySelectorAll('circle').length]))"
    ))  # fmt: skip
    assert ["Final success: difference from grpo, in points", 3] in drawn
    assert ["Area under the learning curve: difference from grpo, in points", 3] in drawn
    assert [title for title, _ in drawn if title.startswith("Performance profile")]
