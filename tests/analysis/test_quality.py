"""Measures of quality: controls of known quality, recorded metrics, noise that is taken off, sweeps."""

import gzip
import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from agentbench.analysis.quality.measures import MEASURES, measure
from agentbench.analysis.quality.sample import Sample, estimate, features_of, run_sample
from agentbench.analysis.quality.sweeps import SWEEPS, sweep
from agentbench.analysis.quality.table import Quality
from agentbench.analysis.quality.table import number as printed
from agentbench.analysis.quality.tabular import problem_sample, scheme_table, with_truth
from agentbench.analysis.truth.problems import PROBLEMS, Problem, make_problem
from agentbench.analysis.truth.run import make_truth
from agentbench.analysis.truth.tabular import TabularEpisodes
from agentbench.cli import app
from credit.tools.exact import Process, solve
from credit.verification.exact_checks import SCORED, process_deviations
from envs.base.errors import UserError


@pytest.fixture(scope="module")
def sample():
    return problem_sample(make_problem("key-door"), 8, 60)


def values(sample, x):
    return {name: one.estimate for name, one in measure(sample, x, replicates=50).items()}


# -- controls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_truth_itself_is_perfect(name):
    sample = problem_sample(make_problem(name), 8, 60)
    found = measure(sample, 3 * sample.truth)
    for measured in ("pearson", "spearman", "sign", "sign_success", "sign_failure"):
        assert found[measured].estimate == pytest.approx(1)
    assert found["error"].estimate == pytest.approx(0, abs=1e-9)
    assert found["bias"].estimate == pytest.approx(0, abs=1e-9)
    assert found["cosine"].estimate == pytest.approx(1, abs=0.02)
    assert found["cosine"].low <= found["cosine"].estimate <= found["cosine"].high
    assert found["cosine_mean"].estimate > 0.97


def test_the_opposite_is_the_opposite(sample):
    good, bad = values(sample, sample.truth), values(sample, -sample.truth)
    for measured in ("pearson", "spearman", "cosine", "cosine_mean", "cosine_group"):
        assert bad[measured] == pytest.approx(-good[measured])
    assert bad["sign"] == 0
    assert bad["snr"] == pytest.approx(good["snr"])


def test_silence_says_nothing(sample):
    found = values(sample, np.zeros_like(sample.truth))
    assert found["error"] == found["bias"] == 1
    assert found["zeros"] == 1 and math.isnan(found["sign"])
    others = set(MEASURES) - {"error", "bias", "zeros", "sign", "sign_success", "sign_failure"}
    assert all(found[name] == 0 for name in others)


def test_noise_has_no_direction(sample):
    found = measure(sample, np.random.default_rng(0).normal(size=len(sample.truth)))
    assert abs(found["pearson"].estimate) < 0.05
    assert found["pearson"].low < 0.02 and found["pearson"].high > -0.02
    assert found["sign"].estimate == pytest.approx(0.5, abs=0.03)
    assert math.isnan(found["cosine"].estimate)
    assert abs(found["cosine_group"].estimate) < 0.2
    assert found["snr"].estimate < 0.05


def test_nothing_depends_on_the_scale(sample):
    x, _ = estimate(sample, "gigpo")
    assert values(sample, 17 * x) == pytest.approx(values(sample, x))


def test_bias_is_told_from_variance(sample):
    """A constant factor a cell is bias and no variance; noise of every step is variance and no bias."""
    _, cell = np.unique(sample.cell, return_inverse=True)
    factor = np.random.default_rng(1).uniform(0, 2, cell.max() + 1)[cell]
    found = values(sample, factor * sample.truth)
    # by hand: 1 - (sum f A²)² / (sum f² A² sum A²), over the cells that two groups visited
    groups = np.array([len(set(sample.group[cell == one])) for one in range(cell.max() + 1)])
    kept = groups[cell] >= 2
    square, f = sample.truth[kept] ** 2, factor[kept]
    expected = 1 - (f * square).sum() ** 2 / ((f**2 * square).sum() * square.sum())
    assert found["bias"] == pytest.approx(expected, rel=1e-6)
    assert found["variance"] == pytest.approx(0, abs=1e-6)
    noise = np.random.default_rng(2).normal(size=len(square) + (~kept).sum()) * np.sqrt((sample.truth**2).mean())
    noisy = values(sample, sample.truth + noise)
    assert noisy["bias"] == pytest.approx(0, abs=0.05)
    assert noisy["variance"] == pytest.approx(1, rel=0.25)


