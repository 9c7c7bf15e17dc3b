"""Tuning before a sweep: the same effort for every scheme, apart from what is compared, written down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")


from agentbench import UserError
from agentbench.cli import app
from agentbench.train import sweep as sweeps
from agentbench.train.sweep import Ended, SweepRun, plan_sweep
from agentbench.train.sweep_record import read_record, record_plan
from agentbench.train.sweep_tuning import FIRST_SEED, choose, plan_tuning, read_grid, record_tuning

FINAL = {"env": "alfworld", "split": "generated:0:4:small", "eval_split": "generated:9:3:small", "steps": 4}
OWN = {"split": "generated:5:4:small", "eval_split": "generated:6:3:small"}
SCHEMES = ["grpo", "gigpo"]
BEST = {"grpo": "0.003", "gigpo": "0.01"}


def tuning(out: Path, **settings: Any) -> list[SweepRun]:
    final = plan_sweep(None, FINAL, SCHEMES, 2, out)
    grid = read_grid(["learning_rate=0.001,0.003,0.01"])
    return plan_tuning(None, {**FINAL, **OWN, **settings}, SCHEMES, grid, 2, out, final)


def test_a_grid_has_every_combination_in_order() -> None:
    grid = read_grid(["learning-rate=1e-4, 1e-3", "whiten_advantages=false,true"])
    assert [tuple(each.values()) for each in grid] == [
        ("1e-4", "false"), ("1e-4", "true"), ("1e-3", "false"), ("1e-3", "true"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["learning_rat=1,2"], "learning_rate"),
        (["learning_rate=1e-3"], "two values or more"),
        (["learning_rate=1,2", "learning_rate=3,4"], "name a setting once"),
        (["seed=1,2"], "it says what is compared"),
    ],
)
def test_what_is_no_grid_is_told(options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_grid(options)


def test_every_scheme_gets_the_same_settings_and_seeds_and_none_of_the_comparison(tmp_path: Path) -> None:
    runs = tuning(tmp_path)
    effort = {
        scheme: [(run.config.learning_rate, run.config.seed) for run in runs if run.config.scheme == scheme]
        for scheme in SCHEMES
    }
    assert effort["grpo"] == effort["gigpo"] and len(set(effort["grpo"])) == 6
    assert {run.config.seed for run in runs} == {FIRST_SEED, FIRST_SEED + 1}
    assert len({run.folder for run in runs}) == 12
    for shared in ({"split": FINAL["split"]}, {"split": FINAL["eval_split"]}, {"eval_split": FINAL["eval_split"]}):
        with pytest.raises(UserError, match="also tasks of the comparison"):
            tuning(tmp_path, **shared)


def test_the_best_setting_of_each_scheme_is_chosen_and_written_down(tmp_path: Path) -> None:
    record_plan(tmp_path, SCHEMES, [0, 1], "success", None)
    grid, runs = read_grid(["learning_rate=0.001,0.003,0.01"]), tuning(tmp_path)
    plan = {"grid": grid, "seeds": 2, **OWN}
    record_tuning(tmp_path, plan)
    record_tuning(tmp_path, plan)
    with pytest.raises(UserError, match="with other seeds"):
        record_tuning(tmp_path, {**plan, "seeds": 3})
    for run in runs:
        invent_for(run)
    chosen = choose(tmp_path, runs, grid, "success")
    assert chosen == {scheme: {"learning_rate": rate} for scheme, rate in BEST.items()}
    record = read_record(tmp_path)
    assert record is not None and record.tuning["chosen"] == chosen
    tried = record.tuning["tried"]["grpo"]
    assert [each["learning_rate"] for each in tried] == ["0.001", "0.003", "0.01"]
    assert max(tried, key=lambda each: each["area"])["learning_rate"] == "0.003"
    record_tuning(tmp_path, plan)  # the same command later is let in, and forgets nothing
    assert read_record(tmp_path) == record


def invent_for(run: SweepRun) -> None:
    """Make up a finished run that is good with its scheme's best learning rate."""
    is_best = float(BEST[run.config.scheme]) == run.config.learning_rate
    last = (0.8 if is_best else 0.3) + 0.01 * (run.config.seed % 2)
    (run.folder / "policy").mkdir(parents=True)
    (run.folder / "policy" / "policy.json").write_text("{}")
    curve = {0: 0.0, run.config.steps // 2: last / 2, run.config.steps: last}
    rows = [{"step": step, "eval/success": found, "environment_steps": 100 * step} for step, found in curve.items()]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_command_tunes_then_compares_with_what_was_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def stand_in(runs: Sequence[SweepRun], jobs: int, **_: Any) -> Iterator[Ended]:
        for run in runs:
            if not run.is_finished:
                invent_for(run)
                trained.append(str(run.folder.relative_to(tmp_path)))
                yield Ended(run, "")

    monkeypatch.setattr(sweeps, "run_sweep", stand_in)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in FINAL.items()]
    command = ["sweep", "--schemes", "grpo,gigpo", "--seeds", "2", "--out", str(tmp_path), *flags]
    tune = ["--tune", "learning_rate=0.001,0.003,0.01", "--tune-seeds", "2"]
    result = CliRunner().invoke(app, [*command, *tune])
    assert "give --tune-split and --tune-eval-split" in str(result.exception)
    tasks = ["--tune-split", OWN["split"], "--tune-eval-split", OWN["eval_split"]]
    result = CliRunner().invoke(app, [*command, *tune, *tasks], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert len(trained) == 12 + 4 and trained[-4:] == ["grpo-0", "gigpo-0", "grpo-1", "gigpo-1"]
    # What was chosen is what was compared: both schemes at their best, so both end at 0.8.
    assert json.loads((tmp_path / "sweep.json").read_text())["tuning"]["chosen"]["gigpo"] == {"learning_rate": "0.01"}
    assert (tmp_path / "runs.csv").read_text().count("0.8") >= 4
    again = CliRunner().invoke(app, [*command, *tune, *tasks], env={"COLUMNS": "160"})
    assert again.exit_code == 0 and len(trained) == 16
    shorter = CliRunner().invoke(app, [*command, *tune, *tasks, "--tune-steps", "2"])
    assert "with other steps" in str(shorter.exception)


def test_a_tuning_may_train_for_fewer_steps_than_what_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: dict[str, int] = {}

    def stand_in(runs: Sequence[SweepRun], jobs: int, **_: Any) -> Iterator[Ended]:
        for run in runs:
            planned[str(run.folder.relative_to(tmp_path))] = run.config.steps
            invent_for(run)
            yield Ended(run, "")

    monkeypatch.setattr(sweeps, "run_sweep", stand_in)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in {**FINAL, "tune_steps": 2}.items()]
    own = [f"--tune-{name.replace('_', '-')}={value}" for name, value in OWN.items()]
    command = ["sweep", "--schemes", "grpo,gigpo", "--seeds", "1", "--out", str(tmp_path), *flags, *own]
    result = CliRunner().invoke(app, [*command, "--tune", "learning_rate=0.003,0.01", "--tune-seeds", "1"])
    assert result.exit_code == 0, result.output
    assert {name: steps for name, steps in planned.items() if steps != 2} == {"grpo-0": 4, "gigpo-0": 4}
    assert json.loads((tmp_path / "sweep.json").read_text())["tuning"]["steps"] == "2"
