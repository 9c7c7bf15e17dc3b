"""A tiny language model learns easy games: cloned a little, then trained with a credit scheme."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

from agentbench import evaluate  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.train.clone import clone  # noqa: E402
from agentbench.train.config import read_config  # noqa: E402
from agentbench.train.model_init import init_model  # noqa: E402
from agentbench.train.run import make_learner, train  # noqa: E402
from policies.trainable import save_policy  # noqa: E402

TEMPLATE = 'system = "Act."\nuser = "{% if task %}{{ task }} {% endif %}{{ observation }}"\n'
SPLIT = "generated:1:8:small"


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 0.16 million weights that has seen a few solutions: it solves some games, by far not all."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    run = evaluate("alfworld", "walkthrough", split=SPLIT, out=folder / "solutions", env_options={"max_steps": 10}).run
    (folder / "template.toml").write_text(TEMPLATE)
    init_model(folder / "tiny", size="300k", tokenizer_from=folder / "solutions", vocabulary=600)
    options = {"constrained": True, "template": str(folder / "template.toml"), "max_new_tokens": 40}
    learner = make_learner(
        read_config(None, {"policy": f"hf:{folder / 'tiny'}", "env": "alfworld", "policy_options": options})
    )
    clone(learner, run.read_episodes(), passes=8, batch_size=16, learning_rate=3e-3)
    save_policy(learner, folder / "cloned")
    return folder / "cloned"


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("scheme", ["grpo", "gigpo"])
def test_training_raises_the_success_of_a_cloned_model(tmp_path: Path, cloned: Path, scheme: str) -> None:
    settings = {
        "env": "alfworld",
        "split": SPLIT,
        "env_options": {"max_steps": 10},
        "policy": str(cloned),
        "scheme": scheme,
        "group_size": 8,
        "tasks_per_step": 8,
        "steps": 16,
        "minibatches": 2,
        "learning_rate": 2e-3,
        "checkpoint_every": 100,
    }
    train(read_config(None, settings), tmp_path / "run")
    rows = read_lines(tmp_path / "run" / "metrics.jsonl")
    success = [row["success"] for row in rows]
    assert max(row["sampler_gap"] for row in rows) < 1e-5
    assert np.mean(success[-3:]) > np.mean(success[:3]) + 0.1
