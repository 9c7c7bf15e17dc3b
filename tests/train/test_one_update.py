"""The example on one page does what the trainer does: its first update is the trainer's own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

from agentbench.runs.steps import steps_of  # noqa: E402
from agentbench.train.config import TrainConfig  # noqa: E402
from agentbench.train.trainer import Trainer  # noqa: E402
from policies.scorer import ScorerPolicy  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "one_update.py"


@pytest.fixture(name="example")
def load_example() -> ModuleType:
    """Import the example from its file: it is no package."""
    spec = importlib.util.spec_from_file_location("one_update", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def settings_of(example: ModuleType) -> TrainConfig:
    return TrainConfig(
        env=example.ENV,
        split=example.SPLIT,
        env_options={"max_steps": example.MAX_STEPS},
        scheme=example.SCHEME,
        group_size=example.GROUP_SIZE,
        tasks_per_step=example.TASKS,
        invalid_action_penalty=example.INVALID_ACTION_PENALTY,
        steps=1,
        minibatches=1,
        learning_rate=example.LEARNING_RATE,
        clip_low=example.CLIP,
        clip_high=example.CLIP,
        max_grad_norm=example.MAX_GRAD_NORM,
        seed=example.SEED,
    )


def test_the_example_makes_the_trainers_own_first_update(example: ModuleType, tmp_path: Path) -> None:
    start = ScorerPolicy(seed=example.SEED)
    ours, theirs = ScorerPolicy(seed=example.SEED), ScorerPolicy(seed=example.SEED)
    config = settings_of(example)
    trainer = Trainer(config, theirs, tmp_path)
    groups = trainer.rollouts.train(theirs, 0).groups
    trainer.rollouts.position = 0
    metrics = trainer.train_step()
    trainer.close()
    steps, credit, loss = example.first_update(ours)

    table = steps_of(groups, penalty=config.invalid_action_penalty)
    for name in ("group", "episode", "step", "reward"):
        np.testing.assert_array_equal(getattr(steps, name), getattr(table, name), err_msg=name)
    assert np.abs(credit).max() > 0, "a batch without credit would prove nothing"
    assert loss == pytest.approx(metrics["loss"], abs=1e-6)
    first, one, two = (policy.module.state_dict() for policy in (start, ours, theirs))
    assert max(float((one[name] - first[name]).abs().max()) for name in first) > 1e-4, "nothing was learned"
    # The first step of Adam is as long for a gradient of rounding errors as for a real one, and which sign those have
    # depends on the order of the sum: the bias of a softmax, whose gradient is 0, and a few weights beside it.
    gaps = torch.cat([(one[name] - two[name]).abs().flatten() for name in one if name != "score.bias"])
    assert float((gaps > 1e-6).float().mean()) < 0.002
    assert float(gaps.mean()) < 1e-7


def test_the_example_fits_on_a_page() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 150
