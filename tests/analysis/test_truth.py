"""True advantages of real games: exact against branching, resuming, refusals."""

import json

import numpy as np
import pandas as pd
import pytest

from agentbench.analysis.truth import run as truth_run
from agentbench.analysis.truth.exact import TooManyStatesError, solve_states
from agentbench.analysis.truth.run import make_truth
from agentbench.analysis.truth.table import TRUTH_COLUMNS
from agentbench.evaluation.evaluate import evaluate
from envs.alfworld.engine import Engine
from envs.alfworld.generator import generate
from envs.alfworld.states import GameStates
from envs.base.errors import UserError

GAME = {"policy": "guided:12", "split": "generated:0:1:small", "env_options": {"max_steps": 7}}


def uniform(actions):
    return [1 / len(actions)] * len(actions)


def test_dynamic_programming_equals_the_sum_over_all_paths():
    engine = Engine(generate(0, 0, "small"))
    horizon = 4

    def value(state, left):
        if not left:
            return 0.0
        commands = engine.commands(state)
        total = 0.0
        for action in commands.values():
            after, _ = engine.act(state, action)
            total += 1.0 if engine.won(after) else value(after, left - 1)
        return total / len(commands)

    found = solve_states(GameStates(engine), horizon, uniform)
    expected = value(engine.start, horizon)
    assert expected > 0
    assert found.value[horizon, 0] == pytest.approx(expected, rel=1e-12)


def test_the_last_step_of_the_solution_is_worth_what_is_missing():
    game = generate(0, 0, "small")
    steps = solve_states(GameStates(Engine(game)), len(game.walkthrough), uniform).steps(game.walkthrough)
    _, advantage, value = steps[-1]
    assert advantage == pytest.approx(1 - value)
    assert sum(advantage for _, advantage, _ in steps) == pytest.approx(1 - steps[0][2])


def test_too_many_states_are_refused():
    with pytest.raises(TooManyStatesError, match="more than 50 states"):
        solve_states(GameStates(Engine(generate(0, 0))), 10, uniform, limit=50)


def test_branching_agrees_with_the_exact_values(tmp_path):
    exact = make_truth(tmp_path / "exact", method="exact", group_size=6, **GAME)
    branched = make_truth(tmp_path / "branched", method="monte-carlo", rollouts=64, group_size=6, **GAME)
    assert exact["method"].eq("exact").all() and branched["method"].eq("monte-carlo").all()
    assert exact["true_advantage"].abs().max() > 0.3  # something is at stake
    error, spread = branched["true_advantage"] - exact["true_advantage"], branched["standard_error"]
    measured = spread > 0
    assert measured.all()  # also where all rollouts agree, which is no proof
    score = (error / spread)[measured]
    assert measured.sum() > 20
    assert score.abs().max() < 4.5
    assert abs(score.mean()) < 0.6  # neighbouring steps share their rollouts, so the errors are not independent
    assert score.std() == pytest.approx(1, abs=0.5)
    value_error = (branched["value"] - exact["value"]).abs()
    assert (value_error < 4.5 * np.sqrt(exact["value"].clip(0.01) / 64)).all()
    # common random numbers: cheaper and quieter than two independent estimates would be
    independent = np.sqrt(2 * exact["value"] * (1 - exact["value"]) / 64)
    assert spread.mean() < independent.mean()
    np.testing.assert_allclose(np.stack(exact["probabilities"].map(sum)), np.ones(len(exact)), atol=1e-12)


def test_the_table_has_the_documented_columns_and_joins_the_run(tmp_path):
    table = make_truth(tmp_path, method="exact", group_size=2, **GAME)
    assert table.columns.tolist() == TRUTH_COLUMNS.names
    steps = pd.read_parquet(tmp_path / "steps.parquet")
    assert table[["episode", "task_id", "trial", "step"]].equals(steps[["episode", "task_id", "trial", "step"]])
    assert json.loads((tmp_path / "truth.json").read_text())["group_size"] == 2


def test_a_cut_truth_goes_on_and_equals_an_uninterrupted_one(tmp_path, monkeypatch):
    settings = {"policy": "mixed:0.5", "split": "generated:0:2", "env_options": {"max_steps": 12}, "rollouts": 2}
    whole = make_truth(tmp_path / "whole", group_size=2, **settings)
    parts = tmp_path / "cut" / truth_run.PARTS_FILE
    make_truth(tmp_path / "cut", group_size=2, **settings)
    lines = parts.read_bytes().splitlines(keepends=True)
    parts.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # two episodes, and a torn line
    computed = []
    original = truth_run.branch
    monkeypatch.setattr(truth_run, "branch", lambda *a, **k: computed.append(a[3]) or original(*a, **k))
    again = make_truth(tmp_path / "cut", group_size=2, **settings)
    assert len(computed) == 2
    pd.testing.assert_frame_equal(whole, again)
    with pytest.raises(UserError, match="rollouts"):
        make_truth(tmp_path / "cut", group_size=2, **{**settings, "rollouts": 3})


