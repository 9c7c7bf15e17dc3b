"""Train a language model with TRL on generated ALFWorld games, with GiGPO: python train_with_trl.py MODEL OUT STEPS."""

import sys

from trl import GRPOConfig

from agentbench.integrations.trl import AgentGRPOTrainer


def main(model: str, out: str, steps: int) -> None:
    """Train ``model``, a folder or a name on the model hub, and write it to ``out``."""
    trainer = AgentGRPOTrainer(
        model,
        env="alfworld",
        split="generated:0:64",
        env_options={"max_steps": 10},
        scheme="gigpo",
        scheme_options={"gamma": 0.95},
        invalid_penalty=0.1,
        policy_options={"max_tokens": 24},
        workers=2,
        args=GRPOConfig(
            out,
            num_generations=4,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
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
    print(f"{trainer.state.global_step} step(s), written to {out}")


if __name__ == "__main__":  # without it, worker processes of the data loader would start the training again
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
