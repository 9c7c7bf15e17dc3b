"""Signals of a user's own against the truth, and Kendall's tau."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from agentbench.analysis.quality.measured import measure_runs
from agentbench.analysis.quality.ranks import kendall, pairs
from agentbench.analysis.quality.sample import run_sample
from agentbench.analysis.quality.table import Quality
from agentbench.analysis.truth.run import make_truth
from envs.base.errors import UserError


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "chain"
    make_truth(folder, env="chain", group_size=4, groups=6)
    return folder


@pytest.fixture
def columns(chain):
    truth = pd.read_parquet(chain / "truth.parquet")
    return truth[["task_id", "trial", "step"]].assign(twice=2 * truth["true_advantage"], noise=range(len(truth)))


def rows_of(chain, path):
    found = Quality()
    measure_runs(found, [chain], ["grpo"], [], path)
    return found.frame().set_index("scheme")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_is_measured_as_a_scheme_is(chain, columns, tmp_path, ending):
    path = tmp_path / f"mine.{ending}"
    shuffled = columns.sample(frac=1, random_state=0)
    shuffled.to_csv(path, index=False) if ending == "csv" else shuffled.to_parquet(path)
    rows = rows_of(chain, path)
    assert list(rows.index) == ["exact", "grpo", "twice", "noise", "random", "constant"]
    for name in ("pearson", "spearman", "kendall", "sign"):
        assert rows.loc["twice", name] == pytest.approx(1.0)
    assert rows.loc["twice", "cosine"] == pytest.approx(rows.loc["exact", "cosine"])
    assert abs(rows.loc["noise", "pearson"]) < 0.5
    truth = run_sample(chain).truth
    ordered = run_sample(chain, columns=path).given
    np.testing.assert_allclose(ordered["twice"], 2 * truth)
    assert rows.loc["noise", "kendall"] == pytest.approx(kendalltau(ordered["noise"], truth).statistic)


def test_what_is_wrong_with_a_file_is_told_with_the_first_five_steps(chain, columns, tmp_path):
    path = tmp_path / "mine.parquet"
    task = columns["task_id"].iloc[0]

    def refused(table, message):
        table.to_parquet(path)
        with pytest.raises(UserError, match=message):
            rows_of(chain, path)

    named = ", ".join(f"{task} 0 {step}" for step in range(4))
    first = columns[columns["trial"] == 0]
    assert len(first) > 5
    refused(columns.drop(index=first.index[:7]), f"no row for 7 of the run's {len(columns)} steps: {named}, .* 4, …$")
    refused(pd.concat([columns, first.iloc[:2]]), f"several rows for one step: {task} 0 0, {task} 0 1; one row")
    more = first.iloc[:2].assign(trial=99)
    refused(pd.concat([columns, more]), f"rows for 2 steps that the run does not have: {task} 99 0, {task} 99 1$")
    refused(columns.assign(noise=np.nan), "column 'noise' holds no finite number for .* steps: .*, …$")
    refused(columns.assign(noise="x"), "column 'noise' holds no finite number")
    refused(columns.rename(columns={"noise": "gigpo"}), "has a column 'gigpo', which is the name of another row")
    refused(columns[["task_id", "trial", "step"]], "no column beside task_id, trial, step")
    refused(columns.drop(columns="step"), "has no column 'step'")


def test_the_command_takes_the_columns_of_one_run(chain, columns, tmp_path, run):
    columns.to_csv(tmp_path / "mine.csv", index=False)
    how = ["--schemes", "grpo", "--columns", tmp_path / "mine.csv", "--out", tmp_path / "out"]
    code, out, _ = run("quality", chain, *how)
    assert code == 0 and "twice" in out
    assert set(pd.read_csv(tmp_path / "out" / "quality.csv")["scheme"]) >= {"twice", "noise"}
    code, _, err = run("quality", chain, chain, *how)
    assert code == 2 and "name one, not 2" in err


numbers = st.integers(0, 5).map(float)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(numbers, numbers, st.integers(0, 2)), min_size=1, max_size=40))
def test_kendalls_tau_counts_pairs(rows):
    x, y, group = (np.array(each) for each in zip(*rows, strict=True))
    signs_x, signs_y = (np.sign(each[:, None] - each) for each in (x, y))
    agree, in_x, in_y = pairs(x, y)
    np.testing.assert_array_equal(agree, (signs_x * signs_y).sum(axis=1))
    np.testing.assert_array_equal(in_x, np.abs(signs_x).sum(axis=1))
    np.testing.assert_array_equal(in_y, np.abs(signs_y).sum(axis=1))
    found = kendall(x, y, group.astype(np.int64), np.ones((1, 3)))[0]
    expected = kendalltau(x, y).statistic if len(x) > 1 else np.nan
    assert found == pytest.approx(0.0 if np.isnan(expected) else expected)
