"""Groups of one size behind each other are computed as a matrix: the same numbers, to the last bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from credit import Steps, advantages, grouping


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
