"""One training step with TRL on the dice: trl_processes.py MODEL OUT ROWS, launched with as many processes as wanted.

Each process writes ``OUT/rows-N.json``: what its rows of TRL's loss were. The first writes ``OUT/weights.pt``.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import dice_environment
import torch
from trl import GRPOConfig

from agentbench.integrations.trl import AgentGRPOTrainer


class Watched(AgentGRPOTrainer):
    """Writes down what TRL's loss was given."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        prompts = (inputs["prompt_ids"] * inputs["prompt_mask"]).tolist()
        given = zip(prompts, inputs["completion_ids"].tolist(), inputs["completion_mask"].sum(1).tolist(), strict=True)
        rows = [[prompt, ids[: int(length)]] for prompt, ids, length in given]
        advantages = [row[: len(ids)] for row, (_, ids) in zip(inputs["advantages"].tolist(), rows, strict=True)]
        out = Path(self.args.output_dir) / f"rows-{self.accelerator.process_index}.json"
        out.write_text(json.dumps([[*row, values] for row, values in zip(rows, advantages, strict=True)]))
        return super()._compute_loss(model, inputs)


def main(model: str, out: str, rows: int) -> None:
    dice_environment.register()
    config = GRPOConfig(
        out,
        num_generations=4,
        generation_batch_size=4,
        max_steps=1,
        learning_rate=0.5,
        optim="sgd",
        lr_scheduler_type="constant",
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        per_device_train_batch_size=rows,
    )
    trainer = Watched(
        model, env="dice", split="all", workers=0, policy_options={"max_new_tokens": 6}, scheme="gigpo", args=config
    )
    Path(out).mkdir(parents=True, exist_ok=True)
    trainer.train()
    if trainer.accelerator.is_main_process:
        weights = torch.cat([each.detach().flatten() for each in trainer.model.parameters()])
        torch.save(weights, Path(out) / "weights.pt")
        (Path(out) / "log.json").write_text(json.dumps(trainer.state.log_history[0]))
    trainer.rollout.close()
    time.sleep(0.5)  # for gloo's threads: see _leave in agentbench/train/distributed.py


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
