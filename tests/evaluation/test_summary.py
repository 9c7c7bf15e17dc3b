"""Summaries of runs, by cases worked by hand; the tables and the picture show them."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from matplotlib.image import imread
from rich.console import Console

from agentbench.evaluation.summary import summarise
from agentbench.evaluation.views import plot_summaries, render
from agentbench.statistics import rate_interval, wilson
from envs.base.errors import UserError

LETTERS = {"s": "success", "f": "failure", "e": "error"}


def episodes(tasks: dict[str, str], **types: str) -> pd.DataFrame:
    """Make a run: ``{"task": "sfe"}`` is a task with three trials, of type "pick" unless ``task="heat"`` is given."""
    return pd.DataFrame(
        {
            "task_id": task,
            "trial": trial,
            "task_type": types.get(task, "pick"),
            "outcome": LETTERS[letter],
            "won": letter == "s",
            "score": {"s": 1.0, "f": 0.25, "e": math.nan}[letter],
            "steps": 10 + trial,
            "invalid_actions": trial,
        }
        for task, letters in tasks.items()
        for trial, letter in enumerate(letters)
    )


def shown(renderable, width=100) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_one_trial_a_task_by_hand():
    summary = summarise(episodes({"a": "s", "b": "f", "c": "s", "d": "s"}, d="heat"))
    overall, heat, pick = (row for _, row in summary.rates.iterrows())
    assert (overall.task_type, heat.task_type, pick.task_type) == ("overall", "heat", "pick")
    assert (overall.tasks, overall.episodes, overall.errors, pick.tasks) == (4, 4, 0, 3)
    assert overall.success_rate == 0.75 and heat.success_rate == 1 and pick.success_rate == pytest.approx(2 / 3)
    assert (overall.success_low, overall.success_high) == pytest.approx(wilson(0.75, 4))
    assert overall.mean_score == pytest.approx((3 + 0.25) / 4)
    assert overall.mean_steps == 10 and overall.invalid_action_share == 0
    assert summary.passes.empty and "pass_at_k" in summary.passes


def test_errors_are_no_failures_and_are_bounded():
    # Scored: a 1 of 1, b 0 of 2, c nothing. As failures: 1/2, 0, 0. As successes: 1, 0, 1.
    overall = summarise(episodes({"a": "se", "b": "ff", "c": "ee"})).overall
    assert (overall.tasks, overall.tasks_scored, overall.episodes, overall.errors) == (3, 2, 6, 3)
    assert overall.success_rate == 0.5
    assert overall.worst_rate == pytest.approx(1 / 6) and overall.best_rate == pytest.approx(2 / 3)
    assert overall.mean_steps == pytest.approx((10 + 10 + 11) / 3)
    assert overall.invalid_action_share == pytest.approx(1 / 31)


def test_every_task_counts_the_same_whatever_was_lost_to_errors():
    overall = summarise(episodes({"a": "seee", "b": "ffff"})).overall
    assert overall.success_rate == 0.5
    expected = rate_interval([1, 0], [1, 4])
    assert (overall.success_low, overall.success_high) == (expected.low, expected.high)


def test_passes_by_hand_with_unequal_trials():
    # a: 2 of 3, b: 0 of 2 scored, c: 3 of 3.
    passes = summarise(episodes({"a": "ssf", "b": "ffe", "c": "sss"})).passes
    overall = passes[passes["task_type"] == "overall"].set_index("k")
    assert list(overall.index) == [1, 2, 3] and list(overall["tasks"]) == [3, 3, 2]
    assert list(overall["pass_at_k"]) == pytest.approx([5 / 9, (1 + 0 + 1) / 3, 1])
    assert list(overall["pass_hat_k"]) == pytest.approx([5 / 9, (1 / 3 + 0 + 1) / 3, 1 / 2])
    for name in ("pass_at_k", "pass_hat_k"):
        assert (overall[f"{name}_low"] <= overall[name]).all() and (overall[name] <= overall[f"{name}_high"]).all()


def test_pass_at_one_is_the_success_rate_with_its_interval():
    summary = summarise(episodes({"a": "ssff", "b": "fffs", "c": "sssf", "d": "sesf"}))
    first, overall = summary.passes.iloc[0], summary.overall
    for name in ("pass_at_k", "pass_hat_k"):
        assert first[name] == pytest.approx(overall.success_rate)
        assert first[f"{name}_low"] == pytest.approx(overall.success_low)


def test_nothing_scored_says_nothing():
    overall = summarise(episodes({"a": "ee", "b": "e"})).overall
    assert math.isnan(overall.success_rate) and (overall.success_low, overall.success_high) == (0, 1)
    assert (overall.worst_rate, overall.best_rate) == (0, 1)
    assert "–" in shown(render(summarise(episodes({"a": "ee", "b": "e"}))))


def test_order_of_rows_does_not_matter():
    frame = episodes({"a": "sf", "b": "fe", "c": "ss", "d": "fs"}, b="heat")
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(summarise(frame).rates, summarise(shuffled).rates)
    pd.testing.assert_frame_equal(summarise(frame).passes, summarise(shuffled).passes)


def test_families_of_tasks_widen_the_interval():
    tasks = {f"{scenario}_{variant}": "s" if scenario < 6 else "f" for scenario in range(12) for variant in range(3)}
    frame = episodes(tasks)
    frame["scenario"] = frame["task_id"].str.split("_").str[0]
    alone, families = summarise(frame).overall, summarise(frame, cluster="scenario").overall
    assert alone.success_rate == families.success_rate == 0.5
    # Three variants that always end alike are worth one task.
    assert (families.success_low, families.success_high) == pytest.approx(wilson(0.5, 12))
    assert families.success_high > alone.success_high
    with pytest.raises(UserError, match="no column 'scene'"):
        summarise(frame, cluster="scene")
    torn = pd.concat([frame, frame.assign(trial=1, scenario="another")])
    with pytest.raises(UserError, match="several"):
        summarise(torn, cluster="scenario")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns="score"), "no column score"),
        (lambda f: f.iloc[:0], "no finished episodes"),
        (lambda f: f.assign(outcome="sucess"), "did you mean success"),
        (lambda f: pd.concat([f, f]), "twice"),
        (lambda f: f.assign(task_type=[str(i) for i in range(len(f))]), "more than one task_type"),
        (lambda f: f.assign(score=40.0), "score of 40"),
    ],
)
def test_a_table_that_is_not_one_of_episodes_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        summarise(change(episodes({"a": "sf", "b": "ss"})))


def test_table_shows_rates_intervals_and_errors():
    text = shown(render(summarise(episodes({"a": "sse", "b": "fff", "[c]": "sss"}, a="[heat]")), title="[my] run"))
    summary = summarise(episodes({"a": "sse", "b": "fff", "[c]": "sss"}, a="[heat]"))
    low, high = 100 * summary.overall.success_low, 100 * summary.overall.success_high
    assert f"66.7 [{low:.1f}, {high:.1f}]" in text
    assert "[my] run" in text and "[heat]" in text
    assert "1 of 9 episodes ended in an error" in text and "55.6%" in text and "66.7%" in text
    assert "pass@k" in text and "pass^k" in text
    assert "score" in text


def test_table_leaves_out_scores_that_repeat_the_successes():
    frame = episodes({"a": "s", "b": "f"})
    frame["score"] = frame["won"].astype(float)
    assert "score" not in shown(render(summarise(frame)))


def test_table_fits_a_terminal_of_eighty_columns():
    text = shown(render(summarise(episodes({"a": "sse", "b": "fff"}, a="pick_cool_then_place_in_recep"))), width=80)
    assert "…" not in text and max(map(len, text.splitlines())) <= 80


def test_many_trials_list_powers_of_two():
    table = shown(render(summarise(episodes({"a": "s" * 10 + "f" * 10, "b": "f" * 20}))))
    shown_k = [int(line.split()[0]) for line in table.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert shown_k == [1, 2, 4, 8, 16, 20]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_picture_is_drawn(tmp_path, suffix):
    one = summarise(episodes({"a": "sf", "b": "ff", "c": "ss"}, b="heat"))
    none = summarise(episodes({"a": "ee", "b": "ee", "c": "ee"}, b="cool"))
    path = tmp_path / "new" / f"rates.{suffix}"
    plot_summaries({"_$one$": one, "two": one, "none": none}, path)
    assert path.stat().st_size > 2000
    if suffix == "png":
        pixels = imread(path)
        assert (pixels[..., :3] < 0.9).any() and pixels.shape[1] > 800


def test_picture_that_cannot_be_drawn_is_refused(tmp_path):
    summary = summarise(episodes({"a": "s"}))
    with pytest.raises(UserError, match=r"\.png"):
        plot_summaries({"one": summary}, tmp_path / "rates.bmp")
    with pytest.raises(UserError, match="1 to 7 runs"):
        plot_summaries({}, tmp_path / "rates.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        plot_summaries({"one": summary}, tmp_path / "file" / "rates.png")
