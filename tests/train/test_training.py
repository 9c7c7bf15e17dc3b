"""Training as a whole: it learns, it resumes bit for bit, it refuses what cannot work before anything is played."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: E402  (registers the environment 'toy')
from killed_run import train_until  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from agentbench import UserError, evaluate  # noqa: E402
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.train.clone import clone  # noqa: E402
from agentbench.train.config import read_config  # noqa: E402
from agentbench.train.run import COLUMNS, make_learner, train  # noqa: E402
from agentbench.train.trainer import Trainer  # noqa: E402
from credit import CreditError  # noqa: E402
from credit.registry import SCHEMES  # noqa: E402
from policies.scorer import ScorerPolicy  # noqa: E402
from policies.trainable import save_policy  # noqa: E402


def config(**settings: Any) -> Any:
    """A run on the counting toy that takes a second or two."""
    small = {
        "env": "toy",
        "split": "all",
        "env_options": {"tasks": 4, "max_steps": 6},
        "group_size": 6,
        "tasks_per_step": 4,
        "steps": 6,
        "learning_rate": 0.01,
        "minibatches": 2,
        "checkpoint_every": 1,
    }
    return read_config(None, {**small, **settings})


def weights(folder: Path) -> dict[str, Any]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(folder / "weights.safetensors").items()}


QUICK = {"grpo", "gigpo", "hgpo", "salt", "mapo"}
TRAINABLE = [name for name, scheme in SCHEMES.items() if set(scheme.needs) <= {*COLUMNS, "value"}]


PROBLEMS = {
    # Two arms, one pull: only one of them pays.
    "bandit": {"env_options": {"tasks": 1, "max_steps": 1}, "steps": 30},
    # Five states in a row, seven steps to come through: at random that works in a quarter of the episodes.
    "chain": {"split": "last", "env_options": {"tasks": 5, "max_steps": 7}, "steps": 30},
}


@pytest.mark.parametrize("problem", list(PROBLEMS))
@pytest.mark.parametrize(
    "scheme", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TRAINABLE]
)
def test_every_scheme_solves_a_bandit_and_a_chain(tmp_path: Path, scheme: str, problem: str) -> None:
    value = {"value_coefficient": 0.5} if "value" in SCHEMES[scheme].needs else {}
    train(config(scheme=scheme, checkpoint_every=30, seed=1, **PROBLEMS[problem], **value), tmp_path)
    rows = read_lines(tmp_path / "metrics.jsonl")
    assert rows[0]["success"] < 0.7
    assert np.mean([row["success"] for row in rows[-5:]]) > 0.93


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, after: int) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config(checkpoint_every=2), whole)

    train_until(after, config(checkpoint_every=2), cut)
    train(config(checkpoint_every=2), cut, resume=True)
    assert weights(whole / "policy") == weights(cut / "policy")

    def measured(folder: Path) -> list[dict[str, Any]]:
        timed = ("seconds", "steps_per_second", "tokens_per_second", "memory")
        rows = read_lines(folder / "metrics.jsonl")
        return [{name: value for name, value in row.items() if not name.startswith(timed)} for row in rows]

    assert measured(whole) == measured(cut)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    train(config(), whole)
    shutil.copytree(whole, damaged)
    newest = damaged / "checkpoints" / "step-000006" / "weights.safetensors"
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    shutil.rmtree(damaged / "policy")
    train(config(), damaged, resume=True)
    assert "is damaged" in caplog.text and "going back to the one before" in caplog.text
    assert weights(whole / "policy") == weights(damaged / "policy")


def test_the_same_seed_gives_the_same_curve_and_another_one_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(config(seed=seed, steps=3), tmp_path / name)
    assert weights(tmp_path / "a" / "policy") == weights(tmp_path / "b" / "policy")
    assert weights(tmp_path / "a" / "policy") != weights(tmp_path / "c" / "policy")


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_cutting_a_minibatch_into_pieces_changes_no_gradient(tmp_path: Path, ratio: str) -> None:
    gradients = []
    for budget in (10_000, 7):
        settings = config(token_budget=budget, minibatches=1, aggregation="episode", value_coefficient=0.5, ratio=ratio)
        trainer = Trainer(settings, make_learner(settings), tmp_path)
        trainer.optimizer.step = lambda *_: None  # type: ignore[method-assign]
        trainer.train_step()
        gradients.append(
            torch.cat([each.grad.flatten() for each in trainer.module.parameters() if each.grad is not None])
        )
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)
    assert float(gradients[0].abs().max()) > 0


def test_sampling_and_training_agree_on_the_log_probabilities(tmp_path: Path) -> None:
    settings = config(minibatches=1)
    trainer = Trainer(settings, make_learner(settings), tmp_path)
    assert trainer.train_step()["log_ratio"] < 1e-6


def test_groups_without_a_difference_are_left_out_and_refilled(tmp_path: Path) -> None:
    settings = config(drop_equal_groups=True, refills=2, env_options={"tasks": 6, "max_steps": 6})
    trainer = Trainer(settings, make_learner(settings), tmp_path)
    played = trainer.rollouts.train(trainer.policy, 0)
    assert all(len({episode.won for episode in group}) > 1 for group in played.groups)
    assert len(played.episodes) > len(played.groups) * settings.group_size


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"scheme": "gigo"}, CreditError, "gigpo"),
        ({"scheme": "gigpo", "scheme_options": {"gama": 0.9}}, CreditError, "gamma"),
        ({"scheme": "gigpo", "scheme_options": {"gamma": 2.0}}, CreditError, "gamma"),
        ({"policy": "random"}, UserError, "cannot be trained"),
        ({"split": "generated:0:3", "env": "alfwrld"}, UserError, "did you mean alfworld"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_played(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train(config(**settings), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lerning_rate": 1}, "did you mean learning_rate"),
        ({"max_steps": 30}, r"option of the environment .alfworld., .* write --env-options '\{\"max_steps\": 30\}'"),
        ({"group_size": 0}, "group_size must be a whole number of at least 1, got 0"),
        ({"ratio": "word"}, "ratio"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_config(None, settings)


def test_settings_come_from_a_file_and_flags_go_over_it(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('scheme = "salt"\nsteps = 7\n')
    found = read_config(tmp_path / "recipe.toml", {"steps": 9})
    assert (found.scheme, found.steps) == ("salt", 9)
    (tmp_path / "bad.toml").write_text("scheme = ")
    with pytest.raises(UserError, match="cannot read the configuration"):
        read_config(tmp_path / "bad.toml", {})


def test_a_folder_that_holds_a_run_needs_resume(tmp_path: Path) -> None:
    train(config(steps=1), tmp_path)
    with pytest.raises(UserError, match="add --resume"):
        train(config(steps=1), tmp_path)
    with pytest.raises(UserError, match="steps: 1 → 2"):
        train(config(steps=2), tmp_path, resume=True)


def test_a_loss_that_is_no_number_stops_with_the_batch_saved(tmp_path: Path) -> None:
    settings = config()
    trainer = Trainer(settings, make_learner(settings), tmp_path)
    with torch.no_grad():
        trainer.policy.module.value[1].bias.fill_(float("nan"))
    trainer.config = settings.model_copy(update={"value_coefficient": 1.0})
    with pytest.raises(
        UserError, match=r"the loss is nan at training step 0: training stopped; the batch is in .*failed-batch.jsonl"
    ):
        trainer.train_step()
    assert len((tmp_path / "failed-batch.jsonl").read_text().splitlines()) == 24


def test_cloning_raises_the_likelihood_and_the_policy_can_be_saved_and_evaluated(tmp_path: Path) -> None:
    run = evaluate("toy", toy_environment.UpPolicy(), out=tmp_path / "expert").run
    policy = ScorerPolicy(seed=0)
    losses = clone(policy, run.read_episodes(), passes=20, learning_rate=0.01)
    assert losses[-1] < 0.2 * losses[0]
    save_policy(policy, tmp_path / "cloned")
    result = evaluate("toy", str(tmp_path / "cloned"), out=tmp_path / "evaluated")
    assert result.frame["won"].mean() > 0.8
    assert result.run.config["identity"]["policy_digest"] == policy.digest


def test_a_damaged_policy_is_named(tmp_path: Path) -> None:
    save_policy(ScorerPolicy(), tmp_path)
    record = json.loads((tmp_path / "policy.json").read_text())
    record["sha256"] = "0" * 64
    (tmp_path / "policy.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="its seal is broken"):
        evaluate("toy", str(tmp_path), out=tmp_path / "run")
    del record["seal"]
    (tmp_path / "policy.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="is damaged"):
        evaluate("toy", str(tmp_path), out=tmp_path / "run")
