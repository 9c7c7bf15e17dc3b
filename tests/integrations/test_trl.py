"""TRL's own trainer, on this machine's processor: what reaches its loss is what the scheme computed, token by token."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="TRL needs torch")
pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[trl]'")

import dice_environment  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from trl import GRPOConfig  # noqa: E402

from agentbench.integrations.trl import AgentGRPOTrainer  # noqa: E402
from agentbench.runs.steps import steps_of  # noqa: E402
from credit import advantages  # noqa: E402
from envs.base.errors import UserError  # noqa: E402


@pytest.fixture(autouse=True)
def dice() -> None:
    dice_environment.register()


class Watched(AgentGRPOTrainer):
    """Remembers what TRL's loss was given."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        self.seen = getattr(self, "seen", [])
        self.seen.append({name: each.detach().clone() for name, each in inputs.items() if torch.is_tensor(each)})
        self.played = getattr(self, "played", [])
        self.played.append(list(self.rollout.episodes))
        return super()._compute_loss(model, inputs)


def settings(folder: Path, **more: Any) -> GRPOConfig:
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_steps": 1,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        **more,
    }
    return GRPOConfig(**options)


def trainer(model: Path, folder: Path, **more: Any) -> Any:
    config = more.pop("args", None) or settings(folder, **more.pop("config", {}))
    chosen = {"env": "dice", "split": "all", "workers": 0, "policy_options": {"max_new_tokens": 6}, **more}
    return Watched(str(model), args=config, **chosen)


def check_loss(made: Any, scheme: str, options: dict[str, Any]) -> None:
    """What TRL's loss was given is the episodes, with the scheme's advantage on every sampled token."""
    (given,), (episodes,) = made.seen, made.played
    expected = advantages(scheme, steps_of([episodes]), **options)
    assert np.abs(expected).max() > 0.1
    by_ids = {}
    start = 0
    for episode in episodes:
        steps = episode.steps
        by_ids[tuple(steps[-1].trace.ids.tolist())] = (steps, expected[start : start + len(steps)])
        start += len(steps)
    sampled = 0
    for row in range(4):  # in whatever order TRL has shuffled them
        prompt = given["prompt_ids"][row][given["prompt_mask"][row].bool()]
        length = int(given["completion_mask"][row].sum())
        steps, values = by_ids[tuple(prompt.tolist() + given["completion_ids"][row][:length].tolist())]
        wanted = torch.zeros(given["completion_ids"].shape[1])
        mask = torch.zeros_like(wanted)
        log_probs = torch.zeros_like(wanted)
        for step, value in zip(steps, values, strict=True):
            first = len(step.trace.prompt) - len(prompt)
            place = slice(first, first + step.trace.tokens)
            wanted[place], mask[place] = float(np.float32(value)), 1
            log_probs[place] = torch.from_numpy(step.trace.log_probs)
        assert torch.equal(given["advantages"][row], wanted)
        assert torch.equal((given["tool_mask"][row] * given["completion_mask"][row]).float(), mask)
        assert torch.equal(given["sampling_per_token_logps"][row], log_probs)
        sampled += int(mask.sum())
    assert sampled == sum(step.trace.tokens for episode in episodes for step in episode.steps)


def weights_of(made: Any) -> dict[str, Any]:
    return {name: each.detach().clone() for name, each in made.model.named_parameters()}


@pytest.mark.parametrize(("scheme", "options"), [("gigpo", {"gamma": 0.9}), ("grpo", {}), ("hgpo", {}), ("mapo", {})])
def test_the_loss_gets_the_schemes_advantage_on_every_sampled_token(
    tiny_model: Path, tmp_path: Path, scheme: str, options: dict[str, Any]
) -> None:
    made = trainer(tiny_model, tmp_path, scheme=scheme, scheme_options=options)
    before = weights_of(made)
    made.train()
    check_loss(made, scheme, options)
    after = weights_of(made)
    assert any(not torch.equal(after[name], before[name]) for name in before), "the step changed no weight"
    assert made.state.global_step == 1


def test_adapters_alone_are_trained_and_sample(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    adapters = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)  # so that they do something
    made = trainer(
        tiny_model, tmp_path, peft_config=adapters, config={"num_iterations": 2, "max_steps": 2, "beta": 0.1}
    )
    before = weights_of(made)
    made.train()
    made.seen, made.played = made.seen[:1], made.played[:1]
    check_loss(made, "gigpo", {})
    given = made.seen[0]
    mask = (given["tool_mask"] * given["completion_mask"]).bool()
    for name, least, most in (("old_per_token_logps", 0.0, 1e-4), ("ref_per_token_logps", 1e-3, 10.0)):
        gap = float((given[name] - given["sampling_per_token_logps"])[mask].abs().max())
        assert least <= gap < most, f"{name}: the adapters sample, and the bare model is the reference"
    after = weights_of(made)
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert changed and changed <= {name for name in before if "lora_" in name}


