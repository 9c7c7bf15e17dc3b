"""Chains and trees at equal environment steps: train every scheme and seed, one after the other, in this process.

    agentbench eval  --env alfworld --split generated:0:60 --policy expert --out results/expert
    agentbench clone --from results/expert --passes 3 --out models/cloned
    python tests/benchmarks/bench_trees.py results/trees [--seeds 5] [--minutes 40]
    agentbench sweep --config recipes/alfworld-trees.toml --out results/trees --summary \
        --schemes grpo,gigpo,tree_grpo,pivot_retry,vineppo

The folders are those of ``agentbench sweep``, which sums them up and could train them too; a process a run costs more
seconds of start than some of these runs take. It goes seed by seed, so that whatever is finished has all schemes alike;
the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from agentbench.train.run import train
from agentbench.train.sweep import plan_sweep

SCHEMES = ("grpo", "gigpo", "tree_grpo", "pivot_retry", "vineppo")
RECIPE = Path(__file__).parents[2] / "recipes" / "alfworld-trees.toml"


def main() -> None:
    """Train what is not finished, until the time is up."""
    parser = argparse.ArgumentParser(description="train chains and trees at equal environment steps")
    parser.add_argument("out", type=Path, help="folder of all runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after this time")
    parser.add_argument("--policy", help="where they begin; as in the recipe by default")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    flags = {"policy": arguments.policy} if arguments.policy else {}
    for run in plan_sweep(RECIPE, flags, SCHEMES, arguments.seeds, arguments.out):
        if run.is_finished:
            continue
        if time.monotonic() > end:
            print("the time is up: the same command goes on")
            return
        started = time.process_time()
        train(run.config, run.folder, resume=run.folder.exists())
        print(f"{run.folder.name}: {time.process_time() - started:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
