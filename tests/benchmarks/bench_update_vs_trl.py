"""One GRPO update of a real model on the same stored episodes, by this trainer and by TRL's ``GRPOTrainer``.

``python tests/benchmarks/bench_update_vs_trl.py MODEL --from RUN [--template FILE] [--episodes 16] [--turns 8]``

Every trainer runs in a process of its own with one thread: it loads the model, takes one step of AdamW on the stored
tokens with the same advantage an episode, and reports the processor seconds of that step and the peak of its resident
memory. The gradients before the step are compared. The loss is the same: clipped, mean over sampled tokens, no KL.

- ``ours``: what ``agentbench train`` does.
- ``trl``: TRL's defaults (8 rows a pass, activations computed again), each episode one row whose observations are
  masked out of the loss (``tool_mask``), which is TRL's way for turns with tools.
- ``trl-lean``: the same, one row a pass, activations kept: as little work as TRL can be told to do.
- ``trl-steps``: each turn a row of its own, prompt and answer, as trainers do that know no conversations.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIDES = ("ours", "trl", "trl-lean", "trl-steps")


def main() -> None:
    """Prepare the episodes, run every side in a process of its own, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--from", dest="run")
    parser.add_argument("--template")
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--side", help="run one side here (used by itself)")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.side:
        run_side(given.side, given.model, given.folder)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True, parents=True)
        stored = prepare(given.model, given.run, given.template, given.episodes, given.turns)
        (folder / "episodes.json").write_text(json.dumps(stored))
        tokens = sum(len(each["ids"]) for each in stored)
        answers = sum(end - begin for each in stored for begin, end in each["answers"])
        print(f"{len(stored)} episodes of {given.turns} turns, {tokens:,} tokens, {answers:,} of them sampled")
        print(
            "| side | processor seconds | peak memory (MB) | largest difference of the gradient |\n|---|---:|---:|---:|"
        )
        for side in given.sides.split(","):
            command = [sys.executable, __file__, given.model, "--side", side, "--folder", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            found = json.loads((folder / f"{side}.json").read_text())
            gap = difference(folder, side, given.sides.split(",")[0])
            print(f"| {side} | {found['seconds']:.1f} | {found['peak_mb']:.0f} | {gap:.1e} |", flush=True)


def prepare(model: str, run: str, template: str | None, episodes: int, turns: int) -> list[dict[str, Any]]:
    """Return the first episodes of a run that are long enough, cut to some turns, as token ids with their answers."""
    from agentbench import load
    from agentbench.train.clone import traces_of
    from policies import make_policy

    options = {"thinking": False, "show_actions": False, "threads": 1, "template": template}
    policy: Any = make_policy(f"hf:{model}", environment="alfworld", options=options)
    draws = np.random.default_rng(0)
    stored = []
    for episode in load(run).read_episodes():
        traces = traces_of(policy, [episode])[:turns]
        if len(traces) == turns:
            answers = [(len(each.prompt), len(each.prompt) + each.tokens) for each in traces]
            ids = traces[-1].ids.tolist()
            log_probs = _log_probs(policy, traces)
            stored.append({"ids": ids, "answers": answers, "log_probs": log_probs, "advantage": draws.normal()})
        if len(stored) == episodes:
            return stored
    raise SystemExit(f"{run} has only {len(stored)} episodes of {turns} turns")


def _log_probs(policy: Any, traces: list[Any]) -> list[list[float]]:
    import torch

    with torch.no_grad():
        found = policy.likelihood(traces).log_probs
    return [row[: each.tokens].tolist() for row, each in zip(found, traces, strict=True)]


def difference(folder: Path, side: str, other: str) -> float:
    """Return the largest difference of two gradients over the largest entry."""
    worst = largest = 0.0
    names = [path.name for path in (folder / other).glob("*.npy")]
    assert names
    for name in names:
        mine, theirs = np.load(folder / side / name), np.load(folder / other / name)
        worst = max(worst, float(np.abs(mine - theirs).max()))
        largest = max(largest, float(np.abs(theirs).max()))
    return worst / largest


class Clock:
    """Processor seconds and peak memory of a step, without what it takes to write the gradient down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.begin, self.pause = folder, time.process_time(), 0.0
        folder.mkdir(exist_ok=True)

    def keep(self, model: Any) -> None:
        """Write the gradient down."""
        begin = time.process_time()
        for name, weight in model.named_parameters():
            np.save(self.folder / f"{name}.npy", weight.grad.numpy())
        self.pause += time.process_time() - begin

    def stop(self) -> None:
        """Write the figures down."""
        seconds = time.process_time() - self.begin - self.pause
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.folder.with_suffix(".json").write_text(json.dumps({"seconds": seconds, "peak_mb": peak}))


def run_side(side: str, model: str, folder: Path) -> None:
    """Take one step with one trainer."""
    import torch

    torch.set_num_threads(1)
    stored = json.loads((folder / "episodes.json").read_text())
    if side == "ours":
        ours(model, stored, folder / side)
    else:
        trl(side, model, stored, folder / side)


def ours(model: str, stored: list[dict[str, Any]], folder: Path) -> None:
    """Take one step as ``agentbench train`` does."""
    from agentbench.train.batch import Batch
    from agentbench.train.chosen import choose_for_training
    from agentbench.train.config import TrainConfig
    from agentbench.train.optimizer import make_optimizer
    from agentbench.train.run import make_learner
    from agentbench.train.update import update
    from policies.language.sequences import Sampled

    config = TrainConfig(
        policy=f"hf:{model}", minibatches=1, aggregation="token", learning_rate=1e-6, max_grad_norm=1e9
    )
    policy: Any = make_learner(config)
    config = choose_for_training(config, policy)
    traces, numbers = [], []
    for number, episode in enumerate(stored):
        ids = np.array(episode["ids"], np.int32)
        ends: list[int] = []
        for (begin, end), log_probs in zip(episode["answers"], episode["log_probs"], strict=True):
            traces.append(Sampled(ids[:begin], ids[begin:end], np.array(log_probs, np.float32), tuple(ends)))
            ends.append(end)
            numbers.append(number)
    episode_of = np.array(numbers)
    gains = np.array([each["advantage"] for each in stored])[episode_of]
    tokens = np.array([each.tokens for each in traces])
    table: Any = None
    batch = Batch(traces, gains, np.zeros(len(traces)), episode_of, tokens, table)
    optimizer = make_optimizer(policy.module, config.learning_rate, 0.0)
    clock = Clock(folder)
    optimizer.register_step_pre_hook(lambda *_: clock.keep(policy.weights.model))
    update(policy, optimizer, batch, config, 0)
    clock.stop()


def trl(side: str, model: str, stored: list[dict[str, Any]], folder: Path) -> None:
    """Take one step of TRL's trainer, whose rollouts are the stored ones."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    rows = [row for episode in stored for row in rows_of(episode, side == "trl-steps")]
    a_pass = 1 if side == "trl-lean" else min(8, len(rows))
    clock: list[Clock] = []

    class Stored(GRPOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            return tensors(rows, torch)

    class Watch(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.append(Clock(folder))

        def on_pre_optimizer_step(self, *_: Any, **more: Any) -> None:
            clock[0].keep(more["model"])

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock[0].stop()

    config = GRPOConfig(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=a_pass,
        gradient_accumulation_steps=len(rows) // a_pass,
        num_generations=len(rows),
        max_steps=1,
        learning_rate=1e-6,
        max_grad_norm=0.0,
        loss_type="dapo",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=side != "trl-lean",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        lr_scheduler_type="constant",
        model_init_kwargs={"dtype": "float32"},
    )
    data = Dataset.from_list([{"prompt": "stored"}] * len(rows))
    trainer = Stored(
        model, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=config, train_dataset=data,
        callbacks=[Watch()],
    )  # fmt: skip
    trainer.train()


def rows_of(episode: dict[str, Any], by_step: bool) -> list[dict[str, Any]]:
    """Return an episode as rows: ids, where the completion begins, which of its tokens were sampled and how likely."""
    ids, answers = episode["ids"], episode["answers"]
    sampled, old = np.zeros(len(ids), np.int64), np.zeros(len(ids))
    for (begin, end), log_probs in zip(answers, episode["log_probs"], strict=True):
        sampled[begin:end], old[begin:end] = 1, log_probs
    parts = answers if by_step else [(answers[0][0], len(ids))]
    return [
        {
            "ids": ids[:end],
            "begin": begin,
            "sampled": sampled[begin:end].tolist(),
            "old": old[begin:end].tolist(),
            "advantage": episode["advantage"],
        }
        for begin, end in parts
    ]


def tensors(rows: list[dict[str, Any]], torch: Any) -> dict[str, Any]:
    """Return rows as TRL keeps them: prompts filled up on the left, completions on the right."""
    prompts = [row["ids"][: row["begin"]] for row in rows]
    completions = [row["ids"][row["begin"] :] for row in rows]
    longest, width = max(map(len, prompts)), max(map(len, completions))

    def filled(values: list[list[Any]], wanted: int, left: bool) -> Any:
        zeros = [[0] * (wanted - len(each)) for each in values]
        return torch.tensor(
            [zero + each if left else each + zero for zero, each in zip(zeros, values, strict=True)]
        )  # fmt: skip

    sampled = [row["sampled"] for row in rows]
    return {
        "prompt_ids": filled(prompts, longest, True),
        "prompt_mask": filled([[1] * len(each) for each in prompts], longest, True),
        "completion_ids": filled(completions, width, False),
        "completion_mask": filled([[1] * len(each) for each in completions], width, False),
        "tool_mask": filled(sampled, width, False),
        "old_per_token_logps": filled([row["old"] for row in rows], width, False).float(),
        "advantages": torch.tensor([row["advantage"] for row in rows], dtype=torch.float32),
        "num_items_in_batch": torch.tensor(sum(map(sum, sampled))),
    }


if __name__ == "__main__":
    main()
