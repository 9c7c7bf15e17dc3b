"""What the schemes are shown beside states and rewards, anchors by similar text, and going on after a stop."""

import numpy as np
import pandas as pd
import pytest

from agentbench.analysis.quality.anchors import merged
from agentbench.analysis.quality.inputs import AGENTS, SEGMENT, with_inputs
from agentbench.analysis.quality.measured import measure_anchors
from agentbench.analysis.quality.parts import Parts
from agentbench.analysis.quality.sample import RUN_ANCHORS, estimate, run_sample
from agentbench.analysis.quality.table import Quality
from agentbench.analysis.quality.tabular import problem_sample
from agentbench.analysis.truth.problems import PROBLEMS, make_problem
from agentbench.analysis.truth.run import make_truth
from agentbench.analysis.truth.tabular import play_problem
from credit import SCHEMES
from envs.base.errors import UserError

GAMES = {"policy": "mixed:0.5", "split": "generated:0:2", "env_options": {"max_steps": 12}, "rollouts": 2}

CHAINS = [name for name, scheme in SCHEMES.items() if "node" not in scheme.needs]
"""Schemes that ask for no trees of episodes, which nobody plays here."""


@pytest.fixture(scope="module")
def branched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "branched"
    make_truth(folder, group_size=2, groups=2, critic_rollouts=2, **GAMES)
    return folder


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_scheme_can_be_measured_on_a_problem(name):
    quality = Quality()
    quality.add(problem_sample(make_problem(name), 4, 4), CHAINS)
    assert quality.skipped == {}


def test_every_scheme_can_be_measured_on_a_branched_run(branched):
    sample = run_sample(branched)
    for scheme in CHAINS:
        assert np.isfinite(estimate(sample, scheme)[0]).all()


def test_without_a_critic_the_schemes_that_need_one_are_left_out(branched, tmp_path):
    make_truth(tmp_path, group_size=2, critic_rollouts=0, **GAMES)
    quality = Quality()
    quality.add(run_sample(tmp_path), ["gae", "hiper", "igpo", "drmas", "vpr", "rae", "pure"])
    assert set(quality.skipped[tmp_path.name]) == {"gae", "hiper", "igpo", "vpr", "rae"}


def test_the_gain_telescopes_and_the_agents_take_turns():
    frame = pd.DataFrame({"episode": [0] * 6, "step": range(6), "reward": [0.0] * 5 + [1.0], "state": [7] * 6})
    found = with_inputs(frame.assign(value=[0.5, 0.25, 0.5, 0.75, 0.5, 0.875]))
    assert found["info_gain"].tolist() == [-0.25, 0.25, 0.25, -0.25, 0.375, 0.125]
    assert found["agent"].tolist() == [step % AGENTS for step in range(6)]
    assert np.flatnonzero(found["switch"]).tolist() == [0, SEGMENT]
    assert "info_gain" not in with_inputs(frame)
    assert found["baseline"].tolist() == [0.5] * 6
    assert found["oracle"].tolist() == [0.25, 0.5, 0.75, 0.5, 0.875, 1.0]
    assert found["score"].tolist() == found["oracle"].tolist()
    assert found["teacher_gap"].tolist() == pytest.approx(np.log(np.array([0.5, 2, 1.5, 2 / 3, 1.75, 8 / 7])))
    assert found["choice"].nunique() == 6


def test_surprise_is_the_chance_of_what_is_now_observed():
    problem = make_problem("chain")
    played = play_problem(problem, 8, seed=0)
    surprise = problem_sample(problem, 8, 1).batches[0].extra["surprise"]
    policy = problem.process.policy
    for row in range(len(surprise)):
        if played.step[row] == 0:
            assert surprise[row] == 0
            continue
        cell, action = played.state[row - 1], played.action[row - 1]
        # in the first cell going back is staying: either explains what is seen
        chance = policy[0, 1] + policy[0, 2] if cell == 0 and action in (1, 2) else policy[cell, action]
        assert surprise[row] == pytest.approx(-np.log(chance))


def test_the_reference_is_a_random_choice():
    problem = make_problem("chain")
    played = play_problem(problem, 8, seed=0)
    gap = problem_sample(problem, 8, 1).batches[0].extra["reference_gap"]
    np.testing.assert_allclose(gap, np.log(3 * problem.process.policy[played.state, played.action]))


