"""One of several processes that train together, for tests: ``python two_processes.py FOLDER``.

It writes what it found to ``FOLDER/gradients.npz`` (number 0 alone), and trains runs in folders of ``FOLDER``. Without
a folder it only splits a module over the processes, puts it together, and ends. With a model after the folder it trains
that language model on trees and nothing else.
"""

from __future__ import annotations

import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import toy_environment  # noqa: F401  (registers the environment 'toy')

from agentbench.train.config import TrainConfig
from agentbench.train.distributed import ALONE, Ranks, full_tensor, full_weights, join, load_weights, split_weights
from agentbench.train.run import make_learner, train
from agentbench.train.trainer import Trainer
from policies.language.critic import Critic
from policies.language.weights import Weights

TOY = {"env": "toy", "split": "all", "env_options": {"tasks": 4, "max_steps": 6}, "group_size": 6, "tasks_per_step": 4}
TREES: dict[str, Any] = {"rollouts": "tree", "trees": 2, "forks": 2, "fork_rounds": 2, "scheme": "tree_grpo"}
TREES |= {"fork_choice": "entropy", "tasks_per_step": 3}  # of three tasks one process plays two
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {
        # 7 tokens a piece: the processes have different numbers of pieces.
        "token_budget": 7,
        "ratio": "sequence",
        "aggregation": "episode",
        "value_coefficient": 0.5,
        "entropy_coefficient": 0.01,
        "kl_coefficient": 0.1,
        "scheme": "gae",
        "whiten_advantages": True,
    },
    # Two episodes of one step each: one process has nothing to do in a minibatch.
    "few": {
        "tasks_per_step": 1,
        "group_size": 2,
        "env_options": {"tasks": 1, "max_steps": 1},
        "minibatches": 2,
        "scheme": "gae",
        "value_coefficient": 0.5,
    },
    "trees": TREES,
}
RUNS: dict[str, dict[str, Any]] = {
    "all-reduce": {"eval_split": "all", "eval_every": 3},
    "sharded-ahead": {
        "shard": True,
        "overlap": True,
        "refills": 1,
        "drop_equal_groups": True,
        "correction": "token",
    },
    "trees": {**TREES, "pivot_by": "branching", "fork_choice": "pivot"},
}

RESUMED = ("all-reduce", "sharded-ahead")
"""Runs that are gone on with from their middle as well."""


def gradient(case: str, folder: Path, ranks: Ranks = ALONE, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """Return the gradient of a first training step's last minibatch as one vector, and the step's metrics."""
    config = TrainConfig(**{**TOY, "minibatches": 1, "max_grad_norm": 1e9, **CASES[case], **settings})
    trainer = Trainer(config, make_learner(config), folder, ranks)
    trainer.optimizer.step = lambda *_: None  # type: ignore[method-assign]
    metrics = trainer.train_step()
    parts = [full_tensor(each.grad).flatten() for each in trainer.module.parameters() if each.grad is not None]
    return np.concatenate([part.numpy() for part in parts]), metrics


class Tied(torch.nn.Module):
    """Layers in a list, and an output layer that is the embedding: the shape of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.output = torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10, bias=False)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)])
        self.output.weight = self.embedding.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(words)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.output(hidden)  # type: ignore[no-any-return]


def keeps_tied_weights(ranks: Ranks) -> bool:
    """Split weights of a language model and its critic, put others in, and tell if they come out and are used."""
    torch.manual_seed(0)
    alone, together = (Weights(Tied(), adapters=False, critic=Critic(4, 3)) for _ in range(2))
    torch.nn.init.normal_(alone.critic.weight)  # type: ignore[union-attr]
    split_weights(together, "cpu", ranks)
    load_weights(together, alone.state_dict())
    found, words = full_weights(together), torch.tensor([[1, 2]])
    same = all(torch.equal(found[name], tensor) for name, tensor in alone.state_dict().items())
    values = [each.critic(torch.ones(1, 4).cumsum(1)) for each in (alone, together)]  # type: ignore[misc]
    same = same and torch.allclose(*values) and values[0].shape == (1, 3)
    return same and len(found) == 7 and torch.allclose(together.model(words), alone.model(words))


def gathers_in_threads(ranks: Ranks) -> bool:
    """Gather in two threads at once, begun in another order by each process, and tell if nothing was mixed up."""
    those = {"update": ranks, "rollouts": ranks.apart()}
    with ThreadPoolExecutor(2) as threads:
        begun = {}
        for name in sorted(those, reverse=ranks.rank == 1):
            begun[name] = threads.submit(those[name].gather, [f"{name} of {ranks.rank}"])
            time.sleep(0.2)
        return all(each.result() == [f"{name} of 0", f"{name} of 1"] for name, each in begun.items())


def run_config(name: str) -> TrainConfig:
    """Return the settings of one of the whole runs."""
    return TrainConfig(**{**TOY, "steps": 4, "checkpoint_every": 2, **RUNS[name]})


def language_config(model: Path) -> TrainConfig:
    """Return the settings of a run of a tiny language model on trees."""
    from twelve_configurations import configuration

    plain = configuration("plain", model, "cpu").model_dump(exclude_unset=True)
    return TrainConfig(**{**plain, **TREES, "forks": 1, "tasks_per_step": 2, "minibatches": 1, "eval_split": None})


def main() -> None:
    """Compute the gradients, then train; resume each run from its middle in a copy of its folder."""
    folder = Path(sys.argv[1])
    ranks = join("cpu")
    found: dict[str, Any] = {}
    for case in CASES:
        for name, settings in (("all-reduce", {}), ("sharded", {"shard": True})):
            vector, metrics = gradient(case, folder, ranks, **settings)
            found |= {f"{case}/{name}": vector, f"{case}/{name}/loss": metrics["loss"]}
    found["tied"] = keeps_tied_weights(ranks)
    found["apart"] = gathers_in_threads(ranks)
    if ranks.rank == 0:
        np.savez(folder / "gradients.npz", **found)
    for name in RUNS:
        train(run_config(name), folder / name)
        if name not in RESUMED:
            continue
        if ranks.rank == 0:
            shutil.copytree(folder / name, folder / f"{name}-resumed")
            shutil.rmtree(folder / f"{name}-resumed" / "checkpoints" / "step-000004")
        ranks.gather([0])  # all wait for the copy
        train(run_config(name), folder / f"{name}-resumed", resume=True)


def meet_and_leave() -> None:
    """End as soon as a module split over the processes is whole again."""
    module = torch.nn.Linear(50, 50)
    split_weights(module, "cpu", join("cpu"))
    full_weights(module)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        train(language_config(Path(sys.argv[2])), Path(sys.argv[1]))
    elif len(sys.argv) > 1:
        main()
    else:
        meet_and_leave()
