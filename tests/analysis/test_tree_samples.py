"""Samples that are played as trees: courses, forks, and a step that is measured once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentbench.analysis.quality.measured import TREES, measure_trees
from agentbench.analysis.quality.measures import measure
from agentbench.analysis.quality.sample import Sample, estimate
from agentbench.analysis.quality.table import Quality
from agentbench.analysis.quality.trees import Shape, tree_sample
from agentbench.analysis.truth.problems import PROBLEMS, make_problem
from credit import advantages
from credit.tools.exact import solve


def rows_of(sample: Sample) -> pd.DataFrame:
    """The whole courses as the schemes see them, numbered over all batches."""
    parts = [
        pd.DataFrame(
            {"episode": each.episode, "step": each.step, "node": each.column("node"), "own": each.column("own")}
        )
        for each in sample.batches
    ]
    return pd.concat(parts, ignore_index=True)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(sorted(PROBLEMS)),
    shape=st.builds(
        Shape, st.integers(1, 4), st.integers(0, 3), st.integers(0, 3), st.sampled_from(["uniform", "pivot"])
    ),
    seed=st.integers(0, 5),
)
def test_a_branch_goes_on_from_what_its_parent_played(name: str, shape: Shape, seed: int) -> None:
    problem = make_problem(name)
    sample = tree_sample(problem, shape, groups=3, seed=seed)
    rows = rows_of(sample)
    assert rows["own"].sum() == rows["node"].nunique() == len(sample.truth)
    assert (rows["own"].to_numpy() == sample.own).all()
    courses = dict(list(rows.groupby("episode")))
    played_by = rows[rows["own"]].set_index("node")["episode"]
    branches = 0
    for episode, course in courses.items():
        assert course["step"].tolist() == list(range(len(course)))
        assert course["own"].is_monotonic_increasing and course["own"].iloc[-1]  # what is shared, then what is its own
        shared = course[~course["own"]]
        branches += episode % shape.episodes >= shape.trees
        if len(shared):
            parent = courses[played_by[shared["node"].iloc[-1]]]
            assert parent["node"].tolist()[: len(shared)] == shared["node"].tolist()
            assert parent["episode"].iloc[0] // shape.episodes == episode // shape.episodes
    assert branches <= 3 * shape.trees * shape.forks * shape.rounds
    if all(len(course) >= shape.forks * shape.rounds for course in courses.values()):
        assert branches == 3 * shape.trees * shape.forks * shape.rounds
    # What is true is a fact of state, step and action, whoever came there.
    states, actions = problem.process.reward.shape
    state, step = sample.cell // actions % states, sample.cell // actions // states
    np.testing.assert_array_equal(sample.truth, solve(problem.process).A[step, state, sample.cell % actions])


def test_without_branches_trees_are_chains() -> None:
    sample = tree_sample(make_problem("chain"), Shape(trees=8, rounds=0), groups=20, seed=1)
    found = {scheme: estimate(sample, scheme)[0] for scheme in ("pivot_retry", "spo")}
    grpo = np.concatenate([advantages("grpo", part) for part in sample.batches])
    np.testing.assert_allclose(found["pivot_retry"], grpo, atol=1e-12)
    assert sample.own is not None and sample.own.all() and len(found["spo"]) == len(grpo)


def test_a_branch_at_the_pivot_begins_before_the_step_with_the_lowest_advantage() -> None:
    problem, shape = make_problem("key-door"), Shape(trees=3, rounds=1, choice="pivot")
    roots, grown = (tree_sample(problem, each, groups=4, seed=2) for each in (replace(shape, rounds=0), shape))
    chains, rows = rows_of(roots), rows_of(grown)
    chains["score"] = np.concatenate([advantages("rtmc", part) for part in roots.batches])
    branches = rows[(rows["episode"] % shape.episodes >= shape.trees) & rows["own"]].groupby("episode")["step"].min()
    assert len(branches) == 12
    for branch, fork in branches.items():
        group, tree = branch // shape.episodes, branch % shape.episodes - shape.trees
        chain = chains[chains["episode"] == group * shape.trees + tree]
        later = chain[chain["step"] > 0] if fork else chain
        assert chain["score"].iloc[fork] == pytest.approx(later["score"].min())


def test_the_true_advantage_of_trees_points_where_that_of_chains_does() -> None:
    sample = tree_sample(make_problem("aliased"), Shape(), groups=60, seed=0)
    found = measure(sample, sample.truth)
    assert found["pearson"].estimate == pytest.approx(1) and found["cosine"].estimate > 0.99


def test_every_tree_scheme_is_measured_on_trees() -> None:
    found = Quality()
    measure_trees(found, ["chain", "harvest"], groups=6, seed=0)
    frame = found.frame()
    assert not found.skipped and set(frame["setting"]) == {"trees"} and found.main().empty
    for scheme, shape in TREES.items():
        own = frame[frame["scheme"] == scheme]
        assert len(own) == 2 and set(own["value"]) == {str(shape)} and (own["pearson"] > 0.1).all()
