"""A teacher: a policy that judges the answers of the one that learns, what ``agentopsd`` compares it with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from agentbench.runs.episodes import Episode
from agentbench.runs.trees import whole
from agentbench.train.batch import needs
from agentbench.train.clone import prompts_of
from agentbench.train.config import TrainConfig
from envs.base.errors import UserError
from policies.contract import Rereads, Trainable, TrainablePolicy, is_trainable
from policies.registry import entry_of
from policies.registry import make_learner as new_policy

COLUMN = "teacher_gap"


def check_teacher(config: TrainConfig) -> None:
    """Refuse a teacher that is missing, that nobody asks, or of another kind than the policy; nothing is loaded.

    Raises:
        UserError: one of these.
    """
    if not needs(config.scheme, COLUMN):
        if config.teacher is not None:
            raise UserError(f"scheme {config.scheme!r} asks no teacher: take teacher out, or choose agentopsd")
        return
    if config.teacher is None:
        raise UserError(
            f"scheme {config.scheme!r} compares the policy with a teacher, and none is named: set teacher to the "
            "folder of a saved policy, or to the model itself with a template that tells it more (teacher_options)"
        )
    teacher, learner = entry_of(config.teacher), entry_of(config.policy)
    if teacher is None:
        raise UserError(f"no teacher in {config.teacher}: give the folder of a saved policy, or hf:MODEL")
    if learner is not None and teacher.name != learner.name:
        raise UserError(
            f"teacher {config.teacher} is of the kind {teacher.name!r} and policy {config.policy} of {learner.name!r}: "
            "a teacher judges the policy's own answers, so it must be of its kind"
        )


class Teacher:
    """Says how likely it would have given each answer.

    Args:
        config: names it, and its options.
        learner: whose answers are judged.

    Raises:
        UserError: it cannot be loaded, or reads other tokens than the policy.
    """

    def __init__(self, config: TrainConfig, learner: TrainablePolicy) -> None:
        assert config.teacher is not None, "check_teacher() refuses this"
        common = {**config.model_dump(include={"seed", "temperature", "device", "threads"}), "lora": 0}
        made = new_policy(config.teacher, environment=config.env, common=common, options=config.teacher_options)
        if not is_trainable(made) or type(made) is not type(learner):
            raise UserError(f"teacher {config.teacher} cannot judge the answers of policy {config.policy}")
        if isinstance(made, Rereads) and not made.reads_answers_of(learner):
            raise UserError(
                f"teacher {config.teacher} has another tokenizer than policy {config.policy}, so it cannot judge its "
                "answers token by token: take a model with the same one"
            )
        self.policy = made.with_temperature(config.temperature)
        self.policy.module.to(config.device).requires_grad_(False)

    def traces(self, groups: Sequence[Sequence[Episode]]) -> list[Any]:
        """Return every answer as this policy would have seen it: after its own prompt, where it has one.

        Args:
            groups: episodes of each group, a branch after its parent.

        Returns:
            a trace for each step that was played, in the order of the groups.
        """
        if not isinstance(self.policy, Rereads):
            return [step.trace for group in groups for episode in group for step in episode.steps]
        return [
            self.policy.retraced(prompt, step.trace)
            for group in groups
            for episode, course in zip(group, whole(group), strict=True)
            for (prompt, _), step in list(zip(prompts_of(course), course.steps, strict=True))[episode.fork :]
        ]

    def gap(self, learner: Trainable, traces: Sequence[Any]) -> torch.Tensor:
        """Log-probability of each answer under the teacher, less that with which it was sampled, shape (steps,)."""
        theirs, ours = self.policy.likelihood(traces), learner.sampled(traces)
        return ((theirs.log_probs - ours.log_probs) * ours.mask).sum(1)
