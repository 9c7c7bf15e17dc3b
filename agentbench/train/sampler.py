"""Who plays while training, how it gets the new weights, and the test that it has them.

The policy itself plays where it can: it shares its weights with the trainer. A copy of it plays where the weights
change in the meantime or are split over processes. vLLM plays where it is asked for. Copy and vLLM are given the
weights before rollouts that would otherwise be played with older ones, and then a probe compares what both say.
"""

from __future__ import annotations

import copy
import functools
import time
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from agentbench.runs.provenance import stable_seed
from agentbench.train.config import TrainConfig
from agentbench.train.distributed import Ranks, full_weights
from agentbench.train.gap import probe
from envs.base.errors import UserError
from envs.registry import make
from policies.contract import KeepsComputed, Prompt, TemperedPolicy, TrainablePolicy
from policies.language.engine import Servable
from policies.vllm.weights import write_adapters, write_model

BOUND = {"float32": 1e-3, "other": 0.05}
"""Largest mean gap of log-probabilities in a probe, where the settings name none."""


class Holder(Protocol):
    """Weights apart from the trainer's, and the policy that plays with them."""

    actor: TemperedPolicy

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take all weights of the policy's module, whole. Every one of several processes must call this."""

    def close(self) -> None:
        """Free what was held."""


class Sampler:
    """Plays with the trainer's weights as they were when :meth:`refresh` was last called.

    Args:
        config: which engine, and how it is tested.
        policy: who learns; its weights must not be split over processes yet.
        folder: of the run.
        ranks: the processes that train together.

    Attributes:
        actor: the policy that plays.
        metrics: what the last handing over of weights showed, for ``metrics.jsonl``.

    Raises:
        UserError: the engine cannot play for this policy.
    """

    def __init__(self, config: TrainConfig, policy: TrainablePolicy, folder: Path, ranks: Ranks) -> None:
        self._config, self._policy, self._ranks = config, policy, ranks
        self._holder: Holder | None = None
        if config.engine == "vllm":
            self._holder = _served(config, policy, folder, ranks)
        elif config.shard or config.overlap:
            self._holder = Copy(policy)
        self.actor: TemperedPolicy = policy if self._holder is None else self._holder.actor
        self.metrics: dict[str, float] = {}
        self._is_fresh = False
        self._prompts: list[Prompt] = []

    def outdate(self) -> None:
        """Say that the trainer's weights have changed."""
        self._is_fresh = False

    def refresh(self, module: nn.Module) -> None:
        """Hand over the weights if they have changed, and compare. Every one of several processes must call this.

        Raises:
            UserError: sampler and trainer do not agree on the probe.
        """
        if self._holder is None or self._is_fresh:
            return
        started = time.perf_counter()
        self._holder.load(full_weights(module))
        handed = time.perf_counter()
        self._compare()
        self.metrics |= {
            "seconds/weights": round(handed - started, 5),
            "seconds/probe": round(time.perf_counter() - handed, 5),
        }
        self._is_fresh = True

    def close(self) -> None:
        """End the engine."""
        if self._holder is not None:
            self._holder.close()

    def _compare(self) -> None:
        config = self._config
        self._prompts = self._prompts or probe_prompts(config)
        own = probe(self.actor, self._policy, self._prompts, config)
        # All processes stop, or none.
        found = max(self._ranks.gather([own]), key=lambda each: each.mean)
        bound = config.probe_bound or _usual_bound(config, self._policy)
        self.metrics = {"probe/gap": found.mean, "probe/largest_gap": found.largest, "probe/tokens": found.tokens}
        if not found.mean <= bound:
            raise UserError(
                f"sampler and trainer do not have the same weights: on {found.tokens} tokens of {len(self._prompts)} "
                f"probe prompts their log-probabilities differ by {found.mean:.3g} on average (largest "
                f"{found.largest:.3g}), more than probe_bound = {bound:g}. The last checkpoint is whole. Look for "
                "weights that were not taken over (a tied output layer, a cache); raise probe_bound only if the "
                "engines compute in different precisions"
            )


class Copy:
    """A copy of the policy in this process."""

    def __init__(self, policy: TrainablePolicy) -> None:
        copied = copy.deepcopy(policy)
        copied.module.requires_grad_(False)
        self.actor: TemperedPolicy = copied
        self._module = copied.module

    def load(self, weights: dict[str, Tensor]) -> None:
        """Copy the weights in."""
        self._module.load_state_dict(weights)
        if isinstance(self.actor, KeepsComputed):
            self.actor.forget_computed()

    def close(self) -> None:
        """Nothing is held."""


class Served:
    """vLLM's server; its weights go through files in ``sampler/`` of the run's folder.

    Args:
        config: how the server is reached or started.
        policy: a language model.
        folder: of the run.
        ranks: number 0 starts the server and hands it the weights; all ask it.
    """

    def __init__(self, config: TrainConfig, policy: Servable, folder: Path, ranks: Ranks) -> None:
        from policies.vllm.server import VllmServer, server_options

        self._config, self._policy, self._ranks = config, policy, ranks
        self._folder = folder / "sampler"
        options = server_options(config.engine_options)
        launch = None
        if config.executor != "local":
            from agentbench.cluster.server import RayServer

            launch = functools.partial(RayServer, options)
        self._engine = VllmServer(options, launch)
        self.actor: TemperedPolicy = policy.sampled_by(self._engine)
        if ranks.rank == 0 and policy.options.lora:  # the base never changes, and is whole now
            write_model(policy, self._folder / "model")

    def load(self, weights: dict[str, Tensor]) -> None:
        """Write the weights and have the server read them; start it if there is none yet."""
        if self._ranks.rank == 0:
            self._hand_over(weights)
        url = self._ranks.gather([self._engine.url])[0]
        if self._ranks.rank > 0:
            self._engine.follow(url, with_adapters=bool(self._policy.options.lora))

    def close(self) -> None:
        """End the server, if it was started here."""
        self._engine.close()

    def _hand_over(self, weights: dict[str, Tensor]) -> None:
        engine, model, adapters = self._engine, self._folder / "model", self._folder / "adapters"
        lora = bool(self._policy.options.lora)
        if not lora:
            write_model(self._policy, model, weights)
        if not engine.url:
            engine.start(self._policy, model, self._config.threads, self._folder / "server.log")
        elif not lora:
            engine.load(model)
        if lora:
            write_adapters(self._policy, adapters, weights)
            engine.load_adapters(adapters)


def _served(config: TrainConfig, policy: TrainablePolicy, folder: Path, ranks: Ranks) -> Served:
    if not isinstance(policy, Servable):
        raise UserError(f"engine = 'vllm' is for language models; policy {policy.name!r} is none")
    return Served(config, policy, folder, ranks)


def _usual_bound(config: TrainConfig, policy: TrainablePolicy) -> float:
    """Return the bound for the precisions of sampler and trainer."""
    own = str(next(policy.module.parameters()).dtype).removeprefix("torch.")
    precisions = {config.precision, own, config.engine_options.get("precision") or own}
    return BOUND["float32" if precisions == {"float32"} else "other"]


def probe_prompts(config: TrainConfig) -> list[Prompt]:
    """Return the first prompts of the first tasks: always the same, so that what is wrongly kept of them shows."""
    environment = make(config.env, **{**config.env_options, "split": config.split})
    prompts = []
    for task in environment.tasks[: config.probe_prompts]:
        seed = stable_seed(config.seed, "probe", task.id)
        observation, info = environment.reset(seed=seed, options={"task": task.name})
        prompts.append(Prompt.first(task, observation, info, seed))
    environment.close()
    return prompts
