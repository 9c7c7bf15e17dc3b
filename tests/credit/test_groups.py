"""Groups of one size behind each other are computed as a matrix: the same numbers, to the last bit."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit import Steps, advantages, grouping
from credit.steps import factorize


@pytest.mark.parametrize(("count", "width"), [(50, 8), (3, 64), (9, 1), (2, 100)])
def test_equal_groups_give_what_any_groups_give(count: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(width)
    values = rng.choice([0.0, -0.0, 1.0, -1.0, 0.1, 1e9, 1 / 3], count * width)
    table = pd.DataFrame(
        {"group": np.arange(count * width) // width, "episode": np.arange(count * width), "step": 0, "reward": values}
    )

    def found() -> list[np.ndarray]:
        groups = grouping.Groups.by(table["group"].to_numpy())
        of_groups = [groups.size, groups.sum(values), groups.mean(values), groups.largest(np.abs(values))]
        return [*of_groups, *(advantages(name, Steps.from_frame(table)) for name in ("grpo", "rloo", "dr_grpo"))]

    assert grouping.Groups.by(table["group"].to_numpy()).width == (width if width <= 64 else 0)
    sooner = found()
    monkeypatch.setattr(grouping, "_WIDEST", 0)
    for one, other in zip(sooner, found(), strict=True):
        assert one.tobytes() == other.tobytes()


def test_groups_that_only_look_equal_are_no_matrix() -> None:
    assert grouping.Groups.by(np.array([0, 1, 0, 1])).width == 0
    assert grouping.Groups.by(np.array([0, 0, 0, 1])).width == 0


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3) | st.integers(-(2**62), 2**62), max_size=30))
def test_whole_numbers_are_numbered_as_they_come_first_with_pandas_and_without(ids: list[int]) -> None:
    values = np.array(ids, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        with_pandas = factorize(values)
        patch.delitem(sys.modules, "pandas")
        without = factorize(values)
    for one, other in zip(with_pandas, without, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype == np.int64
