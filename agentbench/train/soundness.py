"""What spoils the numbers of a training run before it begins: learning what is evaluated, nothing to compare.

Nothing here is refused: all of it can be meant. It is said at the start, and stays in ``run.json`` as a note.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from agentbench.evaluation.held_out import clone_notes, overlap_notes, task_ids
from agentbench.train.config import TrainConfig
from credit import CreditError, Steps, advantages
from credit.steps import FloatArray

LARGE_BONUS = 0.03
"""Entropy coefficient over the advantages' deviation from which on it is said. In the shop 0.012 (``grpo``) did no
harm, and 0.05 (the same bonus beside a control that is not normalised) did: results/published/control.md."""


def training_notes(config: TrainConfig) -> list[str]:
    """Say what spoils the numbers of a training run.

    Named are: evaluated tasks that are trained on, now or by the policy that the run begins with, whatever the splits
    are called; a split that is held out by its name; and a scheme that has nothing to compare.

    Args:
        config: of the run.

    Returns:
        one sentence each; none for a sound run.
    """
    notes = []
    if config.eval_split is not None:
        evaluated = task_ids(config.env, config.eval_split, config.env_options)[: config.eval_tasks]
        trained = set(task_ids(config.env, config.split, config.env_options))
        if shared := trained.intersection(evaluated):
            notes.append(
                f"{len(shared)} of the {len(evaluated)} evaluated tasks (of {config.eval_split}) are trained on "
                f"(in {config.split}): eval/success says nothing of tasks that were never seen"
            )
        notes += overlap_notes(config.policy, config.env, evaluated)
    notes += clone_notes(config.split)
    if config.rollouts_of_task == 1 and compares_episodes(config.scheme, config.scheme_options):
        notes.append(
            f"group_size = 1 leaves scheme {config.scheme} nothing to compare: every advantage is 0 and nothing is "
            "learned, unless an episode comes back to a state; set group_size to 2 or more (8, say), or choose a "
            "scheme with a critic (gae)"
        )
    return notes


def bonus_notes(config: TrainConfig, advantages: FloatArray) -> list[str]:
    """Say that the entropy bonus is large beside the advantages of the first training step, if it is.

    The bonus has a size of its own, the policy's gradient that of the advantages: a coefficient that suits
    advantages of deviation 1 pulls a policy apart that learns from ones of 0.1.

    Args:
        config: of the run.
        advantages: of the first batch, as they enter the loss, shape (steps,).

    Returns:
        one sentence, or none.
    """
    deviation = float(advantages.std()) if len(advantages) else 0.0
    if config.entropy_coefficient <= LARGE_BONUS * deviation or deviation == 0:
        return []
    return [
        f"entropy_coefficient = {config.entropy_coefficient:g} is {config.entropy_coefficient / deviation:.0%} of the "
        f"deviation of the first advantages ({deviation:.2g}), so it may outweigh what they teach: see whether the "
        "entropy rises; set whiten_advantages = true, or lower it"
    ]


def compares_episodes(scheme: str, options: dict[str, Any]) -> bool:
    """Return whether a scheme gives 0 to every step of groups of one episode: found out by computing it on two of them.

    A scheme that needs a further column (values, entropies) does not live on the comparison alone.
    """
    try:
        return not advantages(scheme, Steps.from_frame(_groups_of_one()), **options).any()
    except CreditError:
        return False


def _groups_of_one() -> Any:
    return pd.DataFrame(
        {
            "group": list("aaabb"),
            "episode": [0, 0, 0, 1, 1],
            "step": [0, 1, 2, 0, 1],
            "state": list("stuvw"),
            "next_state": list("tuxwy"),
            "action": list("defgh"),
            "reward": [0.0, 0.0, 1.0, 0.0, 0.0],
            "score": [0.0, 0.0, 1.0, 0.0, 0.0],
            "is_valid": True,
            "terminated": [False, False, True, False, False],
            "truncated": [False, False, False, False, True],
        }
    )
