"""What a training run of a language model measures at its start, records, and takes again when it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402

from agentbench.train import memory  # noqa: E402
from agentbench.train.chosen import choose_for_training  # noqa: E402
from agentbench.train.config import read_config  # noqa: E402
from agentbench.train.run import make_learner, train  # noqa: E402
from envs.base.digest import sealed  # noqa: E402
from envs.base.errors import UserError  # noqa: E402


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "model"
    tiny.model().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return {
        "policy": f"hf:{folder}",
        "policy_options": {"max_tokens": 6},
        "env": "alfworld",
        "split": "generated:0:1:small",
        "env_options": {"max_steps": 2},
        "scheme": "grpo",
        "group_size": 2,
        "tasks_per_step": 1,
        "minibatches": 1,
        "steps": 1,
        "invalid_action_penalty": 0.1,
    }


def test_a_large_model_has_its_passes_sized_and_its_precision_measured_once(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(None, {**settings, "precision": "auto"})
    assert choose_for_training(config, make_learner(config)).precision == "float32"  # small models stay in it
    monkeypatch.setattr(memory, "LARGE", 1_000)
    train(config, tmp_path / "run")
    path = tmp_path / "run" / "chosen.json"
    chosen = json.loads(path.read_text())
    assert set(chosen["seconds"]) == {"float32", "bfloat16"} and chosen["precision"] in chosen["seconds"]
    assert 0 < chosen["token_budget"] != 65_536
    path.write_text(json.dumps(sealed({"precision": "bfloat16", "token_budget": 123, "seconds": {}})))
    again = choose_for_training(config, make_learner(config), tmp_path / "run")
    assert (again.precision, again.token_budget) == ("bfloat16", 123)
    path.write_text(path.read_text().replace("123", "124"))
    with pytest.raises(UserError, match="cannot be read"):
        choose_for_training(config, make_learner(config), tmp_path / "run")


def test_what_was_said_is_not_chosen(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LARGE", 1_000)
    config = read_config(None, {**settings, "token_budget": 500, "precision": "bfloat16"})
    assert choose_for_training(config, make_learner(config)) == config


def test_a_learner_computes_activations_again_only_for_long_passes(settings: dict[str, Any]) -> None:
    player = tiny.policy()
    traces = tiny.traces(tiny.play(player, range(3), turns=2))
    longest = sum(player.sequence_lengths(traces))

    def kept() -> int:
        found = 0

        def count(tensor: Any) -> Any:
            nonlocal found
            found += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            player.likelihood(traces)
        return found

    whole = kept()
    player.learner.recompute_above(longest)
    assert kept() == whole
    player.learner.recompute_above(longest - 1)
    assert kept() < whole / 2
    assert not player.module.model.training
