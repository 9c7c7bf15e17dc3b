"""TRL: our environments and schemes in its ``GRPOTrainer``, one advantage a step, spread over the sampled tokens.

``AgentGRPOTrainer(model, env="alfworld", split="generated:0:64", scheme="gigpo", args=GRPOConfig(...)).train()``

A prompt of the data set is a task. ``num_generations`` episodes of a task are a group. Each is one completion: what
was sampled and what the environment wrote between, with a mask on the former. The advantages come from the scheme, in
a tensor of shape (batch, tokens), in place of TRL's own, of shape (batch,). Everything else is TRL's: the loss, the
reference model, the optimizer, checkpoints, logging.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from agentbench.episodes import Episode
from agentbench.integrations.episode_tokens import (
    EpisodeTokens,
    check_scheme,
    join_steps,
    spread,
    step_advantages,
)
from agentbench.integrations.versions import TRL, require
from agentbench.provenance import stable_seed
from agentbench.rollout import Job, PlayOptions, play
from agentbench.rollout.pool import Recipe, Workers
from envs.contract import Task
from envs.errors import UserError
from envs.registry import find, make
from policies.language.loading import limit_threads
from policies.language.policy import LanguagePolicy
from policies.language.settings import language_settings

require("trl", TRL, "trl")

from accelerate.utils import gather_object  # noqa: E402
from datasets import Dataset  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo")
_REFUSED: dict[str, tuple[Any, ...]] = {
    "use_vllm": (False,),
    "use_liger_kernel": (False,),
    "mask_truncated_completions": (False,),
    "off_policy_mask_threshold": (None,),
    "top_p": (1.0, None),
    "top_k": (0, None),
    "min_p": (None, 0.0),
    "repetition_penalty": (1.0, None),
    "loss_type": _LOSSES,
}
"""Settings of TRL, and the values with which sampling, log-probabilities and per-token advantages agree."""


class EpisodeRollout:
    """A ``rollout_func``: plays one episode for every prompt, with the weights that the trainer has at that moment.

    Args:
        env: short name of the environment.
        splits: which of its tasks can be asked for.
        env_options: of the environment.
        policy_options: of the language policy (:class:`policies.language.settings.LanguageSettings`):
            ``max_new_tokens`` of one answer, ``max_context``, ``thinking``, ``show_actions``, ….
        workers: number of environments that play at once, each in a process; 0 plays all in this process.

    Attributes:
        episodes: of the last call, in the order of its prompts.
        tokens: the same, as sequences; None for an episode that could not be played.

    Raises:
        UserError: an unknown environment, split or option, or one that an episode in one sequence cannot have.
    """

    def __init__(
        self,
        env: str,
        splits: Sequence[str],
        env_options: Mapping[str, Any] | None = None,
        policy_options: Mapping[str, Any] | None = None,
        workers: int = 2,
    ) -> None:
        self.env, self.workers = env, workers
        self.policy_options = {"max_new_tokens": 32, **(policy_options or {})}
        for name, value in (("history", "all"), ("constrained", False), ("lora", 0)):
            if self.policy_options.setdefault(name, value) != value:
                raise UserError(f"with TRL, the policy's option {name!r} is always {value!r}")
        if "temperature" in self.policy_options:
            raise UserError("the temperature is TRL's: set GRPOConfig(temperature=…)")
        language_settings("", env, self.policy_options)
        options = {split: {**(env_options or {}), "split": split} for split in splits}
        self._workers = {
            split: Workers(Recipe(find(env), chosen), inline=workers == 0) for split, chosen in options.items()
        }
        self.tasks: dict[str, tuple[str, Task]] = {}
        for split, chosen in options.items():
            environment = make(env, **chosen)
            self.tasks |= {prompt_of(split, task): (split, task) for task in environment.tasks}
            environment.close()
        self._calls: Counter[tuple[str, int]] = Counter()
        self.episodes: list[Episode] = []
        self.tokens: list[EpisodeTokens | None] = []

    def prompts(self, split: str) -> list[str]:
        """Return the prompts of a split, one a task.

        Raises:
            UserError: there are none.
        """
        found = [prompt for prompt, (of, _) in self.tasks.items() if of == split]
        if not found:
            raise UserError(f"split {split!r} of {self.env!r} has no tasks")
        return found

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
        """Play an episode for every prompt (equal prompts are several episodes of one task).

        Returns:
            what TRL asks of a rollout function, a list entry a prompt: ``prompt_ids``, ``completion_ids``,
            ``logprobs``, ``env_mask`` (1 where the policy sampled), and for the reward ``episode_return``, which is
            None for an episode that could not be played.
        """
        with _sampling(trainer) as model:
            settings = language_settings(
                "the model in training", self.env, {**self.policy_options, "temperature": trainer.args.temperature}
            )
            policy = LanguagePolicy(settings, model, trainer.processing_class)
            everyone: list[str] = gather_object(list(prompts))
            before = everyone[: trainer.accelerator.process_index * len(prompts)]
            self.episodes = self._play(prompts, Counter(before), policy, self._seed(trainer))
        filler = trainer.processing_class.eos_token_id
        self.tokens = [_tokens_of(episode) for episode in self.episodes]
        rows = [tokens or EpisodeTokens([filler], [filler], [0.0], np.array([-1])) for tokens in self.tokens]
        mode = "train" if trainer.model.training else "eval"
        errors = sum(episode.outcome == "error" for episode in self.episodes)
        counts = {"errors": errors, "steps_left_out": sum(row.steps_left_out for row in rows)}
        everywhere: list[dict[str, int]] = gather_object([counts])
        for name in counts:
            trainer._metrics[mode][f"episodes/{name}"].append(float(sum(each[name] for each in everywhere)))
        return {
            "prompt_ids": [row.prompt for row in rows],
            "completion_ids": [row.completion for row in rows],
            "logprobs": [row.log_probs for row in rows],
            "env_mask": [(row.turn >= 0).astype(int).tolist() for row in rows],
            "episode_return": [_return_of(episode) for episode in self.episodes],
        }

    def close(self) -> None:
        """End the workers."""
        for workers in self._workers.values():
            workers.__exit__()

    def _play(self, prompts: Sequence[str], trials: Counter[str], policy: LanguagePolicy, seed: int) -> list[Episode]:
        """Play an episode for every prompt; ``trials`` of each are played by the processes before this one."""
        jobs: dict[str, list[Job]] = {split: [] for split in self._workers}
        keys = []
        for prompt in prompts:
            split, task = self.tasks[prompt]
            keys.append((split, task.id, trials[prompt]))
            jobs[split].append(Job(task, trials[prompt]))
            trials[prompt] += 1
        found: dict[tuple[str, str, int], Episode] = {}
        for split, of_split in jobs.items():
            played: list[Episode] = []
            options = PlayOptions(workers=self.workers or min(max(1, len(of_split)), 256), seed=seed)
            play(self._workers[split], policy, of_split, options, played.extend)
            found |= {(split, *episode.key): episode for episode in played}
        return [found[key] for key in keys]

    def _seed(self, trainer: Any) -> int:
        """Return a seed of this call: other draws at every step, the same in every process and in a resumed run."""
        place = ("train" if trainer.model.training else "eval", int(trainer.state.global_step))
        self._calls[place] += 1
        return stable_seed(trainer.args.seed, "trl", *place, self._calls[place])


class AgentGRPOTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's ``GRPOTrainer`` on an environment, with the advantages of a scheme.

    Args:
        model: as TRL takes it: a folder, a name on the model hub, or a model.
        env, env_options, policy_options, workers: see :class:`EpisodeRollout`.
        split: the tasks to train on.
        eval_split: the tasks to evaluate on.
        scheme: of :data:`credit.SCHEMES`; one that needs no critic.
        scheme_options: of the scheme.
        invalid_penalty: taken off the reward of an invalid action.
        args: TRL's settings.
        more: further arguments of ``GRPOTrainer`` (``processing_class``, ``callbacks``, ``peft_config``, …).

    Raises:
        UserError: a setting with which the result would be wrong, or one that does not exist.
    """

    def __init__(
        self,
        model: Any,
        *,
        env: str,
        split: str,
        eval_split: str | None = None,
        env_options: Mapping[str, Any] | None = None,
        scheme: str = "gigpo",
        scheme_options: Mapping[str, Any] | None = None,
        invalid_penalty: float = 0.0,
        policy_options: Mapping[str, Any] | None = None,
        workers: int = 2,
        args: GRPOConfig | None = None,
        **more: Any,
    ) -> None:
        args = GRPOConfig("results/trl") if args is None else args
        _check_settings(args, more)
        self.scheme, self.scheme_options = scheme, dict(scheme_options or {})
        self.invalid_penalty = invalid_penalty
        check_scheme(scheme, self.scheme_options)
        splits = dict.fromkeys([split, *([eval_split] if eval_split else [])])
        self.rollout = EpisodeRollout(env, list(splits), env_options, policy_options, workers)
        super().__init__(
            model=model,
            reward_funcs=[episode_return],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": self.rollout.prompts(split)}),
            eval_dataset=Dataset.from_dict({"prompt": self.rollout.prompts(eval_split)}) if eval_split else None,
            rollout_func=self.rollout,
            **more,
        )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UserError("weights that are split over processes (FSDP, DeepSpeed) cannot sample here: use DDP")
        limit_threads(self.model, self.accelerator.device)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Play and score as TRL does, then put the scheme's advantages in place of its own."""
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        generations = self.num_generations if self.model.training else self.num_generations_eval
        own = self._own_advantages(generations)
        width = output["completion_ids"].shape[1]
        table = np.zeros((len(own), width), np.float64)
        for row, (values, tokens) in enumerate(zip(own, self.rollout.tokens, strict=True)):
            if tokens is not None:
                table[row, : len(tokens.turn)] = spread(values, tokens.turn)
        output["advantages"] = torch.as_tensor(table, dtype=torch.float32, device=output["completion_ids"].device)
        return output

    def _own_advantages(self, generations: int) -> list[np.ndarray[Any, Any]]:
        """Return the advantages of this process's episodes; a group may lie in several processes."""
        bare = [_without_traces(episode) for episode in self.rollout.episodes]
        everyone: list[Episode] = gather_object(bare)
        groups = [everyone[start : start + generations] for start in range(0, len(everyone), generations)]
        found = step_advantages(groups, self.scheme, self.scheme_options, self.invalid_penalty)
        flat = [values for group in found for values in group]
        # TRL's table of completions shows one advantage an episode: the mean over its steps, not TRL's own.
        logged = self._logs["advantages"]
        for _ in range(min(len(flat), len(logged))):
            logged.pop()
        logged.extend(float(values.mean()) if len(values) else 0.0 for values in flat)
        first = self.accelerator.process_index * len(bare)
        return flat[first : first + len(bare)]