def test_noise_of_few_groups_is_taken_off_the_cosine():
    """GRPO's expected gradient points the exact way where all is observed; the mean of few groups does not."""
    sample = problem_sample(make_problem("chain"), 4, 60, seed=5)
    found = measure(sample, estimate(sample, "rloo")[0])
    assert found["cosine_mean"].estimate < found["cosine"].estimate
    assert found["cosine"].high > 0.99


@pytest.mark.parametrize("scheme", ["grpo", "gae", "constant"])
@pytest.mark.parametrize("groups", [1, 6])
def test_without_the_exact_gradient_the_cosine_is_that_with_it(scheme, groups):
    """Held against the truth of the same steps it would be higher by 0.05 to 0.08, and 0.19 for a constant."""
    found = {"known": [], "stored": []}
    for seed in range(60 // groups):
        sample = problem_sample(make_problem("chain"), 8, groups, seed=seed)
        x = np.full(len(sample.truth), -1.0) if scheme == "constant" else estimate(sample, scheme)[0]
        for name, one in (("known", sample), ("stored", replace(sample, reference=None))):
            found[name].append(measure(one, x, replicates=1)["cosine_group"].estimate)
    assert np.mean(found["stored"]) == pytest.approx(np.mean(found["known"]), abs=0.04 if scheme != "constant" else 0.1)


def test_a_constant_is_shown_beside_the_schemes(sample):
    found = Quality()
    found.add(sample, [])
    table = found.main().set_index("scheme")
    assert list(table.index) == ["exact", "random", "constant"]
    assert abs(table.loc["constant", "cosine_group"]) < 0.2 and table.loc["constant", "pearson"] == 0


def test_steps_without_credit_are_counted_apart_from_wrong_signs(sample):
    half = np.arange(len(sample.truth)) % 2 == 0
    found = values(sample, np.where(half, sample.truth, 0.0))
    assert found["sign"] == found["sign_success"] == 1
    clear = np.abs(sample.truth) > 0.02
    assert found["zeros"] == pytest.approx(1 - half[clear].mean())


def of_several_tasks(tasks, draw):
    """A sample of one group of six episodes a task, and an estimate that is good in some tasks and poor in others."""
    rows, task = tasks * 30, np.repeat(np.arange(tasks), 30)
    observation, action = draw.integers(0, 3, rows), draw.integers(0, 2, rows)
    value = draw.normal(size=(tasks, 3, 2))
    truth = (value - value.mean(axis=2, keepdims=True))[task, observation, action]
    luck = np.repeat(draw.normal(size=tasks * 6), 5)
    x = draw.uniform(0.0, 1.2, tasks)[task] * truth + 0.7 * luck + 0.2 * draw.normal(size=rows)
    place = task * 3 + observation
    sample = Sample(
        "tasks", [], truth, np.zeros(rows), task, np.repeat(np.arange(tasks * 6), 5), luck > 0,
        place * 2 + action, features_of(place, action, np.full((rows, 2), 0.5), tasks * 3), None,
        np.arange(tasks), 6,
    )  # fmt: skip
    return sample, x


@pytest.mark.parametrize("tasks", [5, 8])
def test_intervals_over_few_tasks_cover(tasks):
    names = ("pearson", "spearman", "sign", "error", "cosine_mean", "cosine_group")
    many = measure(*of_several_tasks(4000, np.random.default_rng(0)), replicates=1)
    covered = dict.fromkeys(names, 0)
    for number in range(100):
        found = measure(*of_several_tasks(tasks, np.random.default_rng([tasks, number])), replicates=100)
        for name in names:
            covered[name] += found[name].low <= many[name].estimate <= found[name].high
    lone = covered.pop("cosine_group")  # of it the least is left, as tasks without a clear direction are left out
    assert lone >= 75 and all(count >= 84 for count in covered.values()), covered


# -- recorded metrics -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(shared):
    folder = shared / "reference" / "credit"
    with gzip.open(folder / "tabular_groups.jsonl.gz", "rt", encoding="utf-8") as file:
        groups = [json.loads(line) for line in file]
    return json.loads((folder / "tabular.json").read_text(encoding="utf-8"))["mdps"], groups


def recorded_sample(record, groups):
    process = Process.read(record)
    columns = {name: [] for name in ("step", "state", "action", "next_state", "reward", "terminated")}
    episode, seen = [], 0
    for group in groups:
        rows = group["rows"]
        for name, column in columns.items():
            column += rows[name]
        ids = np.unique(rows["trajectory"], return_inverse=True)[1]
        episode += (seen + ids).tolist()
        seen += int(ids.max()) + 1
    arrays = {name: np.array(column) for name, column in columns.items()}
    solution = solve(process)
    where = arrays["step"], arrays["state"], arrays["action"]
    problem = Problem(record["name"], {}, process, np.ones(record["num_actions"], dtype=bool))
    played = TabularEpisodes(
        problem, solution, np.array(episode), advantage=solution.A[where], value=solution.V[where[:2]], **arrays
    )
    return with_truth(played, 8, scheme_table(played, 8))


@pytest.mark.reference
@pytest.mark.parametrize("number", range(3))
def test_recorded_values_and_metrics(recorded, number):
    record = recorded[0][number]
    assert max(process_deviations(record, solve(Process.read(record))).values()) < 1e-9
    sample = recorded_sample(record, [group for group in recorded[1] if group["mdp"] == record["name"]])
    assert sample.groups == 50
    for method, wanted in record["metrics"]["methods"].items():
        x = sample.truth if method == "exact" else np.concatenate([SCORED[method](batch) for batch in sample.batches])
        found = measure(sample, x)
        names = {"pearson": "pearson", "sign_accuracy": "sign", "cosine_mean_gradient": "cosine_mean",
                 "mean_cosine_one_group": "cosine_group"}  # fmt: skip
        for theirs, ours in names.items():
            # There a sign is also wrong where the scheme gives 0.
            said = 1 - found["zeros"].estimate if ours == "sign" else 1.0
            assert found[ours].estimate * said == pytest.approx(wanted[theirs], abs=1e-6), (method, ours)
            assert found[ours].low <= found[ours].estimate <= found[ours].high, (method, ours)


# -- what the schemes are shown -------------------------------------------------------------------------------


def test_without_peers_gigpo_is_grpo():
    problem = make_problem("key-door")
    unique = problem_sample(problem, 4, 8, anchor="unique")
    np.testing.assert_allclose(estimate(unique, "gigpo", normalize="std")[0], estimate(unique, "grpo")[0])


def test_anchors_show_what_they_should():
    problem = make_problem("aliased")
    count = {
        anchor: len(np.unique(problem_sample(problem, 4, 4, anchor=anchor).batches[0].state))
        for anchor in ("observation", "state", "merged-2", "merged-4", "unique")
    }
    assert count["merged-4"] < count["merged-2"] == count["observation"] < count["state"] < count["unique"]
    noisy = problem_sample(problem, 4, 4, noise=0.5).batches[0]
    assert len(np.unique(noisy.state)) > count["observation"]
    remembering = problem_sample(problem, 4, 4, history=3).batches[0]
    steps = problem_sample(problem, 4, 4).batches[0]
    # A history of three tells apart what three observations tell apart, and begins anew with each episode.
    for episode in np.unique(steps.episode):
        rows = np.flatnonzero(steps.episode == episode)
        for row in rows:
            past = tuple(steps.state[max(rows[0], row - 2) : row + 1])
            same = np.flatnonzero(remembering.state == remembering.state[row])
            for other in same[:3]:
                first = other - steps.step[other]
                assert tuple(steps.state[max(first, other - 2) : other + 1]) == past
    going = ~(steps.terminated | steps.truncated)
    np.testing.assert_array_equal(remembering.next_state[going], remembering.state[1:][going[:-1]])


def test_every_sweep_makes_its_samples():
    for name in SWEEPS:
        made = [(value, make(2, 0)) for value, make in sweep(name)]
        assert len({value for value, _ in made}) == len(made) >= 4
        assert all(one.groups == 2 for _, one in made)


# -- stored runs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "run"
    make_truth(folder, env="chain", group_size=4, groups=12)
    return folder


def test_a_stored_run_is_measured_as_it_was_played(stored):
    sample = run_sample(stored)
    direct = problem_sample(make_problem("chain"), 4, 12)
    np.testing.assert_allclose(sample.truth, direct.truth)
    for scheme in ("grpo", "gigpo", "graph_value", "gae"):
        np.testing.assert_allclose(estimate(sample, scheme)[0], estimate(direct, scheme)[0], atol=1e-12)
    halves = run_sample(stored, 2)
    assert (halves.groups, halves.group_size) == (24, 2)
    exact = values(sample, sample.truth)
    assert exact["cosine"] == pytest.approx(1, abs=0.02) and exact["cosine_group"] > 0.85
    with pytest.raises(UserError, match="group size"):
        run_sample(stored, 100)


def test_the_table_is_written_whole(stored, tmp_path):
    sample = run_sample(stored)
    for batch in sample.batches:
        object.__setattr__(batch, "extra", {name: x for name, x in batch.extra.items() if name != "switch"})
    quality = Quality()
    quality.add(sample, ["grpo", "hiper"])
    quality.write(tmp_path)
    content = json.loads((tmp_path / "quality.json").read_text())
    assert [row["scheme"] for row in content["rows"]] == ["exact", "grpo", "random", "constant"]
    assert "switch" in content["skipped"]["run"]["hiper"]
    header = (tmp_path / "quality.csv").read_text().splitlines()[0].split(",")
    assert set(header) >= {"sample", "scheme", "cost_ms"} | {
        f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")
    }


@pytest.mark.parametrize(
    ("name", "found", "text"),
    [
        ("variance", (0.9, 0.5, 1.5), "0.90 ±0.50"),
        ("variance", (2.1, 0.25, 878.0), "2.10 [0.25, >100]"),
        ("snr", (0.05, 0.0, 0.2), "0.05 [0.00, 0.20]"),
        ("snr", (0.0, 0.0, 0.004), "0.00 ±0.00"),
        ("pearson", (0.1, -0.3, 0.5), "0.10 ±0.40"),
        ("variance", (3.0, float("nan"), float("nan")), "3.00"),
        ("cosine", (float("nan"), float("nan"), float("nan")), "·"),
    ],
)
def test_an_interval_that_reaches_below_what_can_be_is_printed_by_its_ends(name, found, text):
    """±439 beside a variance of 2 says less than where it ends."""
    row = {f"{name}{end}": value for end, value in zip(("", "_low", "_high"), found, strict=True)}
    assert printed(row, name) == text


def test_the_command_measures_and_writes(stored):
    run = partial(CliRunner().invoke, app)
    result = run(["quality", str(stored), "--schemes", "grpo,gigpo", "--group-sizes", "2,4"])
    assert result.exit_code == 0, result.output
    assert "24 groups of 2 episodes" in result.output and "12 groups of 4 episodes" in result.output
    for name in ("quality.csv", "quality.json", "quality.md", "quality.png"):
        assert (stored / name).stat().st_size > 100
    assert isinstance(run(["quality"]).exception, UserError)
    assert isinstance(run(["quality", str(stored), "--group-sizes", "two"]).exception, UserError)
    assert isinstance(run(["quality", str(stored.parent)]).exception, UserError)