@pytest.mark.parametrize("left", [0, 30])
def test_a_truth_that_was_killed_in_its_first_line_goes_on(tmp_path, left):
    whole = make_truth(tmp_path, method="exact", group_size=2, **GAME)
    parts = tmp_path / truth_run.PARTS_FILE
    parts.write_bytes(parts.read_bytes()[:left])
    pd.testing.assert_frame_equal(whole, make_truth(tmp_path, method="exact", group_size=2, **GAME))
    pd.testing.assert_frame_equal(whole, make_truth(tmp_path, method="exact", group_size=2, **GAME))


def test_a_truth_whose_first_line_was_changed_is_told(tmp_path):
    make_truth(tmp_path, method="exact", group_size=2, **GAME)
    parts = tmp_path / truth_run.PARTS_FILE
    parts.write_bytes(parts.read_bytes().replace(b'"group_size":2', b'"group_size":3', 1))
    with pytest.raises(UserError, match=r"the first line of .* is damaged"):
        make_truth(tmp_path, method="exact", group_size=2, **GAME)


def test_the_critic_is_apart_from_the_truth_and_unbiased(tmp_path):
    exact = make_truth(tmp_path / "exact", method="exact", group_size=6, **GAME)
    settings = {"method": "monte-carlo", "rollouts": 8, "group_size": 6, **GAME}
    without = make_truth(tmp_path / "without", critic_rollouts=0, **settings)
    with_critic = make_truth(tmp_path / "with", critic_rollouts=64, **settings)
    assert without["critic"].isna().all()
    pd.testing.assert_frame_equal(without.drop(columns="critic"), with_critic.drop(columns="critic"))
    error = with_critic["critic"] - exact["value"]
    assert (error.abs() < 4.5 * np.sqrt(exact["value"].clip(0.01) / 64)).all()
    assert error.abs().max() > 0
    # what the truth got wrong tells nothing of what the critic got wrong
    assert abs(np.corrcoef(error, with_critic["value"] - exact["value"])[0, 1]) < 0.7
    np.testing.assert_array_equal(exact["critic"], exact["value"])
    with pytest.raises(UserError, match="critic-rollouts"):
        make_truth(tmp_path / "negative", **{**settings, "critic_rollouts": -1})


def test_branching_names_the_state_as_counting_does(tmp_path):
    exact = make_truth(tmp_path / "exact", method="exact", group_size=6, **GAME)
    branched = make_truth(tmp_path / "branched", method="monte-carlo", rollouts=2, group_size=6, **GAME)
    pairs = set(zip(exact["state"], branched["state"], strict=True))
    assert len(pairs) == exact["state"].nunique() == branched["state"].nunique()


@pytest.mark.slow
def test_nothing_depends_on_the_number_of_workers(tmp_path):
    settings = {"policy": "mixed:0.5", "split": "generated:0:2", "env_options": {"max_steps": 12}, "rollouts": 2}
    one = make_truth(tmp_path / "1", group_size=2, workers=1, **settings)
    two = make_truth(tmp_path / "2", group_size=2, workers=2, **settings)
    pd.testing.assert_frame_equal(one, two)


def test_a_policy_with_a_memory_is_refused_before_anything_is_played(tmp_path):
    with pytest.raises(UserError, match="looks at the history"):
        make_truth(tmp_path / "run", policy="mixed:0.5", method="exact", split="generated:0:1:small")
    assert not (tmp_path / "run").exists()


def test_a_game_that_is_too_large_is_branched_unless_exact_was_asked_for(tmp_path):
    table = make_truth(tmp_path / "auto", state_limit=10, rollouts=2, group_size=2, **GAME)
    assert table["method"].eq("monte-carlo").all()
    with pytest.raises(TooManyStatesError):
        make_truth(tmp_path / "exact", state_limit=10, method="exact", group_size=2, **GAME)


def test_a_problem_is_stored_as_an_ordinary_run(tmp_path):
    table = make_truth(tmp_path, env="key-door", group_size=4, groups=3, env_options={"length": 3})
    again = make_truth(tmp_path, env="key-door", group_size=4, groups=3, env_options={"length": 3})
    pd.testing.assert_frame_equal(table, again)
    assert table["episode"].nunique() == 12
    last = table.groupby("episode").tail(1)
    assert (last["standard_error"] == 0).all()
    with pytest.raises(UserError, match="another configuration"):
        make_truth(tmp_path, env="key-door", group_size=4, groups=3, env_options={"length": 4})


def test_the_guided_policy_prefers_the_solution(tmp_path):
    guided = evaluate("alfworld", "guided:50", split="generated:0:3:small", trials=4, out=tmp_path / "g").frame
    plain = evaluate("alfworld", "guided:1", split="generated:0:3:small", trials=4, out=tmp_path / "p").frame
    assert guided["steps"].mean() < plain["steps"].mean()
