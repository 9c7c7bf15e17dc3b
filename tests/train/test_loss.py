"""The loss: against a plain re-statement, finite differences, and values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

from agentbench.train.loss import kl_estimate, log_ratios, policy_loss, token_weights  # noqa: E402
from agentbench.train.settings import LossSettings  # noqa: E402


def example(seed: int = 0, steps: int = 7, tokens: int = 4) -> dict[str, Any]:
    """Random steps of three episodes, with answers of 1 to 4 tokens."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, tokens + 1, (steps,), generator=generator)
    mask = torch.arange(tokens)[None, :] < counts[:, None]
    return {
        "new": torch.randn(steps, tokens, generator=generator, dtype=torch.float64) * 0.4 - 1,
        "old": torch.randn(steps, tokens, generator=generator, dtype=torch.float64) * 0.4 - 1,
        "advantages": torch.randn(steps, generator=generator, dtype=torch.float64),
        "mask": mask,
        "episode": torch.tensor([0, 0, 0, 1, 1, 2, 2])[:steps],
        "counts": counts,
    }


def plain(example: dict[str, Any], settings: LossSettings, aggregation: str) -> float:
    """State the loss again, with loops over single tokens."""
    mask, episode = example["mask"], example["episode"].tolist()
    tokens = [(k, t) for k in range(len(mask)) for t in range(mask.shape[1]) if mask[k, t]]
    logs = {(k, t): float(example["new"][k, t] - example["old"][k, t]) for k, t in tokens}

    def ratio(k: int, t: int) -> float:
        if settings.ratio == "token":
            same = [(k, t)]
        elif settings.ratio == "step":
            same = [each for each in tokens if each[0] == k]
        else:
            same = [each for each in tokens if episode[each[0]] == episode[k]]
        return math.exp(sum(logs[each] for each in same) / len(same))

    def loss(k: int, t: int) -> float:
        r, a = ratio(k, t), float(example["advantages"][k])
        gain = min(r * a, min(max(r, 1 - settings.clip_low), 1 + settings.clip_high) * a)
        if settings.dual_clip is not None and a < 0:
            gain = max(gain, settings.dual_clip * a)
        return -gain

    if aggregation == "token":
        return sum(loss(k, t) for k, t in tokens) / len(tokens)
    of_steps = {k: np.mean([loss(j, t) for j, t in tokens if j == k]) for k in range(len(mask))}
    if aggregation == "step":
        return float(np.mean(list(of_steps.values())))
    of_episodes = [np.mean([loss(k, t) for k, t in tokens if episode[k] == e]) for e in sorted(set(episode))]
    return float(np.mean(of_episodes))


def compute(example: dict[str, Any], settings: LossSettings, aggregation: Any, **more: Any) -> Any:
    weights = token_weights(example["counts"], example["episode"], aggregation)
    names = ("new", "old", "advantages", "mask", "episode")
    return policy_loss(**{name: example[name] for name in names}, weights=weights, settings=settings, **more)


@pytest.mark.parametrize("ratio", ["token", "step", "sequence"])
@pytest.mark.parametrize("aggregation", ["token", "step", "episode"])
@pytest.mark.parametrize("dual_clip", [None, 1.5])
def test_it_equals_a_plain_restatement(ratio: Any, aggregation: str, dual_clip: float | None) -> None:
    settings = LossSettings(ratio=ratio, clip_low=0.1, clip_high=0.3, dual_clip=dual_clip)
    for seed in range(5):
        batch = example(seed)
        assert float(compute(batch, settings, aggregation).loss) == pytest.approx(plain(batch, settings, aggregation))


@pytest.mark.parametrize("ratio", ["token", "step", "sequence"])
def test_its_gradient_equals_finite_differences(ratio: Any) -> None:
    settings = LossSettings(ratio=ratio, kl_coefficient=0.3, kl_estimator="k3", clip_low=0.9, clip_high=9.0)
    batch = example(3)
    reference = batch["old"] + 0.1

    def loss(new: Any) -> Any:
        return compute({**batch, "new": new}, settings, "step", reference=reference).loss

    new = batch["new"].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (new,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("aggregation", ["token", "step", "episode"])
def test_with_equal_advantages_and_no_update_it_is_the_gradient_of_the_log_likelihood(aggregation: Any) -> None:
    batch = example(1)
    new = batch["old"].clone().requires_grad_()
    ones = torch.ones(len(batch["advantages"]), dtype=torch.float64)
    compute({**batch, "new": new, "advantages": ones}, LossSettings(), aggregation).loss.backward()
    weights = token_weights(batch["counts"], batch["episode"], aggregation)[:, None] * batch["mask"]
    assert torch.allclose(new.grad, -weights)
    assert float(weights.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "moves"),
    [
        (1.5, 1.0, -1.2, False),  # more likely already, and good: clipped
        (0.5, 1.0, -0.5, True),  # good but less likely: pulled back
        (1.5, -1.0, 1.5, True),  # bad and more likely: pushed down
        (0.5, -1.0, 0.8, False),  # bad and less likely already: clipped
        (5.0, -1.0, 3.0, False),  # dual clip
    ],
)
def test_clipping_by_hand(ratio: float, advantage: float, loss: float, moves: bool) -> None:
    new = torch.tensor([[math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    batch = {
        "new": new,
        "old": torch.zeros(1, 1, dtype=torch.float64),
        "advantages": torch.tensor([advantage], dtype=torch.float64),
        "mask": torch.ones(1, 1, dtype=torch.bool),
        "episode": torch.zeros(1, dtype=torch.long),
        "counts": torch.ones(1, dtype=torch.long),
    }
    parts = compute(batch, LossSettings(dual_clip=3.0), "token")
    parts.loss.backward()
    assert float(parts.loss.detach()) == pytest.approx(loss)
    assert (float(new.grad.abs().sum()) > 0) == moves
    assert float(parts.clip_share) == (0.0 if moves else 1.0)


def test_kl_forms_by_hand() -> None:
    new, reference = torch.tensor(math.log(0.5)), torch.tensor(math.log(0.25))
    assert float(kl_estimate(new, reference, "k1")) == pytest.approx(math.log(2))
    assert float(kl_estimate(new, reference, "k2")) == pytest.approx(math.log(2) ** 2 / 2)
    assert float(kl_estimate(new, reference, "k3")) == pytest.approx(0.5 - 1 + math.log(2))


def test_the_kl_estimates_agree_with_the_exact_divergence() -> None:
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    exact = float((p * (p / q).log()).sum())
    for estimator in ("k1", "k3"):
        assert float((p * kl_estimate(p.log(), q.log(), estimator)).sum()) == pytest.approx(exact, abs=1e-6)


def test_tokens_outside_the_mask_do_not_matter() -> None:
    batch = example(2)
    changed = {**batch, "new": batch["new"].masked_fill(~batch["mask"], 99.0)}
    for ratio in ("token", "step", "sequence"):
        settings = LossSettings(ratio=ratio)
        assert float(compute(batch, settings, "token").loss) == float(compute(changed, settings, "token").loss)
    assert float(log_ratios(changed["new"], batch["old"], batch["mask"], batch["episode"], "token").max()) < 9
