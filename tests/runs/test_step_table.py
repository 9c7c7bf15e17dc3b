"""One step table: a run on disk gives the schemes the same rows as its episodes in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import report_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from agentbench import UserError, open_run
from agentbench.cli import app
from agentbench.runs.columns import read_steps
from agentbench.runs.episodes import Episode, Step, to_line
from agentbench.runs.steps import groups_by_task, steps_of
from agentbench.runs.trees import is_tree, whole
from credit import Steps

PLACES = st.sampled_from(["hall", "attic", "cellar", "7"])
NUMBERS = st.floats(-2, 2, allow_nan=False, width=32)


@st.composite
def episodes(draw: st.DrawFn, branches: bool = False) -> list[Episode]:
    """Episodes of a few tasks as runs really hold them: won, cut, broken off by an error, some without any step."""
    made = []
    for task in range(draw(st.integers(1, 3))):
        for trial in range(draw(st.integers(1, 4))):
            outcome = draw(st.sampled_from(["success", "failure", "failure", "error"]))
            length = draw(st.integers(0, 4))
            ends = draw(st.sampled_from(["terminated", "truncated", "neither"]))
            steps = [
                Step(
                    observation="",
                    anchor=draw(PLACES),
                    admissible_actions=draw(st.none() | st.just(["wait"])),
                    action=draw(PLACES),
                    reward=draw(NUMBERS),
                    is_valid=draw(st.booleans()),
                    terminated=ends == "terminated" and place == length - 1,
                    truncated=ends == "truncated" and place == length - 1,
                    score=draw(st.floats(0, 1, width=32)),
                )
                for place in range(length)
            ]
            won = outcome == "success"
            error = "the worker died" if outcome == "error" else None
            about = (f"task-{task}", f"house {task}", "Even", "find it", trial)
            episode = Episode(*about, outcome, won, float(won), steps, "the end", draw(PLACES), error)
            before = [each for each in made if each.task_id == episode.task_id and each.is_judged]
            if branches and steps and before and draw(st.booleans()):
                parent = draw(st.sampled_from(before))
                (course,) = [each.steps for each in whole(before) if each.trial == parent.trial]
                episode.parent, episode.fork = parent.trial, draw(st.integers(0, len(course) - 1))
                steps[0].anchor = course[episode.fork].anchor  # it begins where the parent was
                episode.fork_by = draw(st.sampled_from(["snapshot", "replay"]))
            made.append(episode)
    return draw(st.permutations(made))


def assert_same(one: Steps, other: Steps) -> None:
    """Compare every column; groups and episodes by their order, as their ids are names on disk, numbers in memory."""
    for name in ("step", "reward", "state", "next_state", "action", "is_valid", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in ("group", "episode"):
        _, first = np.unique(getattr(one, name), return_inverse=True)
        _, second = np.unique(getattr(other, name), return_inverse=True)
        np.testing.assert_array_equal(first, second, err_msg=name)
    assert set(one.extra) == set(other.extra)
    for name in one.extra:
        if name in ("node", "parent"):  # numbered over the judged steps in memory, over all on disk
            _, first = np.unique(np.maximum(one.extra[name], -1), return_inverse=True)
            _, second = np.unique(np.maximum(other.extra[name], -1), return_inverse=True)
            np.testing.assert_array_equal(first, second, err_msg=name)
            continue
        np.testing.assert_array_equal(one.extra[name], other.extra[name], err_msg=name)


@settings(max_examples=40, deadline=None)
@given(
    made=st.booleans().flatmap(lambda branches: episodes(branches=branches)), penalty=st.sampled_from([0.0, 0.1, 1.5])
)
def test_a_run_on_disk_and_its_episodes_in_memory_give_the_same_table(made: list[Episode], penalty: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(report_runs.write_run(Path(folder) / "run", made))
        groups = groups_by_task(run.read_episodes())
        assert [[each.key for each in group] for group in groups] == [
            [each.key for each in group] for group in groups_by_task(made)
        ]
        if groups:
            assert_same(run.steps(penalty=penalty), steps_of(groups_by_task(made), penalty=penalty))
            without_texts = run.judged_steps(penalty=penalty, texts=False)
            assert not {"observation", "text", "admissible_actions"} & set(without_texts)
            assert_same(Steps.from_frame(without_texts), steps_of(groups_by_task(made), penalty=penalty))
            if not any(is_tree(group) for group in groups):
                read = read_steps(run.current_table("steps"), run.episode_columns(), penalty=penalty)
                assert_same(read, Steps.from_frame(without_texts))


def test_errors_and_empty_episodes_have_no_rows_and_a_penalty_costs_invalid_actions_alone(tmp_path: Path) -> None:
    lost, won = (report_runs.make_episode(1, trial, ["hall", "attic"], won=bool(trial)) for trial in range(2))
    broken = report_runs.make_episode(1, 2, ["hall"], won=False)
    broken.outcome, broken.error = "error", "the worker died"
    empty = report_runs.make_episode(1, 3, [], won=False)
    groups = groups_by_task([won, empty, broken, lost])
    assert groups == [[lost, won]]
    table = steps_of(groups, penalty=0.25)  # task 1's first actions are invalid
    assert table.reward.tolist() == [-0.25, 0.0, -0.25, 1.0]
    assert table.next_state is not None and table.next_state.tolist() == [1, 2, 1, 2]
    run = open_run(report_runs.write_run(tmp_path / "run", [won, empty, broken, lost]))
    assert_same(run.steps(penalty=0.25), table)


def test_values_and_the_kl_term_come_in_as_columns() -> None:
    pair = [report_runs.make_episode(0, trial, ["hall", "attic"], won=bool(trial)) for trial in range(2)]
    table = steps_of([pair], values=np.arange(4.0), kl=np.full(4, 0.5))
    assert table.extra["value"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert table.reward.tolist() == [-0.5, -0.5, -0.5, 0.5]
    with pytest.raises(ValueError, match="value"):
        steps_of([pair], values=np.arange(3.0))


def test_a_branch_shares_its_parents_nodes_and_is_stored_with_its_own_steps_alone(tmp_path: Path) -> None:
    first = report_runs.make_episode(0, 0, ["hall", "attic", "roof"], won=False)
    branch = report_runs.make_episode(0, 1, ["roof", "sky"], won=True)
    branch.parent, branch.fork, branch.fork_by = 0, 2, "snapshot"
    twig = report_runs.make_episode(0, 2, ["sky"], won=False)
    twig.parent, twig.fork, twig.fork_by = 1, 3, "replay"
    chain = report_runs.make_episode(1, 0, ["hall"], won=True)
    run = open_run(report_runs.write_run(tmp_path / "run", [twig, chain, branch, first]))
    assert "parent" not in to_line(chain) and '"parent":0' in to_line(branch)
    assert run.read_episodes() == [first, branch, twig, chain]
    stored = run.step_table
    assert stored["node"].tolist() == [*range(7)] and stored["step"].tolist() == [0, 1, 2, 2, 3, 3, 0]
    assert stored["parent"].tolist() == [-1, 0, 1, 1, 3, 3, -1]
    facts = run.episodes
    assert facts["steps"].tolist() == [3, 4, 4, 1] and facts["total_reward"].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert facts["parent"].tolist()[1:3] == [0, 1] and facts["fork"].tolist()[1:3] == [2, 3]
    table = run.steps()
    assert table.extra["node"].tolist() == [0, 1, 2, 0, 1, 3, 4, 0, 1, 3, 5, 6]
    assert table.extra["own"].tolist() == [True] * 3 + [False, False, True, True] + [False] * 3 + [True] * 2
    assert_same(table, steps_of(groups_by_task([first, branch, twig, chain])))
    said = CliRunner().invoke(app, ["replay", str(tmp_path / "run"), "--episode", "1"]).output
    assert "going on from step 2 of trial 0" in " ".join(said.split())
    values = steps_of(groups_by_task([first, branch, twig, chain]), values=np.arange(7.0)).extra["value"]
    assert values.tolist() == table.extra["node"].tolist()


def test_a_branch_without_its_parent_is_named(tmp_path: Path) -> None:
    branch = report_runs.make_episode(0, 1, ["roof", "sky"], won=True)
    branch.parent, branch.fork, branch.fork_by = 0, 2, "snapshot"
    with pytest.raises(UserError, match="goes on from step 2 of trial 0"):
        steps_of([[branch]])
    with pytest.raises(UserError, match="goes on from step 2 of trial 0"):
        report_runs.write_run(tmp_path / "run", [branch]) and open_run(tmp_path / "run").steps()


def test_a_chain_has_nodes_where_they_are_asked_for() -> None:
    table = steps_of(
        [[report_runs.make_episode(0, trial, ["hall", "attic"], won=False) for trial in range(2)]], tree=True
    )
    assert table.extra["node"].tolist() == [0, 1, 2, 3] and table.extra["parent"].tolist() == [-1, 0, -1, 2]
    assert table.extra["own"].all()
