"""The truth of actions that were not taken, and under another policy than the one that played."""

import json

import numpy as np
import pandas as pd
import pytest

from agentbench.analysis.quality.measured import measure_runs
from agentbench.analysis.quality.table import Quality
from agentbench.analysis.truth.run import make_truth
from envs.base.errors import UserError

HOUSE = {
    "env": "alfworld",
    "split": "generated:0:1:small",
    "env_options": {"max_steps": 5},
    "group_size": 2,
    "workers": 1,
}
KEY = ["task_id", "trial", "step"]


def judged(folder):
    """The actions' table with the truth of the taken one and the probability of each."""
    actions = pd.read_parquet(folder / "truth-actions.parquet")
    truth = pd.read_parquet(folder / "truth.parquet").drop(columns="standard_error")
    return actions, actions.merge(truth.rename(columns={"true_advantage": "of_taken"}), on=KEY)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "exact"
    make_truth(folder, policy="guided:20", all_actions=True, **HOUSE)
    return folder


def check(folder):
    actions, joined = judged(folder)
    taken = joined[joined["taken"]]
    np.testing.assert_allclose(taken["true_advantage"], taken["of_taken"], atol=1e-12)
    assert len(taken) == len(pd.read_parquet(folder / "truth.parquet"))
    for _, rows in joined.groupby(KEY, sort=False):  # the policy's own mean is 0
        assert rows["true_advantage"] @ rows["probabilities"].iloc[0] == pytest.approx(0.0, abs=1e-9)
    return actions


def test_on_a_problem(tmp_path):
    make_truth(tmp_path, env="harvest", group_size=3, groups=2, all_actions=True)
    actions = check(tmp_path)
    assert set(actions["action"]) == {"pick", "wait", "leave"} and not actions["standard_error"].any()


def test_in_a_house_counted_and_branched(exact, tmp_path):
    actions = check(exact)
    assert len(actions) > 3 * len(pd.read_parquet(exact / "truth.parquet"))
    make_truth(
        tmp_path, policy="guided:20", all_actions=True, method="monte-carlo", rollouts=40, critic_rollouts=0, **HOUSE
    )
    measured, joined = judged(tmp_path)
    assert measured[[*KEY, "action", "taken"]].equals(actions[[*KEY, "action", "taken"]])
    taken = joined[joined["taken"]]
    np.testing.assert_allclose(taken["true_advantage"], taken["of_taken"], atol=1e-12)
    off = (measured["true_advantage"] - actions["true_advantage"]).to_numpy()
    assert np.abs(off).max() < 0.35 and abs(off.mean()) < 0.03
    spread = measured["standard_error"].to_numpy()
    assert (np.abs(off) < 4 * spread + 0.1).mean() > 0.97


def test_under_another_policy_than_the_one_that_played(exact, tmp_path):
    found = make_truth(tmp_path, policy="random", reference="guided:20", **HOUSE)
    own = pd.read_parquet(exact / "truth.parquet")
    start = own.loc[own["step"] == 0, "value"].iloc[0]
    assert found.loc[found["step"] == 0, "value"].to_numpy() == pytest.approx(start)
    assert found["probabilities"].isna().all() and not (tmp_path / "truth-actions.parquet").exists()
    # what every state and action is worth does not depend on who came there
    actions = pd.read_parquet(exact / "truth-actions.parquet")
    first = actions[(actions["trial"] == 0) & (actions["step"] == 0)].set_index("action")["true_advantage"]
    steps = pd.read_parquet(tmp_path / "steps.parquet").merge(found[[*KEY, "true_advantage"]], on=KEY)
    for row in steps[steps["step"] == 0].itertuples():
        assert row.true_advantage == pytest.approx(first[row.action])
    quality = Quality()
    measure_runs(quality, [tmp_path], ["grpo", "gae"], [])
    assert quality.frame()["cosine"].isna().all() and np.isfinite(quality.frame()["error"]).all()


def test_settings_that_change_nothing_are_not_written(exact, tmp_path):
    make_truth(tmp_path / "plain", policy="guided:20", **HOUSE)
    plain, more = (
        json.loads((folder / "truth.jsonl").read_text().splitlines()[0])["settings"]
        for folder in (tmp_path / "plain", exact)
    )
    assert set(more) - set(plain) == {"all_actions"} and "reference" not in plain
    with pytest.raises(UserError, match="made with another all_actions"):
        make_truth(tmp_path / "plain", policy="guided:20", all_actions=True, **HOUSE)


def test_a_problem_has_a_policy_of_its_own(tmp_path):
    with pytest.raises(UserError, match="leave --reference out"):
        make_truth(tmp_path, env="chain", reference="random")
