"""Weights with few digits move as far as they are told to, also after a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

from agentbench import UserError  # noqa: E402
from agentbench.train.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from agentbench.train.optimizer import Float32AdamW, make_optimizer  # noqa: E402
from policies.scorer import ScorerPolicy  # noqa: E402


def moved(module: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    """Take steps along a gradient of ones; return the first weight."""
    for _ in range(steps):
        optimizer.zero_grad()
        for weight in module.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    return float(next(module.parameters()).flatten()[0].detach())


def ones(dtype: torch.dtype) -> torch.nn.Module:
    module = torch.nn.Linear(2, 2).to(dtype)
    with torch.no_grad():
        for weight in module.parameters():
            weight.fill_(1.0)
    return module


def test_bfloat16_weights_move_as_float32_ones() -> None:
    module, exact = ones(torch.bfloat16), ones(torch.float32)
    expected = moved(exact, make_optimizer(exact, 1e-4, 0.0), 200)
    assert moved(module, make_optimizer(module, 1e-4, 0.0), 200) == pytest.approx(expected, abs=0.004)
    assert expected == pytest.approx(0.98, abs=1e-3)
    lost = ones(torch.bfloat16)
    assert moved(lost, torch.optim.AdamW(lost.parameters(), lr=1e-4, weight_decay=0.0), 200) == 1.0


def test_a_checkpoint_keeps_the_digits_that_the_weights_do_not_have(tmp_path: Path) -> None:
    found = []
    for stops in (False, True):
        policy = ScorerPolicy(seed=1)
        policy.module.to(torch.bfloat16)
        optimizer = make_optimizer(policy.module, 1e-4, 0.0)
        assert isinstance(optimizer, Float32AdamW)
        moved(policy.module, optimizer, 7)
        if stops:
            save_checkpoint(tmp_path, policy, optimizer, {"step": 1, "run": "x"}, 1)
            policy = ScorerPolicy(seed=2)
            policy.module.to(torch.bfloat16)
            optimizer = make_optimizer(policy.module, 1e-4, 0.0)
            assert load_checkpoint(tmp_path, policy, optimizer, "x") is not None
        moved(policy.module, optimizer, 90)
        found.append(torch.cat([weight.detach().flatten() for weight in policy.module.parameters()]))
    assert torch.equal(*found)


def test_float16_is_refused_before_it_is_no_number() -> None:
    with pytest.raises(UserError, match="float16 cannot be trained: set precision = bfloat16"):
        make_optimizer(ones(torch.float16), 1e-4, 0.0)
