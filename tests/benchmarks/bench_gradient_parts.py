"""What an entropy bonus weighs beside the policy's gradient, scheme by scheme, on the same batches of rollouts.

    python tests/benchmarks/bench_gradient_parts.py models/shop --recipe recipes/webshop-scorer.toml --batches 12

Nothing is learned: a saved policy plays the recipe's batches, every scheme judges them, and the gradient is taken once
over the whole batch at the weights that played. With g the expected gradient of the policy part (upwards), e that of
the mean entropy and c the recipe's coefficient, the columns are

    deviation   of the advantages, as they enter the loss; `zero` is the share of the steps without any
    norm        of one batch's policy gradient: mean over batches
    |g|         norm of g, without what chance adds: root of the mean inner product of two batches' gradients
    noise       variance of one batch's gradient over |g| squared
    c|e|/|g|    the bonus beside it
    c|e|/push   the bonus beside what pushes against it, -g·e/|e|: above 1 the entropy rises; "-": nothing does
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agentbench.runs.steps import steps_of
from agentbench.train.batch import Batch, make_batch
from agentbench.train.branching import Branching
from agentbench.train.config import TrainConfig, read_config
from agentbench.train.distributed import ALONE
from agentbench.train.loss import token_weights
from agentbench.train.rollouts import Rollouts
from agentbench.train.run import make_learner
from agentbench.train.update import backward
from policies.contract import TrainablePolicy

BRANCHED = {"scheme": "gae", "values": "branching", "branch_every": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "grpo": {"scheme": "grpo"},
    "dr_grpo": {"scheme": "dr_grpo"},
    **{
        f"lam = {lam}, K = {rollouts}": {
            **BRANCHED,
            "scheme_options": {"gamma": 1.0, "lam": float(lam)},
            "branch_rollouts": rollouts,
        }
        for lam in (1, 0)
        for rollouts in (4, 16)
    },
}


def main() -> None:
    """Measure, and print one row a scheme, and one with its advantages whitened."""
    parser = argparse.ArgumentParser(description="the entropy bonus beside the policy's gradient")
    parser.add_argument("policy", help="a saved policy")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/webshop-scorer.toml"))
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--seed", type=int, default=100)
    arguments = parser.parse_args()
    shared = {"policy": arguments.policy, "seed": arguments.seed}
    configs = {
        f"{name}{', whitened' * is_whitened}": read_config(
            arguments.recipe, {**shared, **flags, "whiten_advantages": is_whitened}
        )
        for name, flags in VARIANTS.items()
        for is_whitened in (False, True)
    }
    first = next(iter(configs.values()))
    torch.set_num_threads(first.threads)
    policy, rollouts = make_learner(first), Rollouts(first, ALONE)
    found: dict[str, list[tuple[torch.Tensor, float, float]]] = {name: [] for name in configs}
    bonus = []
    for step in range(arguments.batches):
        groups = rollouts.train(policy, step).groups
        measured: dict[str, Any] = {}
        for name, config in configs.items():
            key = name.removesuffix(", whitened")
            if config.branches and key not in measured:
                branching = Branching(config, ALONE)
                measured[key] = {"value": branching.values(policy, groups, step)[0]}
                branching.close()
            batch = make_batch(groups, steps_of(groups, columns=measured.get(key, {})), config)
            gradient = -_gradient(policy, batch, config.model_copy(update={"entropy_coefficient": 0.0}))
            found[name].append((gradient, float(batch.advantages.std()), float((batch.advantages == 0).mean())))
        nothing = replace(batch, advantages=np.zeros(len(batch)))
        bonus.append(-_gradient(policy, nothing, first.model_copy(update={"entropy_coefficient": 1.0})))
    rollouts.close()
    _show(found, torch.stack(bonus).mean(0), first.entropy_coefficient)


def _gradient(policy: TrainablePolicy, batch: Batch, config: TrainConfig) -> torch.Tensor:
    """Return the gradient of a whole batch's loss at the weights that played it, shape (weights,), float64."""
    policy.module.zero_grad()
    weights = token_weights(torch.tensor(batch.tokens), torch.tensor(batch.episode), config.aggregation)
    backward(policy, batch, np.arange(len(batch)), config, weights, 0.0)
    return torch.cat([each.grad.flatten() for each in policy.module.parameters() if each.grad is not None]).double()


def _show(found: dict[str, list[tuple[torch.Tensor, float, float]]], bonus: torch.Tensor, coefficient: float) -> None:
    pull = coefficient * float(bonus.norm())
    print(f"c|e| {pull:.4f}, {len(next(iter(found.values())))} batches")
    print("scheme | deviation | zero | norm | |g| | noise | c|e|/|g| | c|e|/push")
    for name, rows in found.items():
        gradients = torch.stack([gradient for gradient, _, _ in rows])
        inner = gradients @ gradients.T
        count = len(rows)
        signal = float((inner.sum() - inner.diag().sum()) / (count * (count - 1)))
        push = -float(gradients.mean(0) @ bonus / bonus.norm())
        length = max(signal, 0.0) ** 0.5
        columns = [
            f"{np.mean([deviation for _, deviation, _ in rows]):.3f}",
            f"{np.mean([zero for _, _, zero in rows]):.2f}",
            f"{float(gradients.norm(dim=1).mean()):.2f}",
            f"{length:.3f}",
            f"{(float(inner.diag().mean()) - signal) / signal:.1f}" if length else "-",
            f"{pull / length:.3f}" if length else "-",
            f"{pull / push:.2f}" if push > 0 else "-",
        ]
        print(" | ".join([name, *columns]))


if __name__ == "__main__":
    main()
