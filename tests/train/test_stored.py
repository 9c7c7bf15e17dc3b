"""Rollouts of training steps that are stored: runs like others, credited again with the numbers of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import toy_environment  # noqa: E402, F401  (registers the environment 'toy')
from killed_run import train_until  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from agentbench import load  # noqa: E402
from agentbench.cli import app, main  # noqa: E402
from agentbench.train import trainer as module  # noqa: E402
from agentbench.train.batch import Batch  # noqa: E402
from agentbench.train.config import read_config  # noqa: E402
from agentbench.train.run import train  # noqa: E402


def config(**settings: Any) -> Any:
    small = {"env": "toy", "split": "all", "env_options": {"tasks": 4, "max_steps": 6}, "tasks_per_step": 4, "steps": 2}
    small |= {"rollouts": "tree", "scheme": "tree_grpo", "trees": 2, "forks": 2, "fork_rounds": 2, "store_every": 1}
    return read_config(None, {**small, "learning_rate": 0.01, "minibatches": 2, "checkpoint_every": 1, **settings})


def credit(run: Path, scheme: str, *more: str) -> pd.DataFrame:
    out = run.with_suffix(f".{scheme}.csv")
    done = CliRunner().invoke(app, ["credit", str(run), "--scheme", scheme, "--out", str(out), *more])
    assert done.exit_code == 0, done.output
    return pd.read_csv(out)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """What training learned from, a batch a training step."""
    seen: list[Batch] = []
    made = module.make_batch

    def remember(*arguments: Any) -> Batch:
        seen.append(made(*arguments))
        return seen[-1]

    monkeypatch.setattr(module, "make_batch", remember)
    return seen


@pytest.mark.parametrize("scheme", ["tree_grpo", "spo", "pivot_retry"])
def test_a_stored_tree_is_credited_again_with_the_numbers_of_the_training(
    tmp_path: Path, batches: list[Batch], scheme: str
) -> None:
    options = {"tree_grpo": {"backup": "children", "gamma": 0.9}}.get(scheme, {})
    train(config(scheme=scheme, scheme_options=options, invalid_action_penalty=0.25), tmp_path)
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    for step, batch in enumerate(batches, start=1):
        run = tmp_path / "rollouts" / f"step-{step:06d}"
        found = credit(run, scheme, *flags, "--invalid-action-penalty", "0.25")
        assert len(found) == len(batch.table) > len(batch) and found["own"].sum() == len(batch)
        np.testing.assert_allclose(found[scheme], batch.of_rows, rtol=0, atol=1e-12)
        assert found[scheme].abs().max() > 0
        own = found[found["own"]]
        np.testing.assert_allclose(own[scheme], batch.advantages, rtol=0, atol=1e-12)
        assert own[["task_id", "trial", "step"]].equals(
            load(run).step_table[["task_id", "trial", "step"]].set_index(own.index)
        )
    assert len(batches) == 2


def test_a_tree_in_which_nothing_branched_off_is_one_all_the_same(tmp_path: Path, batches: list[Batch]) -> None:
    train(config(step_budget=6, trees=1, steps=1), tmp_path)
    assert len(batches) == 1
    found = credit(tmp_path / "rollouts" / "step-000001", "tree_grpo")
    np.testing.assert_allclose(found["tree_grpo"], batches[0].of_rows)


def test_a_scheme_that_needs_a_tree_names_the_setting_on_chains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config(rollouts="chain", scheme="grpo", group_size=3, steps=1), tmp_path)
    run = tmp_path / "rollouts" / "step-000001"
    credit(run, "grpo")
    for scheme in ("tree_grpo", "spo", "pivot_retry"):
        monkeypatch.setattr("sys.argv", ["agentbench", "credit", str(run), "--scheme", scheme])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        assert "play with rollouts = tree" in " ".join(capsys.readouterr().err.split())


def test_each_draw_of_a_task_is_a_group_of_its_own(tmp_path: Path, batches: list[Batch]) -> None:
    train(config(env_options={"tasks": 1, "max_steps": 6}, tasks_per_step=2, steps=1), tmp_path)
    runs = sorted(path for path in (tmp_path / "rollouts").iterdir() if path.is_dir())
    assert [run.name for run in runs] == ["step-000001", "step-000001-2"]
    found = [credit(run, "tree_grpo")["tree_grpo"] for run in runs]
    np.testing.assert_allclose(np.concatenate(found), batches[0].of_rows)


def test_only_every_so_many_steps_are_stored_and_a_killed_run_stores_the_same(tmp_path: Path) -> None:
    settings = config(steps=4, store_every=2)
    train(settings, tmp_path / "whole")
    train_until(3, settings, tmp_path / "cut")
    train(settings, tmp_path / "cut", resume=True)
    for run in (tmp_path / "whole", tmp_path / "cut"):
        assert sorted(path.name for path in (run / "rollouts").iterdir()) == ["step-000002", "step-000004"]
    for name in ("step-000002", "step-000004"):
        first, second = (load(tmp_path / run / "rollouts" / name) for run in ("whole", "cut"))
        pd.testing.assert_frame_equal(first.step_table, second.step_table)
        assert first.identity == second.identity and first.identity["training_step"] == int(name[-1])


def test_storing_is_no_other_run(tmp_path: Path) -> None:
    train(config(store_every=None, steps=2), tmp_path)
    assert not (tmp_path / "rollouts").exists()
    train(config(store_every=1, steps=2), tmp_path, resume=True)  # refused if it were part of what decides a run
