"""Let verl's own advantage step compute a scheme on a stored run: python advantages_with_verl.py RUN SCHEME."""

import sys
from pathlib import Path

import numpy as np
import torch
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.ppo import ray_trainer

from agentbench.integrations import verl as agentbench_verl
from agentbench.runs.episodes import to_line
from agentbench.runs.run import open_run


def main(run: Path, scheme: str) -> None:
    """Print each episode's advantages, one a step; every answer stands for two tokens, with one between."""
    agentbench_verl.enable()
    episodes = list(open_run(run).read_episodes())
    mask = torch.zeros(len(episodes), 3 * max(len(episode.steps) for episode in episodes), dtype=torch.long)
    rewards = torch.zeros(mask.shape)
    for row, episode in enumerate(episodes):
        for step in range(len(episode.steps)):
            mask[row, 3 * step : 3 * step + 2] = 1
        rewards[row, 3 * len(episode.steps) - 1] = sum(step.reward for step in episode.steps)
    batch = DataProto(
        batch=TensorDict({"response_mask": mask, "token_level_rewards": rewards}, batch_size=len(episodes)),
        non_tensor_batch={
            "uid": np.array([episode.task_id for episode in episodes], dtype=object),
            agentbench_verl.FIELD: np.array([to_line(episode) for episode in episodes], dtype=object),
        },
    )
    found = ray_trainer.compute_advantage(batch, adv_estimator=f"agentbench_{scheme}", config={})
    for episode, row in zip(episodes, found.batch["advantages"], strict=True):
        values = row[: 3 * len(episode.steps) : 3].tolist()
        print(episode.task_id, episode.trial, " ".join(f"{value:.3f}" for value in values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
