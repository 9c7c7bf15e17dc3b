"""Columns that training makes for the schemes that need them: a reference, expectations, candidates, values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: E402, F401  (registers the environment 'toy')
from killed_run import train_until  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from agentbench import UserError  # noqa: E402
from agentbench.runs.episodes import Episode  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.runs.steps import steps_of  # noqa: E402
from agentbench.train.branching import Branching  # noqa: E402
from agentbench.train.candidates import Candidates  # noqa: E402
from agentbench.train.config import TrainConfig, read_config  # noqa: E402
from agentbench.train.distributed import ALONE  # noqa: E402
from agentbench.train.expected import Expected  # noqa: E402
from agentbench.train.rollouts import Rollouts  # noqa: E402
from agentbench.train.run import make_learner, train  # noqa: E402
from agentbench.train.trainer import Trainer  # noqa: E402
from credit import advantages  # noqa: E402

TOY = {
    "env": "toy",
    "split": "all",
    "env_options": {"tasks": 4, "max_steps": 6},
    "group_size": 4,
    "tasks_per_step": 3,
    "steps": 4,
    "learning_rate": 0.01,
    "minibatches": 2,
    "checkpoint_every": 1,
}
HOUSES = {
    "env": "alfworld",
    "split": "generated:0:4:small",
    "env_options": {"max_steps": 6},
    "group_size": 2,
    "tasks_per_step": 2,
    "steps": 2,
    "branch_rollouts": 4,
    "scheme": "vpr",
}


def config(**settings: Any) -> TrainConfig:
    return read_config(None, {**TOY, **settings})


def outcome(episode: Episode) -> float:
    return sum(step.reward for step in episode.steps)


@pytest.mark.parametrize("scheme", ["single_stream", "rae"])
def test_a_killed_run_expects_what_an_uninterrupted_one_does(scheme: str, tmp_path: Path) -> None:
    settings = config(scheme=scheme)
    train(settings, tmp_path / "whole")
    train_until(2, settings, tmp_path / "cut")
    train(settings, tmp_path / "cut", resume=True)
    whole, cut = (
        {name: each.numpy().tobytes() for name, each in load_file(folder / "policy" / "weights.safetensors").items()}
        for folder in (tmp_path / "whole", tmp_path / "cut")
    )
    assert whole == cut


def test_the_value_of_a_task_is_the_mean_of_what_it_earned_with_the_old_fading() -> None:
    settings = config(scheme="single_stream")
    expected, policy = Expected(settings), make_learner(settings)
    played = [Rollouts(settings, ALONE).train(policy, step).groups for step in range(3)]
    alpha, beta = {}, {}
    for groups in played:
        found, at = expected.before(groups), 0
        for episode in (episode for group in groups for episode in group):
            a, b = alpha.get(episode.task_id, 0.5), beta.get(episode.task_id, 0.5)
            np.testing.assert_allclose(found[at : at + len(episode.steps)], a / (a + b))
            at += len(episode.steps)
        for episode in (episode for group in groups for episode in group):  # the counts of a Beta distribution
            alpha[episode.task_id] = 0.9 * alpha.get(episode.task_id, 0.5) + outcome(episode)
            beta[episode.task_id] = 0.9 * beta.get(episode.task_id, 0.5) + 1 - outcome(episode)
        assert at == len(found)


def test_the_moving_average_of_the_agent_is_taken_before_each_episode() -> None:
    settings = config(scheme="rae")
    expected, policy = Expected(settings), make_learner(settings)
    average = 0.0
    for step in range(2):
        groups = Rollouts(settings, ALONE).train(policy, step).groups
        found, at = expected.before(groups), 0
        for episode in (episode for group in groups for episode in group):
            np.testing.assert_allclose(found[at : at + len(episode.steps)], average)
            at += len(episode.steps)
            average = 0.95 * average + 0.05 * outcome(episode)
    assert average > 0


def test_the_reference_gap_is_0_at_the_start_and_moves_with_the_policy(tmp_path: Path) -> None:
    settings = config(scheme="progress_advantage", scheme_options={"outcome_weight": 1.0, "beta": 0.1})
    learner = make_learner(settings)
    trainer = Trainer(settings, learner, tmp_path)
    from agentbench.train.telemetry import Clock

    groups = trainer.rollouts.train(trainer.sampler.actor, 0).groups
    _, columns = trainer._columns(groups, Clock("cpu"))
    np.testing.assert_allclose(columns["reference_gap"], 0.0, atol=1e-6)
    for _ in range(3):
        trainer.train_step()
    groups = trainer.rollouts.train(trainer.sampler.actor, 9).groups
    _, columns = trainer._columns(groups, Clock("cpu"))
    assert np.abs(columns["reference_gap"]).max() > 0.01
    assert columns["reference_gap"].mean() > 0  # of samples of the policy, it is a divergence
    trainer.close()


def test_vineppo_branches_of_itself_and_is_gae_without_lookahead(tmp_path: Path) -> None:
    settings = config(scheme="vineppo", branch_rollouts=4)
    policy = make_learner(settings)
    groups = Rollouts(settings, ALONE).train(policy, 0).groups
    values, _ = Branching(settings, ALONE).values(policy, groups, 0)
    control = config(scheme="gae", scheme_options={"gamma": 1.0, "lam": 0.0}, values="branching", branch_rollouts=4)
    same, _ = Branching(control, ALONE).values(policy, groups, 0)
    np.testing.assert_array_equal(values, same)
    table = steps_of(groups, values=values)
    np.testing.assert_allclose(advantages("vineppo", table), advantages("gae", table, gamma=1.0, lam=0.0), atol=1e-12)
    train(settings, tmp_path / "run")
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[0]["branch_steps"] > 0


def test_candidates_of_one_state_are_scored_by_the_expert(tmp_path: Path) -> None:
    settings = read_config(None, HOUSES)
    policy = make_learner(settings)
    groups = Rollouts(settings, ALONE).train(policy, 0).groups
    candidates = Candidates(settings, ALONE)
    more, columns = candidates.add(policy, groups, 0)
    _, same = candidates.add(policy, groups, 0)
    candidates.close()
    played = sum(len(episode.steps) for group in groups for episode in group)
    assert len(columns["oracle"]) == len(columns["choice"]) == 4 * played
    np.testing.assert_array_equal(columns["oracle"], same["oracle"])
    table = steps_of(more, columns=columns)
    found = advantages("vpr", table)
    assert set(columns["oracle"]) == {0.0, 1.0}
    by_decision: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(table.group.tolist(), columns["choice"].tolist(), strict=True)):
        by_decision.setdefault(key, []).append(row)
    flat = [step for group in more for episode in group for step in episode.steps]
    for rows in by_decision.values():
        assert len(rows) == 4 and len({flat[row].observation for row in rows}) == 1
        assert abs(found[rows].sum()) < 1e-6
        right = [row for row in rows if columns["oracle"][row]]
        assert len({flat[row].action for row in right}) <= 1
        assert not found[rows].any() if len(right) in (0, 4) else (found[right] > 0).all()


def test_vpr_learns_what_the_expert_does(tmp_path: Path) -> None:
    train(read_config(None, HOUSES), tmp_path / "run")
    rows = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == 2 and all(np.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows)
    assert rows[0]["seconds/candidates"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "progress_advantage"}, "set outcome_weight in scheme_options"),
        ({"scheme": "vineppo", "overlap": True}, "scheme = vineppo measures the weights that play"),
        ({"scheme": "vineppo", "branch_every": 2}, "every state has to be measured: set branch_every = 1$"),
        ({"scheme": "vpr"}, "no expert|expert"),
        ({**HOUSES, "branch_rollouts": 1}, "set branch_rollouts to 2 or more"),
        ({**HOUSES, "overlap": True}, "set overlap = false"),
        ({**HOUSES, "value_coefficient": 0.5}, "set value_coefficient = 0"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_played(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(config(**settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()
