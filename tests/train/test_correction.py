"""The gap between sampler and trainer: truncation, rejection and the denominator, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

import tiny_language as tiny  # noqa: E402
import toy_environment  # noqa: E402, F401  (registers the environment 'toy')

from agentbench import UserError  # noqa: E402
from agentbench.train.batch import Batch  # noqa: E402
from agentbench.train.config import TrainConfig  # noqa: E402
from agentbench.train.correction import correct  # noqa: E402
from agentbench.train.gap import correct_batch  # noqa: E402
from agentbench.train.loss import policy_loss, token_weights  # noqa: E402
from agentbench.train.run import make_learner  # noqa: E402
from agentbench.train.settings import CorrectionSettings, LossSettings  # noqa: E402
from agentbench.train.trainer import Trainer  # noqa: E402
from agentbench.train.update import update  # noqa: E402

RATIOS = [[1.0, 1.5, 3.0], [0.4, 6.0, 0.0]]
"""Of trainer to sampler, by token; the last of the second step is no token."""
MASK = torch.tensor([[True, True, True], [True, True, False]])


def corrected(**options: Any) -> Any:
    trained = torch.tensor(RATIOS).clamp(min=1e-9).log() - 2
    return correct(trained, torch.full((2, 3), -2.0), MASK, CorrectionSettings(**options))


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        ({}, [[1.0, 1.5, 2.0], [0, 0, 0]]),  # 3 is cut at 2; 0.4 and 6 are outside [0.5, 5]
        ({"clip": 1.2}, [[1.0, 1.2, 1.2], [0, 0, 0]]),
        ({"below": 0.3, "above": 10.0}, [[1.0, 1.5, 2.0], [0.4, 2.0, 0]]),
        ({"below": 1.2}, [[0, 1.5, 2.0], [0, 0, 0]]),
        ({"level": "step"}, [[2.0, 2.0, 2.0], [2.0, 2.0, 0]]),  # 1 · 1.5 · 3 = 4.5 and 0.4 · 6 = 2.4, both cut
        ({"level": "step", "clip": 3.0}, [[3.0, 3.0, 3.0], [2.4, 2.4, 0]]),
        ({"level": "step", "above": 4.0}, [[0, 0, 0], [2.0, 2.0, 0]]),
    ],
)
def test_factors_by_hand(options: dict[str, Any], factors: list[list[float]]) -> None:
    found = corrected(**options)
    assert torch.allclose(found.factor, torch.tensor(factors))
    assert torch.equal(found.kept, torch.tensor(factors) > 0)


@pytest.mark.parametrize(
    ("aggregation", "loss"),
    [
        # The second step has no token left. Advantages 2 and 1, factors 1, 1.5, 2 on the first step's tokens.
        ("token", -(1.0 + 1.5 + 2.0) * 2 / 3),
        ("step", -(1.0 + 1.5 + 2.0) * 2 / 3),
        ("episode", -(1.0 + 1.5 + 2.0) * 2 / 3),
    ],
)
def test_a_rejected_step_leaves_the_denominator(aggregation: Any, loss: float) -> None:
    assert loss_of(corrected(), aggregation) == pytest.approx(loss)


@pytest.mark.parametrize(
    ("aggregation", "loss"),
    [
        # Kept: 1.5 and 2 of the first step (advantage 2); 2 of the second (advantage 1).
        ("token", -((1.5 + 2.0) * 2 + 2.0) / 3),
        ("step", -((1.5 + 2.0) * 2 / 2 + 2.0) / 2),
        ("episode", -((1.5 + 2.0) * 2 + 2.0) / 3),  # both steps are of one episode
    ],
)
def test_rejected_tokens_leave_the_denominator(aggregation: Any, loss: float) -> None:
    assert loss_of(corrected(below=1.2, above=10.0), aggregation) == pytest.approx(loss)


def loss_of(found: Any, aggregation: Any) -> float:
    """The loss before any update: every ratio to the trainer's old weights is 1."""
    log_probs = torch.full((2, 3), -1.0, requires_grad=True)
    parts = policy_loss(
        new=log_probs,
        old=log_probs.detach(),
        advantages=torch.tensor([2.0, 1.0]),
        mask=found.kept,
        weights=token_weights(found.kept.sum(1), torch.zeros(2, dtype=torch.long), aggregation),
        episode=torch.zeros(2, dtype=torch.long),
        settings=LossSettings(),
        factor=found.factor,
    )
    parts.loss.backward()
    assert torch.isfinite(log_probs.grad).all()
    assert not log_probs.grad[~found.kept].any()
    return float(parts.loss.detach())


@pytest.mark.parametrize("ratio", ["token", "step", "sequence"])
def test_a_step_without_tokens_gives_no_gradient_that_is_no_number(ratio: Any) -> None:
    new = torch.zeros(2, 3, requires_grad=True)
    kept = torch.tensor([[True, True, True], [False, False, False]])
    parts = policy_loss(
        new=new,
        old=torch.full((2, 3), -0.1),
        advantages=torch.ones(2),
        mask=kept,
        weights=token_weights(kept.sum(1), torch.arange(2), "step"),
        episode=torch.arange(2),
        settings=LossSettings(ratio=ratio),
    )
    parts.loss.backward()
    assert torch.isfinite(new.grad).all() and new.grad[0].all() and not new.grad[1].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["token", "step"]), st.floats(1.01, 5.0))
