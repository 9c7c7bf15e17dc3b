"""Sweeps: side by side, resumable, honest about what failed and about ties. Runs are processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: F401  (registers the environment 'toy')
from safetensors.torch import load_file
from typer.testing import CliRunner

from agentbench import UserError
from agentbench.cli import app
from agentbench.train.config import read_config
from agentbench.train.outcomes import read_outcomes
from agentbench.train.run import train
from agentbench.train.sweep import SweepRun, plan_sweep, run_sweep
from agentbench.train.sweep_merge import merge_sweeps
from agentbench.train.sweep_record import read_record, record_plan, spread_of_sweep
from agentbench.train.sweep_summary import render_summary, summarise_sweep, write_summary
from credit import CreditError

SUPPORT = Path(__file__).parent.parent / "support"
MAIN = (
    f"import sys; sys.path.insert(0, {str(SUPPORT)!r}); import toy_environment; from agentbench.cli import main; main()"
)
COMMAND = (sys.executable, "-c", MAIN)
SMALL = {
    "env": "toy",
    "split": "all",
    "env_options": {"tasks": 4, "max_steps": 6},
    "eval_split": "all",
    "eval_tasks": 4,
    "eval_every": 2,
    "group_size": 4,
    "tasks_per_step": 2,
    "steps": 4,
    "learning_rate": 0.01,
    "minibatches": 2,
    "checkpoint_every": 1,
}


def plan(out: Path, schemes: list[str], seeds: int = 1, **settings: Any) -> list[SweepRun]:
    return plan_sweep(None, {**SMALL, **settings}, schemes, seeds, out)


def weights(folder: Path) -> dict[str, bytes]:
    return {name: each.numpy().tobytes() for name, each in load_file(folder / "policy" / "weights.safetensors").items()}


def ignore(run: SweepRun) -> None:
    pass


def test_a_sweep_trains_each_scheme_and_seed_passes_finished_ones_over_and_names_a_failed_one(tmp_path: Path) -> None:
    runs = plan(tmp_path, ["grpo", "gigpo"])
    assert [run.folder.name for run in runs] == ["grpo-0", "gigpo-0"]
    train(runs[0].config, runs[0].folder)
    before = (runs[0].folder / "metrics.jsonl").stat().st_mtime_ns

    # A file where gigpo's checkpoints should go: that run fails, in one line, and the other is left alone.
    runs[1].folder.mkdir()
    (runs[1].folder / "checkpoints").write_text("in the way")
    started: list[str] = []
    ended = list(run_sweep(runs, 2, COMMAND, lambda run: started.append(run.folder.name)))
    assert started == ["gigpo-0"]
    assert [each.run.folder.name for each in ended] == ["gigpo-0"]
    assert ended[0].error.startswith("exit code") and "\n" not in ended[0].error
    assert list(summarise_sweep(runs).runs["scheme"]) == ["grpo"]

    (runs[1].folder / "checkpoints").unlink()
    assert [each.error for each in run_sweep(runs, 2, COMMAND, ignore)] == [""]
    assert list(summarise_sweep(runs).runs["scheme"]) == ["grpo", "gigpo"]
    assert (runs[0].folder / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    slow = {"steps": 5, "env_options": {"tasks": 4, "max_steps": 6, "delay": 0.001}}
    whole, cut = plan(tmp_path / "whole", ["gigpo"], **slow), plan(tmp_path / "cut", ["gigpo"], **slow)
    train(whole[0].config, whole[0].folder)
    script = (
        "from pathlib import Path; from agentbench.train.sweep import plan_sweep, run_sweep; "
        f"runs = plan_sweep(None, { ({**SMALL, **slow})!r}, ['gigpo'], 1, Path({str(tmp_path / 'cut')!r})); "
        f"list(run_sweep(runs, 1, {COMMAND!r}))"
    )
    start = MAIN.replace("from agentbench.cli import main; main()", script)
    process = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 800
    while cut[0].step < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert cut[0].step >= 2
    shutil.rmtree(cut[0].folder / "policy", ignore_errors=True)
    assert [each.error for each in run_sweep(cut, 1, COMMAND, ignore)] == [""]
    assert weights(whole[0].folder) == weights(cut[0].folder)
    rows = [[row["step"] for row in run[0].metrics] for run in (whole, cut)]
    assert rows == [[0, 1, 2, 3, 4, 5]] * 2


def invent(run: SweepRun, success: list[float], used: int, won: list[int]) -> None:
    """Write what a finished run leaves behind: success at the start, in the middle and at the end."""
    (run.folder / "policy").mkdir(parents=True)
    (run.folder / "policy" / "policy.json").write_text("{}")
    rows = [{"step": 0, "eval/success": success[0]}]
    rows += [{"step": 2, "eval/success": success[1], "environment_steps": used, "seconds": 3.0}]
    rows += [{"step": 4, "eval/success": success[2], "environment_steps": used, "seconds": 3.0}]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [
        {"task_id": f"task {number}", "trial": 0, "task_type": "Odd", "outcome": "success" if each else "failure"}
        | {"score": float(each), "steps": 3, "invalid_actions": 0}
        for number, each in enumerate(won)
    ]
    (run.folder / "evaluation.json").write_text(json.dumps({"step": 4, "episodes": tasks}))


def test_the_table_agrees_with_a_calculation_by_hand(tmp_path: Path) -> None:
    runs = plan(tmp_path, ["grpo", "gigpo"], seeds=2)
    by_name = {run.folder.name: run for run in runs}
    invent(by_name["grpo-0"], [0.0, 0.25, 0.25], 100, [1, 0, 0, 0])
    invent(by_name["gigpo-0"], [0.0, 0.5, 0.75], 50, [1, 1, 1, 0])
    invent(by_name["grpo-1"], [0.0, 0.25, 0.5], 100, [1, 1, 0, 0])
    invent(by_name["gigpo-1"], [0.0, 0.5, 1.0], 80, [1, 1, 1, 1])
    found = summarise_sweep(runs)
    schemes = found.schemes.set_index("scheme")
    assert schemes.loc["grpo", "success"] == pytest.approx(0.375)
    assert schemes.loc["gigpo", "success"] == pytest.approx(0.875)
    # The shortest run used 100 steps: there grpo was half way, gigpo-1 a quarter of the way from its middle on.
    equal = found.runs.set_index(["scheme", "seed"])["success_at_equal_steps"]
    assert equal["grpo", 0] == 0.25 and equal["gigpo", 0] == 0.75
    assert equal["gigpo", 1] == pytest.approx(0.5 + 0.5 * (100 - 80) / 80)
    # The areas up to 100 steps: gigpo-0 rises from 0 over 0.5 at 50 steps to 0.75 at 100.
    area = found.runs.set_index(["scheme", "seed"])["area"]
    assert area["gigpo", 0] == pytest.approx((0.25 * 50 + 0.625 * 50) / 100)
    assert area["grpo", 1] == pytest.approx(0.125)
    pairs = found.comparisons.set_index("measure")
    assert list(pairs.index) == ["success", "area"]
    assert pairs.loc["success", "difference"] == pytest.approx(0.5)
    # Pooled over both schemes a seed deviates by 0.125 √2 (2 degrees of freedom): t = 2.83, Student's p = 0.106.
    assert pairs.loc["success", "spread"] == pytest.approx(0.125 * np.sqrt(2))
    assert pairs.loc["success", "p_differs"] == pytest.approx(0.1056, abs=1e-4)
    assert pairs.loc["success", "verdict"] == "not decided" and not pairs.loc["success", "paired"]
    assert pairs.loc["success", "improvement"] == 1.0
    titles = [str(table.title) for table in render_summary(found)]
    assert titles[1].startswith("final success: difference from grpo (seeds pooled; corrected over schemes")
    assert titles[2].startswith("area under the learning curve: difference from grpo")
    paths = write_summary(runs, found, tmp_path)
    names = ["runs.csv", "schemes.csv", "comparisons.csv", "profiles.csv", "curves.parquet", "curve.png", "profile.png"]
    assert [path.name for path in paths] == names
    assert np.allclose(pd.read_csv(paths[0])["success"], found.runs["success"])
    curves = pd.read_parquet(tmp_path / "curves.parquet")
    assert list(curves) == ["environment", "scheme", "seed", "environment_steps", "success", "score"]
    own = curves[(curves["scheme"] == "gigpo") & (curves["seed"] == 1)]
    assert own["environment_steps"].tolist() == [0, 80, 160] and own["success"].tolist() == [0.0, 0.5, 1.0]
    assert set(curves["environment"]) == {"toy"} and len(curves) == 12 and curves["score"].isna().all()


def test_better_a_tie_and_not_decided_are_three_things_and_wait_for_the_last_run(tmp_path: Path) -> None:
    runs = plan(tmp_path, ["grpo", "gigpo", "salt", "mapo"], seeds=6)
    shares = {"grpo": 0.3, "gigpo": 0.9, "salt": 0.301, "mapo": 0.34}
    for run in runs[:-1]:
        share = shares[run.config.scheme] + 0.01 * (-1) ** (run.config.seed + len(run.config.scheme) // 5)
        invent(run, [0.1, 0.2, share], 100, [1, 0])
    early = summarise_sweep(runs).comparisons
    assert set(early["verdict"]) == {"not finished"} and len(early) == 6
    invent(runs[-1], [0.1, 0.2, 0.33], 100, [1, 0])
    found = summarise_sweep(runs).comparisons
    final = found[found["measure"] == "success"].set_index("scheme")["verdict"]
    assert dict(final) == {"gigpo": "better", "salt": "tie", "mapo": "better"}
    wide = summarise_sweep(runs, margin=0.001).comparisons.set_index(["measure", "scheme"])["verdict"]
    assert wide["success", "salt"] == "not decided"


def invent_part(
    out: Path,
    seeds: int,
    first_seed: int = 0,
    policies: Sequence[str] = (),
    schemes: Sequence[str] = ("grpo", "gigpo"),
    controls: Sequence[str] = (),
    **settings: Any,
) -> list[SweepRun]:
    """A finished part of a sweep of two schemes, with its record."""
    runs = plan_sweep(None, {**SMALL, **settings}, schemes, seeds, out, first_seed, None, policies, controls)
    record_plan(out, schemes, [run.config.seed for run in runs[::2]], "success", None, policies, controls)
    for run in runs:
        better = 0.5 if run.config.scheme == "gigpo" else 0.0
        invent(run, [0.1, 0.2, 0.2 + better + 0.01 * (run.config.seed % 3)], 100, [1, 0])
        identity = json.loads(run.config.model_dump_json()) | {"kind": "train"}
        (run.folder / "run.json").write_text(json.dumps({"identity": identity}))
    return runs


def test_parts_of_a_sweep_are_joined_and_decided_together(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    invent_part(first, 3)
    invent_part(second, 3, first_seed=3)
    whole = merge_sweeps([first, second], tmp_path / "whole")
    assert [(run.config.scheme, run.config.seed) for run in whole][:3] == [("grpo", 0), ("gigpo", 0), ("grpo", 1)]
    found = summarise_sweep(whole)
    assert len(found.runs) == 12 and set(found.comparisons["verdict"]) == {"better"}
    record = read_record(tmp_path / "whole")
    assert record is not None and record.seeds == list(range(6)) and record.schemes == ["grpo", "gigpo"]
    assert [run.folder for run in merge_sweeps([first, second], tmp_path / "whole")] == [run.folder for run in whole]

    command = ["sweep", "--merge", str(first), str(second), "--out", str(tmp_path / "whole")]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "120"})
    assert result.exit_code == 0 and "better" in result.output and "not finished" not in result.output
    assert "leave --steps out" in str(CliRunner().invoke(app, [*command, "--steps", "3"]).exception)

    # A part that is not finished leaves the verdict open, and is joined when it is.
    shutil.rmtree(second / "gigpo-5" / "policy")
    partly = merge_sweeps([first, second], tmp_path / "partly")
    assert set(summarise_sweep(partly).comparisons["verdict"]) == {"not finished"}
    (second / "gigpo-5" / "policy").mkdir()
    (second / "gigpo-5" / "policy" / "policy.json").write_text("{}")
    assert set(summarise_sweep(merge_sweeps([first, second], tmp_path / "partly")).comparisons["verdict"]) == {"better"}


def test_seeds_take_turns_in_the_clones_and_the_verdict_says_over_how_many(tmp_path: Path) -> None:
    clones = ["models/a", "models/b", "models/c"]
    runs = invent_part(tmp_path / "a", 4, policies=clones)
    began = {(run.config.scheme, run.config.seed): run.config.policy for run in runs}
    for scheme in ("grpo", "gigpo"):
        assert [began[scheme, seed] for seed in range(4)] == ["models/a", "models/b", "models/c", "models/a"]
    record = read_record(tmp_path / "a")
    assert record is not None and record.policies == clones
    found = summarise_sweep(runs)
    assert set(found.comparisons["clones"]) == {3} and set(found.comparisons["seeds"]) == {4}
    assert "over 3 clones" in str(render_summary(found)[1].title)

    # A part begins where its seeds do, and is joined with the rest; other clones are another sweep.
    (part, *_) = invent_part(tmp_path / "b", 2, first_seed=4, policies=clones)
    assert part.config.policy == "models/b"
    assert len(summarise_sweep(merge_sweeps([tmp_path / "a", tmp_path / "b"], tmp_path / "whole")).runs) == 12
    invent_part(tmp_path / "fewer", 2, first_seed=6, policies=clones[:2])
    with pytest.raises(UserError, match="planned with another policies"):
        merge_sweeps([tmp_path / "a", tmp_path / "fewer"], tmp_path / "out")
    with pytest.raises(UserError, match="repeat it --policies models/a,models/b,models/c"):
        record_plan(tmp_path / "a", ["grpo", "gigpo"], [0, 1, 2, 3], "success", None)
    with pytest.raises(UserError, match="use --policies"):
        plan_sweep(None, {**SMALL, "policy": "models/a"}, ["grpo"], 1, tmp_path / "c", policies=clones)
    with pytest.raises(UserError, match="named twice"):
        plan_sweep(None, SMALL, ["grpo"], 1, tmp_path / "c", policies=["models/a", "models/a"])
    command = ["sweep", "--schemes", "grpo,gigpo", "--seeds", "4", "--policies", ",".join(clones), "--summary"]
    settings = [
        f"--{name.replace('_', '-')}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in SMALL.items()
    ]
    result = CliRunner().invoke(app, [*command, *settings, "--out", str(tmp_path / "a")], env={"COLUMNS": "140"})
    assert result.exit_code == 0, result.exception
    assert "over 3 clones" in result.output and (tmp_path / "a" / "curves.parquet").exists()


def test_what_a_control_plays_to_measure_counts_no_steps(tmp_path: Path) -> None:
    schemes = ["grpo", "vineppo"]

    def parts(out: Path, controls: Sequence[str], seed: int = 0) -> list[SweepRun]:
        runs = invent_part(out, 1, seed, schemes=schemes, controls=controls)
        measuring = runs[1].folder / "metrics.jsonl"
        rows = [json.loads(line) for line in measuring.read_text().splitlines()]
        rows[1:] = [row | {"branch_steps": 300} for row in rows[1:]]
        measuring.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return runs

    # The same curve, a row every 100 steps that it learned from: with 300 more to measure it has come a quarter as far.
    counted = summarise_sweep(parts(tmp_path / "all", [])).runs.set_index("scheme")
    assert counted.loc["vineppo", "environment_steps"] == 4 * counted.loc["grpo", "environment_steps"]
    assert counted.loc["vineppo", "area"] < counted.loc["grpo", "area"]
    free = parts(tmp_path / "free", ["vineppo"])
    found = summarise_sweep(free)
    table = found.runs.set_index("scheme")
    for column in ("environment_steps", "area", "success_at_equal_steps"):
        assert table.loc["vineppo", column] == table.loc["grpo", column]
    write_summary(free, found, tmp_path / "free")
    drawn = pd.read_parquet(tmp_path / "free" / "curves.parquet").groupby("scheme")["environment_steps"].max()
    assert drawn["vineppo"] == drawn["grpo"]

    # Parts are joined with the same controls alone, and these are named before the first run.
    parts(tmp_path / "later", ["vineppo"], 1)
    whole = merge_sweeps([tmp_path / "free", tmp_path / "later"], tmp_path / "whole")
    assert [run.is_control for run in whole] == [False, True, False, True]
    with pytest.raises(UserError, match="another controls"):
        merge_sweeps([tmp_path / "all", tmp_path / "later"], tmp_path / "out")
    with pytest.raises(UserError, match="repeat it --controls vineppo"):
        record_plan(tmp_path / "free", schemes, [0], "success", None)
    for wrong in ("grpo", "gigpo"):
        with pytest.raises(UserError, match=f"--controls {wrong}: a control is one of --schemes, and not the first"):
            plan_sweep(None, SMALL, schemes, 1, tmp_path / "no", controls=[wrong])


def test_what_is_not_one_sweep_is_not_joined(tmp_path: Path) -> None:
    invent_part(tmp_path / "a", 1)
    invent_part(tmp_path / "slower", 1, 1, learning_rate=0.001)
    with pytest.raises(UserError, match=r"other settings \(learning_rate: 0.01 and 0.001\)"):
        merge_sweeps([tmp_path / "a", tmp_path / "slower"], tmp_path / "out")
    invent_part(tmp_path / "again", 1)
    rows = (tmp_path / "again" / "grpo-0" / "metrics.jsonl").read_text()
    (tmp_path / "again" / "grpo-0" / "metrics.jsonl").write_text(
        rows.replace('"eval/success": 0.2,', '"eval/success": 0.9,')
    )
    with pytest.raises(UserError, match="different runs of one scheme and seed"):
        merge_sweeps([tmp_path / "a", tmp_path / "again"], tmp_path / "out")
    with pytest.raises(UserError, match=r"has no sweep\.json"):
        merge_sweeps([tmp_path / "a", tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_named_before_the_first_run_stays(tmp_path: Path) -> None:
    first = record_plan(tmp_path, ["grpo", "gigpo"], [0, 1], "success", 0.04)
    assert first.primary_measures == ["success", "area"] and first.changes == ()
    assert record_plan(tmp_path, ["grpo", "gigpo"], [0, 1], "success", None) == first
    with pytest.raises(UserError, match=r"named before its first run, as 0\.04"):
        record_plan(tmp_path, ["grpo", "gigpo"], [0, 1], "success", 0.1)
    more = record_plan(tmp_path, ["grpo", "gigpo"], [0, 1, 2], "success", None)
    assert more.seeds == [0, 1, 2] and "seed 2" in more.changes[0]
    assert read_record(tmp_path) == more
    (tmp_path / "sweep.json").write_text((tmp_path / "sweep.json").read_text().replace("0.04", "0.2"))
    with pytest.raises(UserError, match="damaged"):
        read_record(tmp_path)


def test_the_next_sweep_is_planned_from_the_spread_of_this_one(tmp_path: Path) -> None:
    runs = invent_part(tmp_path, 6)
    write_summary(runs, summarise_sweep(runs), tmp_path)
    found = spread_of_sweep(tmp_path, "success")
    assert (found.schemes, found.degrees) == (2, 10)
    assert found.spread == pytest.approx(np.std([0, 0.01, 0.02], ddof=0) * np.sqrt(6 / 5))
    result = CliRunner().invoke(app, ["plan", "--seeds", "--sweep", str(tmp_path)], env={"COLUMNS": "160"})
    assert result.exit_code == 0 and "2 schemes, each against the first" in result.output
    with pytest.raises(UserError, match="sum the sweep up first"):
        spread_of_sweep(tmp_path, "score")


def test_scores_can_be_compared_instead_of_successes(tmp_path: Path) -> None:
    runs = plan(tmp_path, ["grpo", "gigpo"], seeds=2)
    for run in runs:
        invent(run, [0.0, 0.0, 0.0], 100, [0, 0])
        better = 0.2 if run.config.scheme == "gigpo" else 0.0
        rows = [row | {"eval/score": 0.5 + better * row["step"] / 4} for row in run.metrics]
        (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        evaluation = json.loads((run.folder / "evaluation.json").read_text())
        for episode in evaluation["episodes"]:
            episode["score"] = 0.5 + better
        (run.folder / "evaluation.json").write_text(json.dumps(evaluation))
    found = summarise_sweep(runs, "score")
    assert found.schemes.set_index("scheme")["score"].to_dict() == pytest.approx({"grpo": 0.5, "gigpo": 0.7})
    pair = found.comparisons.iloc[0]
    assert pair["difference"] == pytest.approx(0.2)
    assert pair["verdict"] == "not decided"  # seeds that all agree to the last digit say nothing of other seeds
    names = [path.name for path in write_summary(runs, found, tmp_path)]
    tables = ["runs-score.csv", "schemes-score.csv", "comparisons-score.csv", "profiles-score.csv"]
    assert names == [*tables, "curves.parquet", "curve-score.png", "profile-score.png"]
    assert "held-out score" in str(render_summary(found)[0].title)


def test_the_last_evaluation_is_stored_task_by_task(tmp_path: Path) -> None:
    run = plan(tmp_path, ["grpo"])[0]
    train(run.config, run.folder)
    outcomes = read_outcomes(run.folder, 4)
    assert outcomes is not None and len(outcomes) == 4
    assert (outcomes["outcome"] == "success").mean() == run.metrics[-1]["eval/success"]
    assert read_outcomes(run.folder, 3) is None


@pytest.mark.parametrize(
    ("schemes", "settings", "message"),
    [
        (["grpo", "grpo"], {}, "'grpo' is named twice"),
        (["grpo"], {"eval_split": None}, "set eval_split"),
        (["grpo"], {"seed": 3}, "--seed is set by the sweep itself: use --seeds"),
        (["gae"], {}, "needs values of states: set value_coefficient"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    tmp_path: Path, schemes: list[str], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan(tmp_path, schemes, **settings)
    with pytest.raises(CreditError, match="did you mean gigpo"):
        plan(tmp_path, ["gigo"])


def test_a_folder_of_another_sweep_is_refused(tmp_path: Path) -> None:
    run = plan(tmp_path, ["grpo"])[0]
    run.folder.mkdir()
    identity = json.loads(run.config.model_dump_json()) | {"kind": "train"}
    (run.folder / "run.json").write_text(json.dumps({"identity": identity}))
    plan(tmp_path, ["grpo"])
    with pytest.raises(UserError, match=r"other settings \(steps: 4 → 9\)"):
        plan(tmp_path, ["grpo"], steps=9)


def test_a_recipe_can_have_settings_for_one_scheme(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('steps = 3\n[schemes.mapo]\nsteps = 5\nscheme_options = { turn_reward = "progress" }\n')
    assert read_config(path, {"scheme": "grpo"}).steps == 3
    found = read_config(path, {"scheme": "mapo"})
    assert (found.steps, found.scheme_options) == (5, {"turn_reward": "progress"})
    assert read_config(path, {"scheme": "mapo", "steps": 7}).steps == 7
    path.write_text("[schemes.mappo]\nsteps = 5\n")
    with pytest.raises(CreditError, match="mapo"):
        read_config(path, {})
