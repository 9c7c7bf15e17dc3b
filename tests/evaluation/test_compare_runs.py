"""Comparison of runs: by hand, against exact tests, and through the command."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import t as student
from typer.testing import CliRunner

from agentbench.cli.commands.compare_runs import compare_runs
from agentbench.evaluation.compare_runs import compare, compare_with_baseline, comparison_table, task_table
from agentbench.runs.episodes import Episode
from agentbench.runs.writer import RunWriter
from agentbench.statistics import holm
from envs.base.errors import UserError

LETTERS = {"s": "success", "f": "failure", "e": "error"}


def episodes(tasks: dict[str, str]) -> pd.DataFrame:
    """Make a run: ``{"task": "sfe"}`` is a task with three trials."""
    return pd.DataFrame(
        {
            "task_id": task,
            "trial": trial,
            "task_type": "pick",
            "outcome": LETTERS[letter],
            "won": letter == "s",
            "score": {"s": 1.0, "f": 0.25, "e": math.nan}[letter],
            "steps": 5,
            "invalid_actions": 0,
        }
        for task, letters in tasks.items()
        for trial, letter in enumerate(letters)
    )


def panel(letters: str) -> pd.DataFrame:
    """Make a run of one trial a task: a letter a task."""
    return episodes({f"task{i:03}": letter for i, letter in enumerate(letters)})


def test_one_trial_by_hand():
    # 10 tasks: 2 won by both, 5 by B alone, 1 by A alone, 2 by neither.
    result = compare(panel("ssfffffsff"), panel("sssssssfff"), names=("old", "new"))
    assert (result.baseline, result.other, result.test) == ("old", "new", "exact McNemar")
    assert (result.baseline_mean, result.other_mean) == pytest.approx((0.3, 0.7))
    assert result.difference == pytest.approx(0.4)
    assert (result.better, result.worse, len(result.flips)) == (5, 1, 6)
    assert result.p_value == result.p_adjusted == pytest.approx(binomtest(1, 6).pvalue)
    # Differences: 5 times 1, once -1, 4 times 0: variance (6 - 10 · 0.16) / 9.
    assert result.standard_error == pytest.approx(math.sqrt(4.4 / 9 / 10))
    # Agresti and Min: two tasks more, squares one more; Student's quantile for 9 degrees of freedom.
    centre, spread = 4 / 12, 7 / 12 - (4 / 12) ** 2
    assert result.low == pytest.approx(centre - 2.262157 * math.sqrt(spread / 12))
    assert result.high == pytest.approx(centre + 2.262157 * math.sqrt(spread / 12))


def test_flips_are_listed_largest_first_and_say_what_changed():
    a = episodes({"a": "ffff", "b": "ssss", "c": "sfsf", "d": "ffff"})
    b = episodes({"a": "fffs", "b": "ssss", "c": "sfff", "d": "ssss"})
    flips = compare(a, b).flips
    assert list(flips["task_id"]) == ["d", "a", "c"]
    assert list(flips["difference"]) == [1.0, 0.25, -0.25]
    assert list(flips["baseline"]) == [0.0, 0.0, 0.5] and set(flips["task_type"]) == {"pick"}


def test_several_trials_enumerate_the_signs():
    a = episodes({"a": "ff", "b": "sf", "c": "sf", "d": "ss"})
    b = episodes({"a": "ss", "b": "ss", "c": "ss", "d": "ss"})
    result = compare(a, b)
    # Differences 2, 1, 1 and 0 halves: of the 8 signs only +++ and --- reach 4.
    assert result.p_value == pytest.approx(2 / 8) and result.test == "exact sign flip"


def test_unequal_trials_compare_means_of_tasks():
    a = episodes({"a": "sf", "b": "ff", "c": "ss"})
    b = episodes({"a": "ssf", "b": "sff", "c": "sss"})
    result = compare(a, b)
    assert result.difference == pytest.approx((1 / 6 + 1 / 3 + 0) / 3)
    # Agresti and Min's two tasks more make the centre 0.1. The noise of trials is more than the spread of tasks: s² of
    # both runs' five trials is 0.3, 0.2 and 0.
    assert result.p_value == pytest.approx(2 * student.sf(0.1 / math.sqrt(0.5 * (1 / 2 + 1 / 3) / 9), 2))
    assert result.low < 0 < result.high and result.test == "Student, numbers of trials differ"
    # The same share of successes is no change, in whatever number of trials.
    assert compare(episodes({"a": "sff", "b": "s"}), episodes({"a": "sffsff", "b": "ss"})).flips.empty


def test_tasks_with_errors_are_left_out_of_both_runs_and_named():
    a = episodes({"a": "ss", "b": "se", "c": "ff", "d": "ff"})
    b = episodes({"a": "ss", "b": "ss", "c": "ss", "d": "ee"})
    result = compare(a, b)
    assert result.dropped == ["b", "d"] and sorted(result.tasks["task_id"]) == ["a", "c"]
    assert (result.baseline_mean, result.other_mean) == (0.5, 1.0)
    with pytest.raises(UserError, match="no task is left"):
        compare(episodes({"a": "e", "b": "s"}), episodes({"a": "s", "b": "e"}))


def test_different_tasks_are_refused_with_what_differs():
    with pytest.raises(UserError) as error:
        compare(panel("sss"), panel("sssss").assign(trial=0).iloc[1:], names=("old", "new"))
    text = str(error.value)
    assert "1 only in old (task000)" in text and "2 only in new (task003, task004)" in text and "2 in both" in text


def test_scores_are_compared_as_scores():
    a, b = panel("ffffffff"), panel("sssffffs")
    result = compare(a, b, measure="score")
    assert result.difference == pytest.approx(0.75 / 2) and result.measure == "score"
    assert result.p_value == pytest.approx(2 / 2**4)
    with pytest.raises(UserError, match="success or score"):
        compare(a, b, measure="reward")  # type: ignore[arg-type]


def test_several_runs_are_corrected_together():
    base = panel("f" * 30)
    others = {"much": panel("s" * 10 + "f" * 20), "some": panel("s" * 6 + "f" * 24), "none": base}
    results = compare_with_baseline(("base", base), others)
    assert [result.other for result in results] == ["much", "some", "none"]
    p_values = [result.p_value for result in results]
    assert [result.p_adjusted for result in results] == pytest.approx(list(holm(p_values)))
    assert results[0].p_adjusted == pytest.approx(3 * results[0].p_value)
    assert results[2].p_value == 1.0
    assert list(comparison_table(results)["tasks"]) == [30, 30, 30]
    assert len(task_table(results)) == 90


runs = st.lists(st.tuples(st.text("sf", min_size=1, max_size=4), st.text("sf", min_size=1, max_size=4)), min_size=1,
                max_size=20)  # fmt: skip


@settings(deadline=None)
@given(runs, st.sampled_from(["success", "score"]))
def test_comparing_the_other_way_round_turns_the_sign(pairs, measure):
    a, b = (episodes({f"t{i}": pair[side] for i, pair in enumerate(pairs)}) for side in (0, 1))
    forward, backward = compare(a, b, measure=measure), compare(b, a, measure=measure)
    assert backward.difference == -forward.difference
    assert (-backward.high, -backward.low) == pytest.approx((forward.low, forward.high))
    assert forward.low <= forward.difference <= forward.high
    assert backward.p_value == pytest.approx(forward.p_value) and 0 < forward.p_value <= 1
    assert (backward.better, backward.worse) == (forward.worse, forward.better)


def test_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    frames = [
        episodes({f"t{i}": "".join(rng.choice(["s", "f"], size=3)) for i in range(40)}).assign(
            score=lambda f: rng.random(len(f))
        )
        for _ in range(2)
    ]
    straight = compare(*frames, measure="score")
    shuffled = compare(*(frame.sample(frac=1, random_state=1) for frame in frames), measure="score")
    pd.testing.assert_frame_equal(straight.tasks, shuffled.tasks)
    assert (straight.p_value, straight.low) == (shuffled.p_value, shuffled.low)


# --- agentbench compare-runs -------------------------------------------------------------------------------------


@pytest.fixture
def run_compare(monkeypatch, tmp_path):
    """Return a function that runs the command on runs given by name."""

    def run(frames: dict[str, pd.DataFrame], *arguments: str):
        for name in frames:
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        folders = {(tmp_path / name).resolve(): frame for name, frame in frames.items()}
        monkeypatch.setattr(
            "agentbench.runs.run.open_run",
            lambda folder: SimpleNamespace(identity={}, config={}, episodes=folders[folder.resolve()]),
        )
        app = typer.Typer()
        app.command()(compare_runs)
        return CliRunner().invoke(app, [*(str(tmp_path / name) for name in frames), *arguments], env={"COLUMNS": "120"})

    return run


def test_command_prints_and_writes_the_comparison(run_compare, tmp_path):
    frames = {"base": panel("ssfffffsffe"), "[new]": panel("sssssssffss"), "same": panel("ssfffffsffs")}
    result = run_compare(frames, "--out", str(tmp_path / "diff.csv"), "--tasks-out", str(tmp_path / "tasks.csv"))
    assert result.exit_code == 0, result.exception
    for words in (
        "[new]",
        "+50.0",
        "p (Holm)",
        "exact McNemar",
        "left out: 1 task with",
        "task010",
        "failure",
        "success",
    ):
        assert words in result.output
    table = pd.read_csv(tmp_path / "diff.csv")
    assert list(table["other"]) == ["[new]", "same"] and list(table["tasks_dropped"]) == [1, 1]
    tasks = pd.read_csv(tmp_path / "tasks.csv")
    assert len(tasks) == 20 and set(tasks["other_run"]) == {"[new]", "same"}


def test_command_reads_runs_from_disk(tmp_path):
    for name, wins in (("base", 3), ("trained", 9)):
        with RunWriter(tmp_path / name, {"policy": name}, {}) as writer:
            for i in range(12):
                won = i < wins
                outcome = "success" if won else "failure"
                writer.add(
                    Episode(f"t{i:02}", f"kitchen-{i}", "pick", "tidy up", 0, outcome, won, float(won), steps=[])
                )
            writer.close_tables()
    app = typer.Typer()
    app.command()(compare_runs)
    result = CliRunner().invoke(app, [str(tmp_path / "base"), str(tmp_path / "trained")], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.exception
    assert "+50.0" in result.output and "kitchen-3" in result.output and "t03" not in result.output


def test_command_cuts_long_lists(run_compare):
    result = run_compare({"a": panel("f" * 9), "b": panel("s" * 9)}, "--changes", "4")
    assert "and 5 more" in result.output and result.output.count("task00") == 4


def test_command_tells_runs_of_one_name_apart(run_compare):
    result = run_compare({"one/run": panel("ff"), "two/run": panel("sf")})
    assert result.exit_code == 0, result.exception


@pytest.mark.parametrize(
    ("names", "arguments", "words"),
    [
        (["a"], [], "two runs or more"),
        (["a", "b"], ["--measure", "scor"], "did you mean score"),
        (["a", "b"], ["--confidence", "95"], "confidence"),
        (["a", "b"], ["--out", "/nowhere/diff.csv"], "no folder"),
    ],
)
def test_command_refuses_what_it_cannot_do(run_compare, names, arguments, words):
    result = run_compare({name: panel("sf") for name in names}, *arguments)
    assert result.exit_code != 0 and not isinstance(result.exception, (ValueError, KeyError, OSError))
    assert words in f"{result.exception} {result.output}"


def test_command_refuses_the_same_run_twice(run_compare, tmp_path):
    result = run_compare({"a": panel("sf")}, str(tmp_path / "a"))
    assert isinstance(result.exception, UserError) and "twice" in str(result.exception)


def test_different_numbers_of_trials_are_tested_by_the_interval_with_the_noise_of_both_runs():
    # The lone trials all succeeded, so the spread of differences alone is small.
    a = episodes({f"t{i}": "s" for i in range(20)})
    b = episodes({f"t{i}": "sssssssf" if i < 8 else "ssssssss" for i in range(20)})
    found = compare(a, b)
    assert found.test == "Student, numbers of trials differ"
    assert found.p_value > 0.05 and found.low < 0 < found.high
    assert compare(b, a).p_value == pytest.approx(found.p_value)


def test_scenarios_are_the_unit_of_interval_and_test():
    # Six scenarios whose three variants end alike: B wins four of them and A none.
    names = [f"{scenario}_{variant}" for scenario in range(6) for variant in (1, 2, 3)]
    a = episodes(dict.fromkeys(names, "f"))
    b = episodes({name: "s" if int(name[0]) < 4 else "f" for name in names})
    a = a.assign(scenario=a["task_id"].str[0])
    found, by_task = compare(a, b, cluster="scenario"), compare(a, b)
    assert found.clusters == 6 and by_task.clusters is None and len(found.tasks) == 18
    assert found.p_value == pytest.approx(2 / 2**4) and by_task.p_value < 0.001
    assert found.difference == by_task.difference and found.high - found.low > 1.5 * (by_task.high - by_task.low)
    assert comparison_table([found]).loc[0, "clusters"] == 6


def test_clusters_of_one_task_change_nothing_and_a_missing_column_is_named():
    a, b = panel("ssfffffsff"), panel("sssssssfff")
    single = compare(a.assign(own=a["task_id"]), b, cluster="own")
    plain = compare(a, b)
    assert (single.low, single.high, single.p_value) == pytest.approx((plain.low, plain.high, plain.p_value))
    assert single.standard_error == pytest.approx(plain.standard_error)
    with pytest.raises(UserError, match="no column 'scenario' to cluster by"):
        compare(a, b, cluster="scenario")