def test_with_the_exact_values_vineppo_is_the_truth_and_vpr_ranks_as_q():
    problem = make_problem("key-door")
    sample = problem_sample(problem, 8, 4)
    np.testing.assert_allclose(estimate(sample, "vineppo")[0], sample.truth, atol=1e-12)
    found, batch = estimate(sample, "vpr")[0], sample.batches[0]
    for choice in np.unique(batch.extra["choice"]):
        rows = batch.extra["choice"] == choice
        for group in np.unique(batch.group[rows]):
            peers = rows & (batch.group == group)
            ranks = np.argsort(np.argsort(sample.truth[peers].round(12), kind="stable"))
            assert (np.argsort(np.argsort(found[peers].round(9), kind="stable")) == ranks).all()


def test_in_a_game_the_surprise_is_that_of_the_action(branched):
    truth = pd.read_parquet(branched / "truth.parquet")
    steps = pd.read_parquet(branched / "steps.parquet").merge(truth, on=["task_id", "trial", "step"])
    wanted = {}
    for row in steps.to_dict("records"):
        place = list(row["admissible_actions"]).index(row["action"])
        wanted[row["task_id"], row["trial"], row["step"] + 1] = -np.log(row["probabilities"][place])
    batch = run_sample(branched).batches[0]
    surprises = batch.extra["surprise"]
    assert (surprises[batch.step == 0] == 0).all()
    found = sorted(surprises[batch.step > 0])
    keys = [(row.task_id, row.trial, row.step) for row in steps.itertuples() if row.step > 0]
    np.testing.assert_allclose(found, sorted(wanted[key] for key in keys))


def test_similar_descriptions_tell_the_key_apart_and_not_the_room():
    similar = problem_sample(make_problem("key-door"), 4, 4, anchor="similarity").batches[0]
    state = problem_sample(make_problem("key-door"), 4, 4, anchor="state").batches[0]
    for group in np.unique(similar.group):
        rows = similar.group == group
        pairs = set(zip(similar.state[rows].tolist(), (state.state[rows] % 2).tolist(), strict=True))
        assert len(pairs) == len(set(similar.state[rows].tolist())) == 2


def test_texts_are_merged_within_their_group():
    texts = pd.Series(["You see a mug 1 on the long table.", "You see a mug 2 on the long table.", "Nothing happens."])
    assert merged(pd.Series([0, 0, 0]), texts).tolist() == [texts[0], texts[0], texts[2]]
    assert merged(pd.Series([0, 1, 1]), texts).tolist() == texts.tolist()


def test_a_run_can_be_looked_at_under_every_anchor(branched):
    count = {}
    for anchor in RUN_ANCHORS:
        batch = run_sample(branched, anchor=anchor).batches[0]
        count[anchor] = len(np.unique(batch.state))
        going = batch.episode[1:] == batch.episode[:-1]
        np.testing.assert_array_equal(batch.next_state[:-1][going], batch.state[1:][going])
    assert count["similarity"] <= count["observation"] < count["unique"] == len(batch)
    assert 1 < count["state"] < count["unique"]
    # without a situation that comes again, comparing within situations says nothing
    unique = run_sample(branched, anchor="unique")
    np.testing.assert_allclose(estimate(unique, "gigpo", normalize="std")[0], estimate(unique, "grpo")[0])
    with pytest.raises(UserError, match="observation"):
        run_sample(branched, anchor="observations")


def test_measuring_goes_on_where_it_was_stopped(branched, tmp_path, monkeypatch):
    path = tmp_path / "quality.jsonl"
    whole = Quality(parts=Parts(path))
    measure_anchors(whole, branched, ["grpo", "gigpo"])
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == len(whole.rows)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:30])  # five rows, and a torn one
    measured = []
    from agentbench.analysis.quality import table

    original = table.measure
    monkeypatch.setattr(table, "measure", lambda *a, **k: measured.append(1) or original(*a, **k))
    again = Quality(parts=Parts(path))
    measure_anchors(again, branched, ["grpo", "gigpo"])
    assert len(measured) == len(lines) - 5
    pd.testing.assert_frame_equal(whole.frame().drop(columns="cost_ms"), again.frame().drop(columns="cost_ms"))
    finished = path.read_bytes()
    third = Quality(parts=Parts(path))
    measure_anchors(third, branched, ["grpo", "gigpo"])
    third.write(tmp_path / "third")
    again.write(tmp_path / "again")
    assert path.read_bytes() == finished
    for name in ("quality.csv", "quality.json"):
        assert (tmp_path / "third" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
