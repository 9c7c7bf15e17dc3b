"""Train a model that calls tools with TRL, in the way of its OpenEnv guide: this file with MODEL OUT STEPS URL.

URL is that of ``agentbench serve --env alfworld --split generated:0:64``, which may run on another machine.
"""

import sys

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from agentbench.integrations.openenv.client import AgentbenchEnv
from agentbench.integrations.openenv.models import TextAction, TextObservation

TASKS = 64  # of the served split
RULES = "You act in a house. Call the tool `act` with one action at a time, until it says that the episode is over.\n\n"


class ServedEnvironment:
    """One session of the server: TRL calls ``reset`` and ``get_reward``, the model calls ``act``."""

    url = "http://127.0.0.1:8000"

    def __init__(self) -> None:
        self._client = AgentbenchEnv(base_url=self.url).sync()
        self._client.connect()
        self._rewards: list[float] = []
        self._is_over = False

    def reset(self, index: int, **_: object) -> str:
        """Begin a task; return what TRL puts behind the prompt."""
        found = self._client.reset(index=index)
        self._rewards, self._is_over = [], False
        return f"Task: {found.observation.instruction}\n\n{_seen(found.observation)}"

    def act(self, action: str) -> str:
        """Do one thing in the house, and see what happens.

        Args:
            action: What to do, in words.

        Returns:
            What is seen then, and which actions are possible.
        """
        if not self._is_over:
            found = self._client.step(TextAction(action=str(action)))
            self._rewards.append(found.reward)
            self._is_over = found.done
            if not found.done:
                return _seen(found.observation)
        return "The episode is over."

    def get_reward(self) -> float:
        """Return the score: the rewards are by how much it rose."""
        return float(sum(self._rewards))


def _seen(observation: TextObservation) -> str:
    offered = "\n".join(f"- {action}" for action in observation.admissible_actions or ())
    return f"{observation.text}\n\nAdmissible actions:\n{offered}"


def main(model: str, out: str, steps: int, url: str) -> None:
    """Train ``model``, a folder or a name on the model hub, and write it to ``out``."""
    ServedEnvironment.url = url
    prompt = [{"role": "user", "content": RULES}]
    trainer = GRPOTrainer(
        model,
        train_dataset=Dataset.from_dict({"prompt": [prompt] * TASKS, "index": list(range(TASKS))}),
        environment_factory=ServedEnvironment,
        args=GRPOConfig(
            out,
            num_generations=4,
            per_device_train_batch_size=4,
            max_completion_length=4096,
            max_tool_calling_iterations=20,
            max_steps=steps,
            learning_rate=1e-5,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            bf16=False,
        ),
    )
    trainer.train()
    trainer.save_model(out)
    print(f"{trainer.state.global_step} step(s), reward {trainer.state.log_history[0]['reward']:.3f}, written to {out}")


if __name__ == "__main__":  # without it, worker processes of the data loader would start the training again
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
