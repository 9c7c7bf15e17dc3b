"""The critic of a language model: what it learns, what its gradient is, and whole runs with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("peft", reason="adapters need peft: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402
from killed_run import train_until  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from twelve_configurations import configuration, save_model  # noqa: E402

from agentbench.runs.episodes import Episode, Step  # noqa: E402
from agentbench.train.batch import Batch  # noqa: E402
from agentbench.train.config import TrainConfig  # noqa: E402
from agentbench.train.optimizer import make_optimizer  # noqa: E402
from agentbench.train.run import make_learner, refuse_unfit_scheme, train  # noqa: E402
from agentbench.train.subgoals import subgoals  # noqa: E402
from agentbench.train.trainer import VALUE_RATE, Trainer  # noqa: E402
from agentbench.train.update import update  # noqa: E402
from envs.base.errors import UserError  # noqa: E402
from policies.registry import load_policy  # noqa: E402
from policies.vllm.weights import write_model  # noqa: E402

READS_VALUES = ["gae", "turn_ppo", "bi_level_gae", "hiper"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def critic_config(model: Path, **settings: Any) -> TrainConfig:
    """Settings of a short run with a critic, whose model says what is understood."""
    plain = configuration("constrained", model, "cpu").model_dump(exclude_unset=True)
    return TrainConfig(**{**plain, "scheme": "gae", "value_coefficient": 0.5, **settings})


def made_up_batch(player: Any, seeds: int, turns: int) -> Batch:
    """Episodes whose return is told by what was seen: the seed modulo 3, and what turn it is."""
    traces = tiny.traces(tiny.play(player, range(seeds), turns))
    number = np.arange(seeds * turns)
    returns = (number // turns % 3) / 2 + 0.25 * (number % turns)
    gain = np.random.default_rng(0).normal(size=len(number))
    tokens = np.array([trace.tokens for trace in traces])
    return Batch(traces, gain, returns, number // turns, tokens, None)  # type: ignore[arg-type]


def test_the_critic_learns_a_known_return_alone() -> None:
    player = tiny.policy().with_critic(1)
    assert player.has_critic and not tiny.policy().has_critic
    batch = made_up_batch(player, 3, 2)
    before = {name: tensor.clone() for name, tensor in player.weights.model.state_dict().items()}
    config = TrainConfig(value_coefficient=1.0, value_warmup=60, minibatches=1, max_grad_norm=1e9)
    optimizer = make_optimizer(player.module, 0.01, 0.0, player.critic, 0.2)
    for step in range(60):
        found = update(player, optimizer, batch, config, step)
    values = player.likelihood(batch.traces).values
    assert values is not None and values.shape == (6,)
    assert found["value_loss"] < 0.2 * float(np.var(batch.returns))
    assert np.corrcoef(values.detach().numpy(), batch.returns)[0, 1] > 0.9
    assert all(torch.equal(before[name], each) for name, each in player.weights.model.state_dict().items())
    update(player, optimizer, batch, config, 60)  # from here on both learn
    assert not all(torch.equal(before[name], each) for name, each in player.weights.model.state_dict().items())


@pytest.mark.parametrize("options", [{}, {"constrained": True}, pytest.param({"lora": 4}, marks=pytest.mark.slow)])
def test_the_gradient_is_that_of_a_plain_restatement(options: dict[str, Any]) -> None:
    player = tiny.policy(**options).with_critic(1)
    with torch.no_grad():
        player.critic.weight.normal_(generator=torch.Generator().manual_seed(0))
        player.critic.bias.fill_(0.3)
    batch = made_up_batch(player, 3, 2)
    config = TrainConfig(value_coefficient=0.7, minibatches=1, max_grad_norm=1e9, token_budget=200)
    optimizer = make_optimizer(player.module, 1e-3, 0.0, player.critic, 1e-3)
    optimizer.step = lambda *_: None  # type: ignore[method-assign]
    update(player, optimizer, batch, config, 0)
    found = {name: each.grad.clone() for name, each in player.module.named_parameters() if each.grad is not None}

    player.module.zero_grad(set_to_none=True)
    body: Any = player.weights.model.get_base_model() if options.get("lora") else player.weights.model
    for row, trace in enumerate(batch.traces):
        ids = torch.tensor(trace.ids.astype(np.int64))[None]
        hidden = body.model(input_ids=ids, use_cache=False).last_hidden_state[0]
        logits = body.lm_head(hidden[len(trace.prompt) - 1 : -1])
        if trace.trie is not None:
            for place in range(trace.tokens):
                allowed = set(trace.trie.allowed(trace.answer[:place].tolist()))
                logits[place, [token for token in range(logits.shape[1]) if token not in allowed]] = -1e30
        new = logits.log_softmax(-1)[torch.arange(trace.tokens), torch.tensor(trace.answer.astype(np.int64))]
        ratio = (new - torch.tensor(trace.log_probs)).exp()
        state = hidden[len(trace.prompt) - 1]
        state = (state - state.mean()) / (state.var(correction=0) + 1e-5).sqrt() / math.sqrt(len(state))
        value = player.critic.weight[0] @ state + player.critic.bias[0]
        loss = -(ratio * batch.advantages[row]).mean() + 0.7 * (value - batch.returns[row]) ** 2
        (loss / len(batch)).backward()
    expected = {name: each.grad for name, each in player.module.named_parameters() if each.grad is not None}
    assert found.keys() == expected.keys() and "critic.weight" in found
    largest = max(float(each.abs().max()) for each in expected.values())
    assert all(torch.allclose(found[name], each, atol=2e-5 * largest) for name, each in expected.items())


@pytest.mark.parametrize("settings", [{}, pytest.param({"lora": 4, "overlap": True}, marks=pytest.mark.slow)])
def test_a_run_with_a_critic_goes_on_to_the_same_bytes(tmp_path: Path, model: Path, settings: dict[str, Any]) -> None:
    config = critic_config(model, steps=4, value_warmup=1, value_learning_rate=0.02, eval_split=None, **settings)
    train(config, tmp_path / "whole")

    train_until(3, config, tmp_path / "cut")
    train(config, tmp_path / "cut", resume=True)
    whole, cut = (tmp_path / name / "policy" / "weights.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["value_loss"] >= 0 for row in rows)
    weights = load_file(whole)
    assert weights["critic.weight"].abs().max() > 0.01
    # What was learned is there to begin with, and a scheme without values does without it.
    again = load_policy(tmp_path / "whole")
    assert torch.equal(again.critic.weight, weights["critic.weight"])  # type: ignore[attr-defined]
    later = critic_config(model, policy=str(tmp_path / "whole"), policy_options={}, steps=1, eval_split=None)
    assert torch.equal(make_learner(later).critic.weight, weights["critic.weight"])  # type: ignore[attr-defined]


def test_without_a_critic_nothing_is_saved_or_hashed_of_one(model: Path) -> None:
    plain = tiny.policy()
    with_critic = plain.with_critic(1)
    assert plain.digest == with_critic.digest
    assert "critic_values" not in plain.settings() and with_critic.settings()["critic_values"] == 1
    config = TrainConfig(policy=f"hf:{model}")
    assert not {"value_learning_rate", "value_warmup"} & config.deciding().keys()
    assert "value_warmup" in critic_config(model, value_warmup=1).deciding()


@pytest.mark.parametrize("scheme", READS_VALUES)
def test_every_scheme_that_reads_values_trains(tmp_path: Path, model: Path, scheme: str) -> None:
    config = critic_config(model, scheme=scheme, steps=1, eval_split=None)
    refuse_unfit_scheme(config)
    trainer = Trainer(config, make_learner(config), tmp_path)
    rates = {group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {0.01, VALUE_RATE}
    metrics = trainer.train_step()
    trainer.close()
    assert math.isfinite(metrics["value_loss"]) and metrics["grad_norm"] > 0
    assert trainer.policy.critic.values == (3 if scheme == "hiper" else 1)  # type: ignore[attr-defined]


def test_weights_in_bfloat16_have_a_critic_in_float32(tmp_path: Path, model: Path) -> None:
    config = critic_config(
        model, policy_options={"constrained": True, "precision": "bfloat16"}, steps=1, eval_split=None
    )
    trainer = Trainer(config, make_learner(config), tmp_path)
    assert math.isfinite(trainer.train_step()["value_loss"])
    trainer.close()
    critic: Any = trainer.policy.critic  # type: ignore[attr-defined]
    assert critic.weight.dtype == torch.float32 and critic.weight.abs().max() > 0


def test_vllm_is_handed_the_model_without_its_critic(tmp_path: Path) -> None:
    player = tiny.policy().with_critic(1)
    write_model(player, tmp_path, player.module.state_dict())
    assert sorted(load_file(tmp_path / "model.safetensors")) == sorted(player.weights.model.state_dict())


def test_sub_goals_are_read_from_answers() -> None:
    def step(text: str | None) -> Step:
        return Step("", "", None, "", 0.0, True, False, False, 0.0, text)

    texts = ["<subgoal>find a mug</subgoal><action>look</action>", "<action>look</action>", None]
    texts += ["<SubGoal> find  a mug </SubGoal>", "<subgoal>heat it</subgoal>"]
    groups = [
        [Episode("", "", "", "", trial, "failure", False, 0.0, steps)]
        for trial, steps in enumerate([[step(text) for text in texts], [step("<action>look</action>"), step(texts[0])]])
    ]
    found = subgoals(groups)
    assert found["switch"].tolist() == [True, False, False, False, True, True, True]
    assert found["subgoal"].tolist() == [0, 0, 0, 0, 1, -1, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "gae", "value_coefficient": 0.0}, "set value_coefficient"),
        ({"scheme": "hiper", "value_coefficient": 0.0}, "set value_coefficient"),
        ({"scheme": "hiper", "values": "branching"}, "needs values = critic"),
        ({"scheme": "hiper", "policy": "scorer", "policy_options": {}}, "needs 3 values a step"),
    ],
)
def test_what_no_critic_can_do_is_said_before_anything_is_played(
    model: Path, settings: dict[str, Any], message: str
) -> None:
    config = critic_config(model, **settings)
    with pytest.raises(UserError, match=message):
        refuse_unfit_scheme(config)
        make_learner(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"value_warmup": 1, "value_coefficient": 0.0}, "set value_coefficient"),
        ({"value_warmup": 2, "steps": 2}, "leaves nothing of 2 training steps"),
    ],
)
def test_a_warm_up_without_use_is_refused(model: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        critic_config(model, **settings)


def test_the_scorers_critic_learns_at_its_own_rate_and_alone_at_first(tmp_path: Path) -> None:
    settings = {"env": "toy", "env_options": {"tasks": 2}, "split": "all", "scheme": "gae", "value_coefficient": 0.5}
    config = TrainConfig(**settings, group_size=2, tasks_per_step=2, steps=2, value_warmup=1, value_learning_rate=0.05)
    trainer = Trainer(config, make_learner(config), tmp_path)
    before = {name: tensor.clone() for name, tensor in trainer.module.state_dict().items()}
    trainer.train_step()
    moved = {name for name, each in trainer.module.state_dict().items() if not torch.equal(before[name], each)}
    assert moved == {"value.1.weight", "value.1.bias"}
    assert float((trainer.module.state_dict()["value.1.bias"] - before["value.1.bias"]).abs().max()) > 0.01
    trainer.train_step()
    trainer.close()
    assert not torch.equal(before["score.weight"], trainer.module.state_dict()["score.weight"])
