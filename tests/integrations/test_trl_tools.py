"""``environment_factory`` of TRL: its own tool loop plays our environments, and each message gets its step's advantage.

A tiny random model calls no tools, so what it says is written down here; all else is TRL's: the chat template, parsing,
the tool loop, masks, loss and optimizer.
"""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="TRL needs torch")
pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[trl]'")

import dice_environment  # noqa: E402
from dice_environment import DiceEnv  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402
from trl.chat_template_utils import qwen3_chat_template  # noqa: E402

from agentbench.integrations.trl_tools import (  # noqa: E402
    FAILED,
    OVER,
    ToolEnvironment,
    ToolGRPOTrainer,
    environment_factory,
    prompts,
)
from agentbench.runs.steps import steps_of  # noqa: E402
from credit import advantages  # noqa: E402
from envs.base.errors import UserError  # noqa: E402


@pytest.fixture(autouse=True)
def dice() -> None:
    dice_environment.register()


def call(*actions: str, name: str = "act", argument: str = "action") -> str:
    calls = [json.dumps({"name": name, "arguments": {argument: action}}) for action in actions]
    return "\n".join(f"<tool_call>\n{each}\n</tool_call>" for each in calls)


SCRIPTS = (
    [call("throw")] * 6,  # until it ends, and on
    ["I give up."],  # no call at all
    [call("throw", name="jump"), call("throw"), "enough"],  # a tool that there is not, then one that there is
    [call("throw", "throw"), call("throw")],  # two actions in one message
)


