"""A teacher that judges the policy's answers while training: the column of ``agentopsd``."""

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
from agentbench.runs.lines import read_lines  # noqa: E402
from agentbench.train.config import TrainConfig, read_config  # noqa: E402
from agentbench.train.run import make_learner, train  # noqa: E402
from agentbench.train.telemetry import Clock  # noqa: E402
from agentbench.train.trainer import Trainer  # noqa: E402
from policies.scorer.policy import ScorerPolicy  # noqa: E402
from policies.trainable import save_policy  # noqa: E402

TOY = {"env": "toy", "split": "all", "env_options": {"tasks": 4, "max_steps": 6}, "group_size": 4, "tasks_per_step": 3}
TOY |= {"steps": 3, "learning_rate": 0.01, "minibatches": 2, "checkpoint_every": 1, "scheme": "agentopsd"}


def config(**settings: Any) -> TrainConfig:
    return read_config(None, {**TOY, **settings})


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A saved scorer with other weights than a new one."""
    save_policy(ScorerPolicy(seed=7), tmp_path / "teacher")
    return tmp_path / "teacher"


def gaps(settings: TrainConfig, folder: Path) -> tuple[Any, Any, Trainer]:
    """The column of a first training step, the groups it is of, and the trainer."""
    trainer = Trainer(settings, make_learner(settings), folder)
    groups = trainer.rollouts.train(trainer.sampler.actor, 0).groups
    _, columns = trainer._columns(groups, Clock("cpu"))
    trainer.close()
    return columns["teacher_gap"], groups, trainer


@pytest.mark.parametrize("tree", [False, True])
def test_the_gap_is_how_much_likelier_the_teacher_would_have_answered(
    tmp_path: Path, teacher: Path, tree: bool
) -> None:
    shape = {"rollouts": "tree", "trees": 2, "forks": 2} if tree else {}
    found, groups, _ = gaps(config(teacher=str(teacher), **shape), tmp_path)
    other, expected = ScorerPolicy(seed=7), []
    for step in (step for group in groups for episode in group for step in episode.steps):
        with torch.no_grad():
            said = float(other.likelihood([step.trace]).log_probs[0, 0])
        expected.append(said - step.trace.log_prob)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found).max() > 1e-3


def test_a_policy_that_is_its_own_teacher_has_no_gap(tmp_path: Path) -> None:
    save_policy(ScorerPolicy(seed=0), tmp_path / "same")
    found, _, _ = gaps(config(teacher=str(tmp_path / "same")), tmp_path)
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_a_killed_run_learns_from_the_teacher_as_an_uninterrupted_one_does(tmp_path: Path, teacher: Path) -> None:
    settings = config(teacher=str(teacher))
    before = (teacher / "weights.safetensors").read_bytes()
    train(settings, tmp_path / "whole")
    train_until(2, settings, tmp_path / "cut")
    train(settings, tmp_path / "cut", resume=True)
    train(config(scheme="grpo"), tmp_path / "grpo")
    whole, cut, other = (
        {name: each.numpy().tobytes() for name, each in load_file(folder / "policy" / "weights.safetensors").items()}
        for folder in (tmp_path / "whole", tmp_path / "cut", tmp_path / "grpo")
    )
    assert whole == cut != other, "the teacher said nothing"
    assert (teacher / "weights.safetensors").read_bytes() == before
    assert read_lines(tmp_path / "whole" / "metrics.jsonl")[0]["seconds/teacher"] >= 0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
    from twelve_configurations import save_model

    return save_model(tmp_path / "model")


def language(model: Path, **settings: Any) -> TrainConfig:
    from twelve_configurations import configuration

    plain = configuration("plain", model, "cpu").model_dump(exclude_unset=True)
    houses = {"env": "alfworld", "split": "generated:0:2:small", "env_options": {"max_steps": 3}, "eval_split": None}
    return TrainConfig(**{**plain, **houses, "scheme": "agentopsd", "teacher": f"hf:{model}", **settings})


@pytest.mark.parametrize("history", ["all", 1])
@pytest.mark.parametrize("tree", [False, True])
def test_a_language_model_sees_as_a_teacher_what_it_saw_when_it_played(
    tmp_path: Path, model: Path, history: Any, tree: bool
) -> None:
    shape = {"rollouts": "tree", "trees": 1, "forks": 1} if tree else {}
    settings = language(model, policy_options={"max_tokens": 6, "history": history}, **shape)
    settings = settings.model_copy(update={"teacher_options": {"history": history}})
    found, groups, trainer = gaps(settings, tmp_path / "run")
    np.testing.assert_allclose(found, 0.0, atol=1e-4)
    assert trainer.teacher is not None
    played = [step.trace for group in groups for episode in group for step in episode.steps]
    for seen, trace in zip(trainer.teacher.traces(groups), played, strict=True):
        np.testing.assert_array_equal(seen.prompt, trace.prompt)
        assert seen.ends == trace.ends and seen.answer is trace.answer


def test_the_same_model_with_a_hint_is_another_teacher(tmp_path: Path, model: Path) -> None:
    hint = tmp_path / "hint.toml"
    hint.write_text('system = "You act in a house. First find the thing, then bring it to where it belongs."\n')
    settings = language(model, teacher_options={"template": str(hint)})
    found, groups, trainer = gaps(settings, tmp_path / "run")
    assert trainer.teacher is not None and np.abs(found).max() > 1e-2
    text = trainer.teacher.policy.tokenizer.decode(trainer.teacher.traces(groups)[0].prompt)
    assert "First find the thing" in text
    metrics = Trainer(settings, make_learner(settings), tmp_path / "again").train_step()
    assert np.isfinite(metrics["loss"]) and metrics["grad_norm"] > 0


def test_a_teacher_with_other_tokens_is_refused(tmp_path: Path, model: Path) -> None:
    import tiny_language as tiny

    from agentbench.train.model_init import train_tokenizer

    other = tmp_path / "other"
    tiny.model().save_pretrained(other)
    train_tokenizer(iter(["quite another text 12345 " * 40]), 330, 4096).save_pretrained(other)
    with pytest.raises(UserError, match="has another tokenizer than policy"):
        Trainer(settings := language(model, teacher=f"hf:{other}"), make_learner(settings), tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "scheme 'agentopsd' compares the policy with a teacher, and none is named: set teacher to"),
        ({"teacher": "nowhere/at/all"}, "no teacher in nowhere/at/all: give the folder of a saved policy"),
        ({"teacher": "random"}, "of the kind 'random' and policy scorer of 'scorer': a teacher judges"),
        ({"teacher": "scorer", "scheme": "grpo"}, "scheme 'grpo' asks no teacher: take teacher out"),
    ],
)
def test_a_teacher_that_cannot_judge_is_refused_before_anything_is_played(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        train(config(**settings), tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_a_run_without_a_teacher_is_the_run_that_it_was_before_there_were_any() -> None:
    assert not {"teacher", "teacher_options"} & set(config(scheme="grpo").deciding())
    assert {"teacher", "teacher_options"} <= set(config(teacher="scorer", teacher_options={"history": 1}).deciding())


def test_a_run_of_a_sweep_without_a_teacher_is_gone_on_with(tmp_path: Path) -> None:
    from agentbench.train.sweep import plan_sweep

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'env = "toy"\nsplit = "all"\nenv_options = { tasks = 2, max_steps = 2 }\nsteps = 1\neval_split = "last"\n'
    )
    (run,) = plan_sweep(recipe, {}, ["grpo"], 1, tmp_path / "runs")
    train(run.config, run.folder)
    (again,) = plan_sweep(recipe, {}, ["grpo"], 1, tmp_path / "runs")  # refused if nobody's setting counted as one
    assert again.is_finished
