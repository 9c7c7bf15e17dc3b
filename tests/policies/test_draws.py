"""A step's draws are what numpy's generator of the same seed gives: stored runs of random policies stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentbench.runs.provenance import stable_seed, step_seed
from policies.plain.draws import Draws

seeds = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1]))
counts = st.one_of(st.integers(1, 200), st.sampled_from([2**31 + 5, 3 * 2**30, 2**32 - 1]))


@given(st.lists(seeds, min_size=1, max_size=2), st.lists(counts, max_size=5), st.booleans())
def test_equal_numpys(entropy: list[int], counts: list[int], begins_with_share: bool) -> None:
    theirs, ours = np.random.default_rng(entropy if len(entropy) > 1 else entropy[0]), Draws(*entropy)
    if begins_with_share:
        assert ours.random() == theirs.random()
    for count in counts:
        assert ours.index(count) == int(theirs.integers(count))
    assert ours.random() == theirs.random()


@pytest.mark.parametrize("entropy", [(-1,), (2**128,), (2**64, 2**64)])
def test_a_seed_that_is_none_is_refused(entropy: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a seed is made of"):
        Draws(*entropy)


@given(st.integers(0, 2**63), st.text(max_size=20), st.integers(0, 9), st.integers(0, 10**6))
def test_the_seed_of_a_step_is_the_stable_one(seed: int, task: str, trial: int, step: int) -> None:
    assert step_seed(seed, task, trial, step) == stable_seed(seed, task, trial, step)
