"""Candidates for every decision, scored by the expert: what ``vpr`` learns from.

In every state that the episodes visited the policy answers ``branch_rollouts`` - 1 times more. The environment's expert
says what it would do there, and an answer with that action scores 1, any other 0. The played action is a candidate too;
the others are episodes of one step, which earn nothing and are learned from all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agentbench.analysis.truth.monte_carlo import Returns
from agentbench.runs.episodes import Episode, Step
from agentbench.runs.provenance import stable_seed
from agentbench.train.branching import Walks
from agentbench.train.config import TrainConfig
from agentbench.train.distributed import Ranks
from envs.base.errors import UserError
from policies.contract import Policy, Prompt, Response
from policies.registry import make_policy

BATCH = 512
"""Prompts that are answered together."""

Groups = Sequence[Sequence[Episode]]


def check_candidates(config: TrainConfig) -> None:
    """Refuse settings with which no candidates can be compared.

    Raises:
        UserError: there is no expert for the environment, or a setting does not go with candidates.
    """
    make_policy("expert", environment=config.env)
    if config.branch_rollouts < 2 and config.scheme_options.get("compare") != "turn":
        raise UserError(f"scheme {config.scheme!r} compares several candidates: set branch_rollouts to 2 or more")
    if config.overlap:
        raise UserError(f"scheme {config.scheme!r} asks the weights that play: set overlap = false")
    if config.value_coefficient:
        raise UserError(
            f"scheme {config.scheme!r} learns from actions that were not played, whose returns nobody knows: set "
            "value_coefficient = 0"
        )


class Candidates:
    """Has the visited states answered again, each process those of its share of the groups.

    Args:
        config: ``branch_rollouts`` candidates a state.
        ranks: the processes that train together.
    """

    def __init__(self, config: TrainConfig, ranks: Ranks) -> None:
        self.config, self.ranks = config, ranks
        self.expert = make_policy("expert", environment=config.env)
        self._walks = Walks(config, Returns())

    def add(self, policy: Policy, groups: Groups, step: int) -> tuple[Groups, dict[str, Any]]:
        """Add the candidates of every step.

        Args:
            policy: who played the groups, with the same weights.
            groups: episodes of at least one step.
            step: number of the training step, of which all random numbers derive.

        Returns:
            the groups with a further episode for every further candidate; and the columns ``oracle`` (float64) and
            ``choice`` (int64) of all their steps, shape (steps,).

        Raises:
            UserError: the environment does not repeat an episode.
        """
        own = self.ranks.shares(list(groups))[self.ranks.rank]
        parts = self.ranks.gather([self._of_group(policy, number, group, step) for number, group in enumerate(own)])
        oracle = np.concatenate([np.array(scores, dtype=np.float64) for _, scores, _ in parts])
        choice = np.concatenate([np.array(choices, dtype=np.int64) for _, _, choices in parts])
        more = [[*group, *extra] for group, (extra, _, _) in zip(groups, parts, strict=True)]
        return more, {"oracle": oracle, "choice": choice}

    def close(self) -> None:
        """Release the environments."""
        self._walks.close()

    def _of_group(
        self, policy: Policy, number: int, group: Sequence[Episode], step: int
    ) -> tuple[list[Episode], list[float], list[int]]:
        """Return the further episodes of a group; then score and decision of every step, theirs last."""
        steps = [(episode, taken) for episode in group for taken in episode.steps]
        prompts = [point.prompt for episode in group for point in self._walks.again(number, episode).points]
        further = range(1, self.config.branch_rollouts)
        asked = [self._again(prompt, step, candidate) for prompt in prompts for candidate in further]
        answers = _answers(policy, asked)
        best = [answer.action for answer in _answers(self.expert, prompts)]
        choices = [choice for choice in range(len(steps)) for _ in further]
        extra = [_unplayed(*steps[choice], answer) for choice, answer in zip(choices, answers, strict=True)]
        choices = [*range(len(steps)), *choices]
        actions = [taken.action for _, taken in steps] + [answer.action for answer in answers]
        scores = [float(action == best[choice]) for action, choice in zip(actions, choices, strict=True)]
        return extra, scores, choices

    def _again(self, prompt: Prompt, step: int, candidate: int) -> Prompt:
        seed = stable_seed(
            self.config.seed, "candidates", step, prompt.task.id, prompt.trial, candidate, len(prompt.history)
        )
        return replace(prompt, seed=seed)


def _answers(policy: Policy, prompts: Sequence[Prompt]) -> list[Response]:
    parts = (list(prompts[start : start + BATCH]) for start in range(0, len(prompts), BATCH))
    return [answer for part in parts for answer in policy.act(part)]


def _unplayed(episode: Episode, taken: Step, answer: Response) -> Episode:
    """Return an episode of one step: what could have been done in a state."""
    step = replace(
        taken, action=answer.action, text=answer.text, details=answer.details, trace=answer.trace,
        reward=0.0, is_valid=True, terminated=False, truncated=True,
    )  # fmt: skip
    return replace(episode, steps=[step], outcome="failure", won=False, final_anchor=taken.anchor)
