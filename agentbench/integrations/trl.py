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
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import nn

from agentbench.integrations.episode_tokens import EpisodeTokens, Turns, join_steps
from agentbench.integrations.trl_advantages import REFUSED, StepAdvantages, check_settings
from agentbench.rollout import Job, PlayOptions, play
from agentbench.rollout.contract import Recipe
from agentbench.rollout.pool import Workers
from agentbench.runs.episodes import Episode, is_judged
from agentbench.runs.provenance import stable_seed
from envs.base.errors import UserError
from envs.contract import Task
from envs.registry import find, make
from policies.language.policy import LanguagePolicy
from policies.language.settings import in_training, language_settings, renamed

# After the version was checked (in trl_advantages):
from accelerate.utils import gather_object  # isort: skip
from datasets import Dataset  # isort: skip
from trl import GRPOConfig  # isort: skip

PARALLEL = 256
"""Most episodes that play at once by default where there are no worker processes."""


class EpisodeRollout:
    """A ``rollout_func``: plays one episode for every prompt, with the weights that the trainer has at that moment.

    Args:
        env: short name of the environment.
        splits: which of its tasks can be asked for.
        env_options: of the environment.
        policy_options: of the language policy (:class:`policies.language.settings.LanguageSettings`):
            ``max_tokens`` of one answer, ``max_context``, ``thinking``, ``show_actions``, ….
        workers: processes that share the environments; 0 plays all in this process.
        parallel: episodes that play at once; None: one a process, or 256 in this one.

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
        parallel: int | None = None,
    ) -> None:
        self.env, self.workers, self.parallel = env, workers, parallel or workers or PARALLEL
        self.policy_options = {**in_training({}), "max_tokens": 32, **renamed(policy_options or {})}
        for name, value in (("history", "all"), ("constrained", False), ("lora", 0)):
            if self.policy_options.setdefault(name, value) != value:
                raise UserError(f"with TRL, the policy's option {name!r} is always {value!r}")
        if "temperature" in (policy_options or {}):
            raise UserError("the temperature is TRL's: set GRPOConfig(temperature=…)")
        language_settings("", env, self.policy_options)
        options = {split: {**(env_options or {}), "split": split} for split in splits}
        self._open = ExitStack()
        self._workers = {
            split: self._open.enter_context(Workers(Recipe(find(env), chosen), inline=workers == 0))
            for split, chosen in options.items()
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
        errors = sum(not is_judged(episode.outcome) for episode in self.episodes)
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
        self._open.close()

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
            options = PlayOptions(workers=self.workers or 1, parallel=self.parallel, seed=seed)
            play(self._workers[split], policy, of_split, options, played.extend)
            found |= {(split, *episode.key): episode for episode in played}
        return [found[key] for key in keys]

    def _seed(self, trainer: Any) -> int:
        """Return a seed of this call: other draws at every step, the same in every process and in a resumed run."""
        place = ("train" if trainer.model.training else "eval", int(trainer.state.global_step))
        self._calls[place] += 1
        return stable_seed(trainer.args.seed, "trl", *place, self._calls[place])


class AgentGRPOTrainer(StepAdvantages):
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
        check_settings(args, more, {**REFUSED, "use_vllm": (False,)})
        splits = dict.fromkeys([split, *([eval_split] if eval_split else [])])
        self.rollout = EpisodeRollout(env, list(splits), env_options, policy_options, workers)
        super().__init__(
            scheme=scheme,
            scheme_options=scheme_options,
            invalid_penalty=invalid_penalty,
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

    def episodes_and_turns(self, output: Mapping[str, Any]) -> tuple[Sequence[Episode], Sequence[Turns | None]]:
        """Return what the rollout function played."""
        return self.rollout.episodes, [None if tokens is None else tokens.turn for tokens in self.rollout.tokens]


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
    return sum(step.reward for step in episode.steps) if is_judged(episode.outcome) else None