def prompt_of(split: str, task: Task) -> str:
    """Return the text that stands for a task in TRL's data set (and its logs)."""
    return f"{split}: {task.name}"


def episode_return(episode_return: Sequence[float | None], **_: Any) -> list[float | None]:
    """Reward function: the sum of an episode's rewards, as :class:`EpisodeRollout` reported it."""
    return list(episode_return)


@contextmanager
def _sampling(trainer: Any) -> Iterator[nn.Module]:
    """Yield the trainer's bare model in evaluation mode."""
    model: nn.Module = trainer.accelerator.unwrap_model(trainer.model)
    was_training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(was_training)


def _tokens_of(episode: Episode) -> EpisodeTokens | None:
    return join_steps([step.trace for step in episode.steps]) if episode.is_judged else None


def _return_of(episode: Episode) -> float | None:
    return None if episode.outcome == "error" else sum(step.reward for step in episode.steps)


def _without_traces(episode: Episode) -> Episode:
    return replace(episode, steps=[replace(step, trace=None) for step in episode.steps])


def _check_settings(args: GRPOConfig, more: Mapping[str, Any]) -> None:
    for name in ("reward_funcs", "train_dataset", "eval_dataset", "rollout_func", "environment_factory", "tools"):
        if name in more:
            raise UserError(f"{name} is given by the environment: leave it out")
    for name, allowed in _REFUSED.items():
        if getattr(args, name) not in allowed:
            raise UserError(
                f"GRPOConfig({name}={getattr(args, name)!r}) is not supported with per-step advantages: set it to "
                + " or ".join(repr(value) for value in allowed)
            )
