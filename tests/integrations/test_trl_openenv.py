"""TRL's own OpenEnv pattern against our server: one optimizer step of a tiny model made from scratch.

TRL and OpenEnv need other versions of the same packages, so ``make test-openenv`` runs this in the environment of TRL,
and names the folder in which the packages of OpenEnv lie; only those that are missing are taken from there.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import site
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(1800)
if found := os.environ.get("OPENENV_PACKAGES"):
    site.addsitedir(found)

torch = pytest.importorskip("torch", reason="TRL needs torch")
pytest.importorskip("trl", reason="TRL is not installed: pip install -e '.[trl]'")
pytest.importorskip("openenv", reason="serving needs OpenEnv: make openenv test-openenv")

import trl  # noqa: E402
from served_here import serving  # noqa: E402
from trl.chat_template_utils import qwen3_chat_template  # noqa: E402

from envs import make  # noqa: E402

OPTIONS = {"max_steps": 6}


def call(action: str) -> str:
    return f"<tool_call>\n{json.dumps({'name': 'act', 'arguments': {'action': action}})}\n</tool_call>"


def test_one_optimizer_step_by_the_example(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One rollout of a group solves its task. A tiny model calls no tools, so it is told what to say."""
    split = "generated:0:2:small"
    environment = make("alfworld", split=split, **OPTIONS)
    walkthroughs = {}
    for task in environment.tasks:
        _, info = environment.reset(seed=0, options={"task": task.id})
        walkthroughs[info["instruction"]] = info["walkthrough"]
    environment.close()
    left: dict[int, list[str]] = {}
    given: list[torch.Tensor] = []

    def scripted(self: Any, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        tokenizer = self.processing_class
        if not left:
            asked = tokenizer.decode(prompt_ids[0])
            solution = next(actions for text, actions in walkthroughs.items() if text in asked)
            left.update({0: [call(action) for action in solution], 1: [call("look")], 2: ["I give up."], 3: []})
            self.rows = list(left)
        said = [left[row].pop(0) if left[row] else "the end" for row in self.rows]
        self.rows = [row for row, text in zip(self.rows, said, strict=True) if "<tool_call>" in text]
        return [tokenizer(f"{text}<|im_end|>", add_special_tokens=False)["input_ids"] for text in said], None

    plain = trl.GRPOTrainer._compute_loss

    def watched(self: Any, model: Any, inputs: Any) -> Any:
        given.append(inputs["advantages"].clone())
        return plain(self, model, inputs)

    monkeypatch.setattr(trl.GRPOTrainer, "_generate_single_turn", scripted)
    monkeypatch.setattr(trl.GRPOTrainer, "_compute_loss", watched)
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "chat_template.jinja").write_text(qwen3_chat_template)
    script = Path(__file__).parents[2] / "docs/examples/train_with_trl_openenv.py"
    (tmp_path / "example.py").write_text(script.read_text().replace("TASKS = 64", "TASKS = 2"))
    with serving("alfworld", [split], OPTIONS, inline=True) as url:
        monkeypatch.setattr("sys.argv", ["example.py", str(model), str(tmp_path / "out"), "1", url])
        runpy.run_path(str(tmp_path / "example.py"), run_name="__main__")
    assert "1 step(s), reward 0.250" in capsys.readouterr().out
    assert sorted(given[0].sign().tolist()) == [-1.0, -1.0, -1.0, 1.0]
    from safetensors.torch import load_file

    before, after = load_file(model / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert any(not torch.equal(before[name].float(), after[name].float()) for name in before)
