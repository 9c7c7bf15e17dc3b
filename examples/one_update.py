"""From tasks to the first update of a policy, on one page: what `agentbench train` does, without its housekeeping.

    python examples/one_update.py

Read it from top to bottom. Four tasks are played eight times each, the eight episodes of a task are a group, a credit
scheme gives every step of every episode one number, and a clipped policy gradient makes the actions above 0 more
likely. The trainer adds evaluation, minibatches, language models, several GPUs, checkpoints and exact resume; its first
update is this one (`tests/train/test_one_update.py` holds the two together).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

import agentbench
from agentbench.runs.provenance import stable_seed
from credit import Steps, advantages
from envs import Task, TextEnv
from policies.contract import Prompt
from policies.scorer import ScorerPolicy
from policies.scorer.policy import Choice

SEED = 0
ENV, SPLIT, MAX_STEPS = "webshop", "train", 8  # a generated shop: nothing is downloaded, and luck buys something
TASKS, GROUP_SIZE = 4, 8  # 4 groups of 8 episodes are one batch
SCHEME = "gigpo"
LEARNING_RATE, CLIP, MAX_GRAD_NORM = 1.5e-3, 0.2, 1.0
INVALID_ACTION_PENALTY = 0.1


@dataclass
class Rollout:
    """One episode while it is played: where it stands, and what every step of it will be learned from."""

    environment: TextEnv
    prompt: Prompt
    is_over: bool = False
    anchors: list[str] = field(default_factory=list)  # of the situation before each step, and at last of the end
    actions: list[str] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)  # what the policy needs to score its answer again


def choose_tasks(environment: TextEnv) -> list[Task]:
    """Draw the tasks of the first batch: the first ones of this epoch's order."""
    order = np.random.default_rng(stable_seed(SEED, "tasks", 0)).permutation(len(environment.tasks))
    return [environment.tasks[int(place)] for place in order[:TASKS]]


def play(policy: ScorerPolicy, tasks: list[Task]) -> list[Rollout]:
    """Play every task GROUP_SIZE times; all episodes advance together, so that the policy answers in one batch."""
    # Each random number belongs to one step of one episode: the batch's size and order change no episode.
    seed = stable_seed(stable_seed(SEED, "rollouts", 0, 0), 0)
    rollouts = []
    for task in sorted(tasks, key=lambda task: task.id):
        for trial in range(GROUP_SIZE):
            environment = agentbench.make(ENV, split=SPLIT, max_steps=MAX_STEPS)
            start = stable_seed(seed, task.id, trial)
            observation, info = environment.reset(seed=start, options={"task": task.id})
            prompt = Prompt.first(task, observation, info, stable_seed(seed, task.id, trial, 0), trial)
            rollouts.append(Rollout(environment, prompt, anchors=[info["anchor"]]))
    while playing := [rollout for rollout in rollouts if not rollout.is_over]:
        answers = policy.act([rollout.prompt for rollout in playing])
        for rollout, answer in zip(playing, answers, strict=True):
            observation, reward, terminated, truncated, info = rollout.environment.step(answer.action)
            rollout.actions.append(answer.action)
            rollout.rewards.append(reward - INVALID_ACTION_PENALTY * (not info["is_valid"]))
            rollout.choices.append(answer.trace)
            rollout.anchors.append(info["anchor"])
            rollout.is_over = terminated or truncated
            task, trial, step = rollout.prompt.task, rollout.prompt.trial, len(rollout.actions)
            following = stable_seed(seed, task.id, trial, step)
            rollout.prompt = rollout.prompt.after(answer, observation, info, following)
    return rollouts


def step_table(rollouts: list[Rollout]) -> Steps:
    """Lay all steps end to end: one row a step. It is all that a credit scheme sees."""
    lengths = [len(rollout.actions) for rollout in rollouts]
    codes: dict[str, int] = {}  # equal situations have equal codes: that is what anchor-state groups are made of

    def coded(texts: list[str]) -> np.ndarray:
        return np.array([codes.setdefault(text, len(codes)) for text in texts])

    return Steps(
        group=np.repeat(np.arange(len(rollouts)) // GROUP_SIZE, lengths),
        episode=np.repeat(np.arange(len(rollouts)), lengths),
        step=np.concatenate([np.arange(length) for length in lengths]),
        reward=np.concatenate([rollout.rewards for rollout in rollouts]),
        state=coded([anchor for rollout in rollouts for anchor in rollout.anchors[:-1]]),
        next_state=coded([anchor for rollout in rollouts for anchor in rollout.anchors[1:]]),
        action=coded([action for rollout in rollouts for action in rollout.actions]),
    )


def update(policy: ScorerPolicy, choices: list[Choice], credit: np.ndarray) -> float:
    """Take one step of the optimiser on the clipped surrogate of PPO; return the loss.

    L = -mean over steps of min(r A, clip(r, 1 - CLIP, 1 + CLIP) A), with r the ratio of the action's probability now to
    the one that it was drawn with (1 in the first update, so that the gradient is that of REINFORCE with A).
    """
    optimizer = torch.optim.AdamW(policy.module.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    gain = torch.tensor(credit, dtype=torch.float32)
    old = policy.sampled(choices).log_probs.squeeze(1)
    new = policy.likelihood(choices).log_probs.squeeze(1)
    ratio = (new - old).exp()
    loss = -torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.module.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    return float(loss.detach())


def first_update(policy: ScorerPolicy) -> tuple[Steps, np.ndarray, float]:
    """Play, give credit, learn once; return the step table, the advantage of every step, and the loss."""
    tasks = choose_tasks(agentbench.make(ENV, split=SPLIT, max_steps=MAX_STEPS))
    rollouts = play(policy, tasks)
    steps = step_table(rollouts)
    credit = advantages(SCHEME, steps)
    loss = update(policy, [choice for rollout in rollouts for choice in rollout.choices], credit)
    return steps, credit, loss


if __name__ == "__main__":
    torch.set_num_threads(1)
    steps, credit, loss = first_update(ScorerPolicy(seed=SEED))
    print(f"{steps}: rewards of {steps.reward.sum():.2f} in all, loss {loss:.4f}")
    print(f"advantages from {credit.min():.2f} to {credit.max():.2f}, {np.mean(credit != 0):.0%} of them not 0")
