"""Episodes as sequences, turns from masks, and the check of versions; hand-worked."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

from agentbench.integrations import versions
from agentbench.integrations.episode_tokens import join_steps, spread, step_advantages
from agentbench.runs.episodes import Episode, Step
from envs.base.errors import UserError
from policies.language.sequences import Sampled


def sampled(prompt: list[int], answer: list[int]) -> Sampled:
    log_probs = [-float(each) for each in answer]
    return Sampled(np.array(prompt, np.int32), np.array(answer, np.int32), np.array(log_probs, np.float32))


def test_steps_become_one_sequence() -> None:
    found = join_steps([sampled([1, 2], [3]), sampled([1, 2, 3, 8, 9], [4, 5])])
    assert found.prompt == [1, 2] and found.completion == [3, 8, 9, 4, 5]
    assert found.turn.tolist() == [0, -1, -1, 1, 1]
    assert found.log_probs == [-3, 0, 0, -4, -5]
    assert spread(np.array([0.5, -1.0]), found.turn).tolist() == [0.5, 0, 0, -1, -1]


def test_steps_that_do_not_continue_the_sequence_are_left_out() -> None:
    found = join_steps([sampled([1, 2], [3]), sampled([1, 8], [4]), sampled([1, 8, 4, 7], [5])])
    assert found.completion == [3] and found.turn.tolist() == [0] and found.steps_left_out == 2


def episode(rewards: list[float], outcome: str = "failure") -> Episode:
    steps = [Step("", "", None, "", each, True, False, False, 0.0) for each in rewards]
    return Episode("task", "", "", "", 0, outcome, False, 0.0, steps)  # type: ignore[arg-type]


def test_episodes_that_were_not_judged_are_not_compared() -> None:
    groups = [[episode([0.0, 1.0]), episode([5.0], "error"), episode([0.0])], [episode([], "error")]]
    first, broken, last = step_advantages(groups, "rloo", {})[0]
    assert first.tolist() == [1.0, 1.0] and broken.tolist() == [0.0] and last.tolist() == [-1.0]


@pytest.mark.parametrize(("package", "range_", "text"), [("numpy", "<1", "is installed"), ("no-such", ">1", "needs")])
def test_a_wrong_version_is_one_clear_line(package: str, range_: str, text: str) -> None:
    with pytest.raises(UserError, match=rf"{text}.*pip install -e '.*\[trl\]'"):
        versions.require(package, range_, "trl")


def test_the_ranges_are_those_of_the_extras() -> None:
    import tomllib
    from pathlib import Path

    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = extras["optional-dependencies"]
    assert f"trl{versions.TRL}" in extras["trl"] and f"verl{versions.VERL}" in extras["verl"]
    assert f"openenv{versions.OPENENV}" in extras["openenv"] and [f"skyrl-gym{versions.SKYRL_GYM}"] == extras["skyrl"]
    assert [f"inspect-ai{versions.INSPECT}"] == extras["inspect"]
    assert [f"verifiers{versions.VERIFIERS}"] == extras["verifiers"]


def test_nothing_of_ours_imports_another_trainer() -> None:
    code = (
        "import sys, agentbench, agentbench.cli, agentbench.integrations; print({'trl','verl','ray'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