def test_factors_are_bounded_and_neutral_where_both_agree(seed: int, level: Any, clip: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    sampled = -torch.rand(5, 4, generator=generator) * 9
    mask = torch.rand(5, 4, generator=generator) < 0.7
    options = CorrectionSettings(level, clip)
    same = correct(sampled, sampled, mask, options)
    assert torch.equal(same.factor, mask.float()) and torch.equal(same.kept, mask)
    found = correct(sampled + torch.randn(5, 4, generator=generator), sampled, mask, options)
    assert float(found.factor.max()) <= clip + 1e-6
    assert torch.equal(found.factor > 0, found.kept) and not (found.kept & ~mask).any()


# -- through the update ------------------------------------------------------------------------------


def batch_of(traces: list[Any], episode: list[int]) -> Batch:
    """A batch with made-up advantages."""
    advantages = np.array([1.0, -2.0, 0.5, 1.5, -1.0, 2.0, -0.5, 1.0])[: len(traces)]
    tokens = np.array([trace.tokens for trace in traces], np.int64)
    return Batch(traces, advantages, advantages, np.array(episode), tokens, table=None)  # type: ignore[arg-type]


def update_once(traces: list[Any], episode: list[int], advantages: Any = None, **more: Any) -> dict[str, float]:
    config = TrainConfig(env="alfworld", minibatches=1, learning_rate=1e-3, **more)
    player = tiny.policy()
    batch = batch_of(traces, episode)
    batch = batch if advantages is None else replace(batch, advantages=advantages)
    chosen = config.correction_settings()
    correction = None if chosen is None else correct_batch(player, batch, config, chosen)
    return update(player, torch.optim.AdamW(player.module.parameters()), batch, config, 0, correction=correction)


def sampled_traces() -> list[Any]:
    return tiny.traces(tiny.play(tiny.policy(), range(2), turns=3))


EPISODE = [0, 0, 0, 1, 1, 1]


def test_the_float32_engine_needs_no_correction() -> None:
    traces = sampled_traces()
    player, config = tiny.policy(), TrainConfig(env="alfworld", correction="token")
    found = correct_batch(player, batch_of(traces, EPISODE), config, CorrectionSettings())
    assert max(float((factor - 1).abs().max()) for factor in found.factor) < 1e-5
    assert found.rejected_share == 0 and float(np.abs(found.step_log_ratios).max()) < 1e-4
    plain, corrected = update_once(traces, EPISODE), update_once(traces, EPISODE, correction="token")
    for name in ("loss", "policy", "entropy", "grad_norm"):
        assert corrected[name] == pytest.approx(plain[name], abs=1e-5)


def test_without_being_asked_for_it_does_nothing_in_process() -> None:
    assert TrainConfig().correction_settings() is None
    assert TrainConfig(engine="vllm").correction_settings() == CorrectionSettings("token", 2.0, 0.5, 5.0)
    assert TrainConfig(engine="vllm", correction="none").correction_settings() is None


@pytest.mark.parametrize("aggregation", ["token", "step", "episode"])
@pytest.mark.parametrize("level", ["token", "step"])
def test_a_batch_with_a_rejected_step_is_the_batch_without_it(aggregation: str, level: str) -> None:
    traces = sampled_traces()
    shifted = [replace(each, log_probs=each.log_probs - (3.0 if row == 2 else 0.0)) for row, each in enumerate(traces)]
    options = {"aggregation": aggregation, "correction": level}
    advantages = batch_of(traces, EPISODE).advantages
    found = update_once(shifted, EPISODE, **options)
    rows = [0, 1, 3, 4, 5]
    without = update_once([traces[row] for row in rows], [0, 0, 1, 1, 1], advantages[rows], **options)
    for name in ("loss", "policy", "entropy", "grad_norm"):
        assert found[name] == pytest.approx(without[name], rel=1e-4)
    assert found["correction/rejected_share"] == pytest.approx(traces[2].tokens / sum(each.tokens for each in traces))


def test_a_gap_scales_the_gradient_up_to_the_clip() -> None:
    traces = sampled_traces()
    plain = update_once(traces, EPISODE, entropy_coefficient=0.0)
    for ratio, factor in ((1.5, 1.5), (3.0, 2.0), (0.8, 0.8)):
        shifted = [replace(each, log_probs=each.log_probs - np.float32(math.log(ratio))) for each in traces]
        found = update_once(shifted, EPISODE, correction="token")
        assert found["policy"] == pytest.approx(factor * plain["policy"], rel=1e-4)
        assert found["grad_norm"] == pytest.approx(factor * plain["grad_norm"], rel=1e-3)
        assert found["sampler_gap"] == pytest.approx(abs(math.log(ratio)), rel=1e-4)
        longest = max(each.tokens for each in traces)
        assert found["correction/largest_step_log_ratio"] == pytest.approx(longest * abs(math.log(ratio)), rel=1e-3)


def test_a_batch_of_which_nothing_is_left_stops_with_the_figure() -> None:
    shifted = [replace(each, log_probs=each.log_probs - 4) for each in sampled_traces()]
    with pytest.raises(UserError, match=r"every sampled token was rejected: .* differ by 4 "):
        update_once(shifted, EPISODE, correction="token")


def test_the_correction_works_for_small_networks_and_ahead_of_time(tmp_path: Path) -> None:
    config = TrainConfig(
        env="toy",
        split="all",
        env_options={"tasks": 4, "max_steps": 6},
        group_size=6,
        tasks_per_step=4,
        steps=4,
        learning_rate=0.01,
        overlap=True,
        correction="token",
    )
    rows: list[dict[str, Any]] = []
    Trainer(config, make_learner(config), tmp_path).run(rows.append)
    assert [row["staleness"] for row in rows] == [0, 1, 1, 1]
    for row in rows:
        assert (row["sampler_gap"] < 1e-5) == (row["staleness"] == 0)
        assert row["probe/gap"] < 1e-6 and row["probe/tokens"] == 4