class Scripted:
    """Says what the scripts say, in place of sampling; looks at what reaches the loss."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        tokenizer = self.processing_class  # type: ignore[attr-defined]
        if len(prompt_ids) == len(SCRIPTS) and not getattr(self, "left", None):
            self.left = {row: list(script) for row, script in enumerate(SCRIPTS)}
            self.rows = list(self.left)
            self.asked: list[str] = []
        self.asked += [tokenizer.decode(ids) for ids in prompt_ids]
        said = [self.left[row].pop(0) if self.left[row] else "the end" for row in self.rows]
        self.rows = [row for row, text in zip(self.rows, said, strict=True) if "<tool_call>" in text]
        ids = [tokenizer(f"{text}<|im_end|>", add_special_tokens=False)["input_ids"] for text in said]
        return ids, None

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        self.given = {name: each.detach().clone() for name, each in inputs.items() if torch.is_tensor(each)}
        return super()._compute_loss(model, inputs)  # type: ignore[misc]


class Watched(Scripted, ToolGRPOTrainer):
    def episodes_and_turns(self, output: Any) -> Any:
        self.episodes, self.turns = super().episodes_and_turns(output)
        self.output = {name: output[name].clone() for name in ("completion_ids", "tool_mask", "completion_mask")}
        return self.episodes, self.turns


class Plain(Scripted, GRPOTrainer):
    pass


def settings(folder: Path) -> GRPOConfig:
    return GRPOConfig(
        str(folder),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=1500,
        max_tool_calling_iterations=6,
        max_steps=1,
        learning_rate=1e-3,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        shuffle_dataset=False,
    )


def tokenizer(model: Path) -> Any:
    found = AutoTokenizer.from_pretrained(model)
    found.chat_template = qwen3_chat_template
    return found


def test_every_message_gets_the_advantage_of_its_step(tiny_model: Path, tmp_path: Path) -> None:
    made = Watched(
        str(tiny_model),
        env="dice",
        split="all",
        scheme="gigpo",
        scheme_options={"gamma": 0.9},
        args=settings(tmp_path),
        processing_class=tokenizer(tiny_model),
    )
    before = torch.cat([each.detach().flatten() for each in made.model.parameters()])
    made.train()
    assert not torch.equal(before, torch.cat([each.detach().flatten() for each in made.model.parameters()]))
    first, idle, confused, double = made.episodes
    assert len({each.task_id for each in made.episodes}) == 1
    assert {step.action for step in first.steps} == {"throw"}
    assert first.steps[-1].terminated != first.steps[-1].truncated
    assert [(step.action, step.reward, step.is_valid, step.truncated) for step in idle.steps] == [
        ("I give up.", 0.0, False, True)
    ]
    assert [step.is_valid for step in confused.steps[:2]] == [False, True]
    assert confused.steps[0].action == 'jump({"action": "throw"})'
    assert confused.steps[0].anchor == confused.steps[1].anchor  # nothing happened
    assert double.steps[0].action.split("\n")[0] == "throw"
    expected = advantages("gigpo", steps_of([made.episodes]), gamma=0.9)
    assert np.abs(expected).max() > 0.1
    parts = np.split(expected, np.cumsum([len(each.steps) for each in made.episodes])[:-1])
    table = made.given["advantages"]
    shuffled = {tuple(row): table[index] for index, row in enumerate(made.given["completion_ids"].tolist())}
    for row, (values, turn) in enumerate(zip(parts, made.turns, strict=True)):
        found = shuffled[tuple(made.output["completion_ids"][row].tolist())]
        wanted = np.where(turn >= 0, values.astype(np.float32)[np.maximum(turn, 0)], 0)
        assert np.array_equal(found.numpy(), wanted)
        ids = made.output["completion_ids"][row]
        text = [made.processing_class.decode(ids[turn == step]) for step in range(len(values))]
        said = [f"{each}<|im_end|>" for each in [*SCRIPTS[row], *["the end"] * 9]]
        assert text == said[: len(values)]
    assert made.state.log_history[0]["reward"] == pytest.approx(
        np.mean([sum(step.reward for step in each.steps) for each in made.episodes])
    )


def test_the_model_sees_what_the_environment_says(tiny_model: Path, tmp_path: Path) -> None:
    made = Watched(
        str(tiny_model), env="dice", split="all", args=settings(tmp_path), processing_class=tokenizer(tiny_model)
    )
    made.train()
    opening = made.asked[0]
    assert "Call the tool `act`" in opening and '"name": "act"' in opening
    episode = made.episodes[0]
    assert f"Task: {episode.instruction}\n\n{episode.steps[0].observation}" in opening
    assert "Admissible actions:\n- throw" in opening
    longest = max(made.asked, key=len)
    assert any(step.observation in longest for step in episode.steps[1:]) or len(episode.steps) == 1


def test_our_environments_play_in_trls_own_trainer(tiny_model: Path, tmp_path: Path) -> None:
    made = Plain(
        str(tiny_model),
        args=settings(tmp_path),
        train_dataset=prompts("dice", "all"),
        environment_factory=environment_factory("dice", "all"),
        processing_class=tokenizer(tiny_model),
    )
    made.train()
    rewards = [environment.get_reward() for environment in made.environments]
    assert made.state.log_history[0]["rewards/ToolEnvironment/mean"] == pytest.approx(np.mean(rewards))
    assert made.given["advantages"].shape == (4,)


def test_an_environment_that_fails_is_no_failure_of_the_model(tiny_model: Path, tmp_path: Path) -> None:
    made = Watched(
        str(tiny_model),
        env="dice",
        split="all",
        env_options={"tasks": 1, "broken": 0},
        args=settings(tmp_path),
        processing_class=tokenizer(tiny_model),
    )
    made.train()
    assert {each.outcome for each in made.episodes} == {"error"}
    assert "this task cannot be begun" in made.episodes[0].error
    assert not made.given["advantages"].any()


def test_an_environment_that_hangs_is_given_up_and_made_anew() -> None:
    made: list[DiceEnv] = []

    def make_one() -> DiceEnv:
        made.append(DiceEnv(stuck=None if made else 0))
        return made[-1]

    environment = ToolEnvironment(make_one, seed=0, step_timeout=0.5)
    assert environment.reset("dice:0") == FAILED
    assert environment.error == "the environment failed: TimeoutError: no answer within 0.5 s, see step_timeout"
    assert environment.act("throw") == OVER
    assert environment.get_reward() is None
    assert environment.reset("dice:0").startswith("Task: throw 0")
    assert environment.error is None and len(made) == 2


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"scheme": "gae"}, "value"),
        ({"scheme_options": {"gama": 1.0}}, "did you mean gamma"),
        ({"reward_funcs": []}, "leave it out"),
        ({"env": "dise"}, "did you mean dice"),
    ],
)
def test_settings_with_which_the_result_would_be_wrong_are_refused(
    tiny_model: Path, tmp_path: Path, more: dict[str, Any], text: str
) -> None:
    with pytest.raises(UserError, match=text):
        ToolGRPOTrainer(str(tiny_model), **{"env": "dice", "split": "all", "args": settings(tmp_path), **more})


def test_the_example_runs(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "chat_template.jinja").write_text(qwen3_chat_template)
    script = Path(__file__).parents[2] / "docs/examples/train_with_trl_tools.py"
    shorter = script.read_text().replace("max_completion_length=4096", "max_completion_length=32")
    (tmp_path / "example.py").write_text(shorter)
    monkeypatch.setattr("sys.argv", ["example.py", str(model), str(tmp_path / "out"), "1"])
    runpy.run_path(str(tmp_path / "example.py"), run_name="__main__")
    assert "1 step" in capsys.readouterr().out
    assert (tmp_path / "out/model.safetensors").is_file()
