"""Training on what is evaluated, and schemes with nothing to compare: said at the start and kept in the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: F401  (registers the environment)

from agentbench import evaluate
from agentbench.cli import main
from agentbench.evaluation.held_out import is_held_out
from agentbench.train.config import read_config
from agentbench.train.run import train
from agentbench.train.soundness import compares_episodes, training_notes
from envs.alfworld import generator

SMALL = {"env": "toy", "split": "all", "env_options": {"tasks": 4, "max_steps": 6}, "tasks_per_step": 1, "steps": 1}


def notes(**settings: Any) -> list[str]:
    return training_notes(read_config(None, {**SMALL, **settings}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"eval_split": "all"}, "4 of the 4 evaluated tasks"),
        ({"eval_split": "last"}, "1 of the 1 evaluated tasks"),  # another name for a part of the same tasks
        ({"eval_split": "all", "eval_tasks": 2, "split": "last"}, None),  # the shared one is not evaluated
        ({}, None),
        ({"group_size": 1, "scheme": "grpo"}, "group_size = 1 leaves scheme grpo nothing to compare"),
        ({"group_size": 1, "scheme": "gigpo"}, "group_size = 1"),
        ({"group_size": 1, "scheme": "gae", "value_coefficient": 0.5}, None),
        ({"split": "valid_unseen"}, "learning from valid_unseen"),
        ({"split": "test_normal"}, "learning from test_normal"),
    ],
)
def test_what_spoils_a_training_run_is_named(settings: dict[str, Any], said: str | None) -> None:
    found = notes(**settings)
    assert (said is None and not found) or (said and len(found) == 1 and said in found[0]), found


def test_series_of_generated_games_that_overlap_are_known_by_their_tasks() -> None:
    series = {"env": "alfworld", "env_options": {}, "split": "generated:0:4:small"}
    assert "2 of the 2 evaluated tasks" in notes(**series, eval_split="generated:0:2:small")[0]
    assert not notes(**series, eval_split="generated:1:2:small")


def test_splits_are_held_out_by_their_names() -> None:
    assert all(map(is_held_out, ("valid_seen", "valid_unseen", "test_challenge", "dev", "eval", "test")))
    assert not any(map(is_held_out, (None, "train", "valid_train", "generated:0:8", "development")))


def test_schemes_that_compare_are_found_by_what_they_give() -> None:
    assert all(compares_episodes(name, {}) for name in ("grpo", "gigpo", "rloo", "salt"))
    assert not compares_episodes("gae", {})


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(*arguments: Any) -> str:
        monkeypatch.setattr("sys.argv", ["agentbench", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            assert ended.code in (0, None)
        return "".join(capsys.readouterr())

    return call


def test_a_run_says_it_at_the_start_and_keeps_it(
    command: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    flags = ("--env-options", json.dumps(SMALL["env_options"]), "--tasks-per-step", 1, "--steps", 1)
    run = ("--env", "toy", "--split", "all", "--eval-split", "all", "--group-size", 1, "--scheme", "grpo", *flags)
    command("train", *run, "--out", tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["notes"]
    assert len(kept) == 2 and all(note in caplog.messages for note in kept)
    shown = " ".join(command("show", tmp_path / "run").split())
    assert "scorer trained with grpo on toy all: 1 of 1 training steps" in shown and shown.count("note:") == 2
    # The policy that comes out of it is then evaluated on the tasks that it was trained on.
    played = evaluate("toy", str(tmp_path / "run"), out=tmp_path / "played", env_options={"tasks": 6})
    assert any("4 of the 6 evaluated tasks were trained on before" in note for note in played.notes)
    best = evaluate("toy", str(tmp_path / "run" / "best"), out=tmp_path / "best", env_options={"tasks": 6})
    assert any("4 of the 6 evaluated tasks" in note for note in best.notes)


def test_a_policy_by_name_learned_nothing_wherever_one_stands(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = ("--env-options", json.dumps(SMALL["env_options"]), "--tasks-per-step", 1, "--steps", 1)
    command("train", "--env", "toy", "--split", "all", *flags, "--out", tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    assert not evaluate("toy", "random", out=tmp_path / "played", env_options={"tasks": 4}).notes


def test_a_clone_is_known_by_the_tasks_that_it_imitated(command: Any, tmp_path: Path) -> None:
    walk = evaluate("toy", "random", out=tmp_path / "walk", split="last", seed=3, env_options={"tasks": 2})
    assert len(walk.frame) == 1
    command("clone", "--from", tmp_path / "walk", "--out", tmp_path / "clone", "--passes", 1, "--failures")
    settings = {"policy": str(tmp_path / "clone"), "split": "last", "env_options": {"tasks": 4}, "eval_split": "all"}
    found = notes(**settings)
    assert any("1 of the 4 evaluated tasks were trained on before (cloned in" in note for note in found)
    assert json.loads((tmp_path / "walk" / "run.json").read_text())["notes"] == []


def test_a_sweep_says_it_of_each_scheme_that_it_is_true_of(
    command: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    flags = ("--env", "toy", "--split", "all", "--eval-split", "last", "--group-size", 1, "--value-coefficient", 0.5)
    command("sweep", "--schemes", "grpo,gae", *flags, "--seeds", 2, "--out", tmp_path / "sweep", "--summary")
    assert sum("leaves scheme grpo nothing" in said for said in caplog.messages) == 1
    assert not any("scheme gae nothing" in said for said in caplog.messages)
    assert sum("1 of the 1 evaluated tasks" in said for said in caplog.messages) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scheme": "dr_grpo", "entropy_coefficient": 0.1}, True),
        ({"scheme": "dr_grpo", "entropy_coefficient": 0.001}, False),
        ({"scheme": "dr_grpo", "entropy_coefficient": 0.02, "whiten_advantages": True}, False),
        ({"scheme": "dr_grpo"}, False),
    ],
)
def test_an_entropy_bonus_that_is_large_beside_the_advantages_is_said_once(
    settings: dict[str, Any], says: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    train(read_config(None, {**SMALL, "tasks_per_step": 4, "steps": 2, **settings}), tmp_path / "run")
    said = [message for message in caplog.messages if "entropy_coefficient" in message]
    assert len(said) == says, said
    assert not says or "of the deviation of the first advantages" in said[0]


def test_a_training_run_lists_its_games_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generated game is made to be listed, and a recipe lists 2,000: more work than some of its training steps."""
    made, sample = [], generator.sample_house
    monkeypatch.setattr(generator, "sample_house", lambda *given: made.append(given) or sample(*given))
    settings = {"env": "alfworld", "split": "generated:771:70:small", "env_options": {"max_steps": 2}}
    evaluated = {"eval_split": "generated:772:2:small", "eval_tasks": 2, "eval_every": 1}
    small = {"tasks_per_step": 1, "group_size": 2, "steps": 2, "checkpoint_every": 2, "minibatches": 1}
    config = read_config(None, {**settings, **evaluated, **small})
    assert training_notes(config) == []
    train(config, tmp_path / "run")
    assert 72 <= len(made) < 90