@pytest.mark.slow
def test_two_processes_train_as_one(tiny_model: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "support/trl_processes.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parent)}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    rows, weights = [], []
    for launch, name, count in (([], "one", 4), (torchrun, "two", 2)):  # two rows each: the group is torn
        command = [sys.executable, *launch, str(script), str(tiny_model), str(tmp_path / name), str(count)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        parts = [json.loads(path.read_text()) for path in sorted((tmp_path / name).glob("rows-*.json"))]
        assert [len(part) for part in parts] == [count] * (4 // count)
        rows.append(sorted(row for part in parts for row in part))
        weights.append(torch.load(tmp_path / name / "weights.pt"))
    assert rows[0] == rows[1]
    assert any(any(values) for *_, values in rows[0])
    start = torch.cat([each.flatten() for each in AutoModelForCausalLM.from_pretrained(tiny_model).parameters()])
    assert float((weights[0] - start).abs().max()) > 1e-3
    assert float((weights[0] - weights[1]).abs().max()) < 1e-6


def test_what_was_sampled_is_as_likely_for_trl_as_it_was_when_sampled(tiny_model: Path, tmp_path: Path) -> None:
    # Two passes over a batch: only then does TRL compute the log-probabilities of the sampling weights itself.
    made = trainer(tiny_model, tmp_path, config={"num_iterations": 2, "max_steps": 2, "temperature": 0.7})
    made.train()
    given = made.seen[0]
    mask = (given["tool_mask"] * given["completion_mask"]).bool()
    gap = (given["old_per_token_logps"] - given["sampling_per_token_logps"])[mask].abs().max()
    assert float(gap) < 1e-4


def test_two_tasks_a_batch_are_two_groups(tiny_model: Path, tmp_path: Path) -> None:
    made = trainer(tiny_model, tmp_path, scheme="grpo", config={"per_device_train_batch_size": 8})
    made.train()
    episodes = made.played[0]
    assert [each.task_id for each in episodes[:4]] == [episodes[0].task_id] * 4 != [episodes[4].task_id] * 4
    groups = [episodes[:4], episodes[4:]]
    expected = advantages("grpo", steps_of(groups))
    found = sorted({round(float(each), 5) for each in made.seen[0]["advantages"].unique()} - {0.0})
    assert found == sorted({round(float(each), 5) for each in expected} - {0.0})
    assert len({step.trace.answer.tobytes() for each in episodes[:4] for step in each.steps[:1]}) > 1


def test_an_episode_that_cannot_be_played_teaches_nothing(tiny_model: Path, tmp_path: Path) -> None:
    made = trainer(tiny_model, tmp_path, env_options={"tasks": 1, "broken": 0})
    before = weights_of(made)
    made.train()
    assert all(episode.outcome == "error" for episode in made.played[0])
    assert not made.seen[0]["advantages"].any()
    assert all(torch.equal(each, before[name]) for name, each in made.model.named_parameters())
    assert made.state.log_history[0]["episodes/errors"] == 4


def test_an_episode_that_outgrows_the_context_keeps_its_first_steps(tiny_model: Path, tmp_path: Path) -> None:
    made = trainer(
        tiny_model, tmp_path, policy_options={"max_new_tokens": 6, "max_context": 700}, env_options={"max_steps": 12}
    )
    made.train()
    left_out = made.state.log_history[0]["episodes/steps_left_out"]
    assert left_out > 0
    kept = sum(len(set(tokens.turn[tokens.turn >= 0].tolist())) for tokens in made.rollout.tokens)
    assert kept + left_out == sum(len(episode.steps) for episode in made.rollout.episodes)


def test_the_same_seed_gives_the_same_training(tiny_model: Path, tmp_path: Path) -> None:
    weights = []
    for name in ("first", "second"):
        made = trainer(tiny_model, tmp_path / name, config={"max_steps": 2, "seed": 5})
        made.train()
        weights.append(torch.cat([each.detach().flatten() for each in made.model.parameters()]))
    assert torch.equal(*weights)


def test_held_out_tasks_are_played_in_evaluation(tiny_model: Path, tmp_path: Path) -> None:
    made = trainer(tiny_model, tmp_path, eval_split="held out", config={"per_device_eval_batch_size": 4})
    found = made.evaluate()
    assert np.isfinite(found["eval_reward"])
    assert {each.task_id.split("-")[1] for each in made.rollout.episodes} == {"held out"}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"scheme": "gigpoo"}, "did you mean gigpo"),
        ({"scheme": "gigpo", "scheme_options": {"gama": 0.9}}, "did you mean gamma"),
        ({"scheme": "gae"}, "value"),
        ({"config": {"top_p": 0.9}}, "top_p=0.9"),
        ({"config": {"mask_truncated_completions": True}}, "mask_truncated_completions"),
        ({"policy_options": {"history": 2}}, "'history' is always 'all'"),
        ({"policy_options": {"temperature": 0.5}}, "GRPOConfig"),
        ({"reward_funcs": []}, "leave it out"),
        ({"env": "dise"}, "did you mean dice"),
    ],
)
def test_settings_with_which_the_result_would_be_wrong_are_refused(
    tiny_model: Path, tmp_path: Path, more: dict[str, Any], text: str
) -> None:
    with pytest.raises(UserError, match=text):
        trainer(tiny_model, tmp_path, **more)


def test_the_example_runs(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(__file__).parents[2] / "docs/examples/train_with_trl.py"
    monkeypatch.setattr("sys.argv", [str(script), str(tiny_model), str(tmp_path / "out"), "1"])
    runpy.run_path(str(script), run_name="__main__")
    assert "1 step" in capsys.readouterr().out
    assert (tmp_path / "out/model.safetensors").is_file()
