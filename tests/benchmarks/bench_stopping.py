"""Does a credit scheme put a price on length? Measured on ``harvest``, where an episode may be left at any time.

    python tests/benchmarks/bench_stopping.py [--groups 480] [--seeds 5] [--updates 30] [--output FILE.md]

The expected policy gradient of a scheme is written as a times the exact gradient of the return plus b times the exact
gradient of the *number of steps* (least squares). b / a is then what a step is worth to the scheme beyond its reward: 0
for one without bias, negative for one that would rather be done. And some schemes train a softmax policy by steps of
equal length along their gradient, and are judged by the exact return of where they end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from agentbench.analysis.quality.measures import group_gradients
from agentbench.analysis.quality.sample import Sample, estimate
from agentbench.analysis.quality.tabular import problem_sample
from agentbench.analysis.truth.problems import Problem, make_problem
from credit import SCHEMES, CreditError
from credit.steps import FloatArray
from credit.tools.exact import Process, solve

COMMAND = "python tests/benchmarks/bench_stopping.py --output results/published/stopping-bias.md"
GROUP, REPLICATES = 8, 400
FIELDS = {"leave early": {"best": 2}, "leave midway": {"best": 4}, "leave late": {"best": 7}}
ALONE = ("drmas", "mgrpo", "mars")
"""Schemes for several agents: measured with one agent too, to tell the two matters apart."""
TRAINED = ("exact", "grpo", "gigpo", "mapo", "gae", "igpo", "mars", "mars, one agent", "pure")
CONTROLS = ("exact", "constant")


def length_of(process: Process) -> Process:
    """Return the process in which every step earns 1, so that its values are numbers of steps to come."""
    return replace(process, reward=np.ones_like(process.reward))


def estimates(sample: Sample, name: str) -> FloatArray:
    """Advantage of every row under a scheme, a scheme with one agent alone, or a control."""
    if name == "exact":
        return sample.truth
    if name == "constant":
        return np.full(len(sample.truth), -1.0)
    scheme, comma, _ = name.partition(",")
    if comma:
        one = [replace(each, extra={**each.extra, "agent": np.zeros(len(each), np.int64)}) for each in sample.batches]
        sample = replace(sample, batches=one)
    return estimate(sample, scheme)[0]


def names() -> list[str]:
    """Every row of the table."""
    rows = [*CONTROLS]
    for name in SCHEMES:
        rows += [name, *([f"{name}, one agent"] if name in ALONE else [])]
    return rows


def prices(problem: Problem, groups: int, seed: int) -> Iterator[tuple[str, float, float, float]]:
    """Yield the name of each row, its price of a step with half of a 95 % interval, and the share of its gradient that
    the two exact ones explain (both over bootstrap draws of the groups)."""
    sample = problem_sample(problem, GROUP, groups, seed)
    exact = solve(problem.process).gradient.ravel()
    steps = solve(length_of(problem.process)).gradient.ravel()
    both = np.stack([exact, steps], axis=1)
    draw = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=REPLICATES) / groups
    weights = np.concatenate([np.full((1, groups), 1 / groups), draw])
    for name in names():
        try:
            x = estimates(sample, name)
        except CreditError:
            continue
        means = weights @ group_gradients(sample, x).toarray()
        fit, *_ = np.linalg.lstsq(both, means.T, rcond=None)
        price = fit[1] / np.where(np.abs(fit[0]) > 1e-12, fit[0], np.nan)
        left = means[0] - both @ fit[:, 0]
        explained = 1 - float(left @ left) / max(float(means[0] @ means[0]), 1e-300)
        spread = float(np.std(price[1:][np.isfinite(price[1:])])) if name not in CONTROLS else 0.0
        yield name, float(price[0]), float(stdtrit(groups - 1, 0.975)) * spread, explained


def train(problem: Problem, name: str, updates: int, seed: int, groups: int = 8, length: float = 0.8) -> Process:
    """Follow a scheme's gradient from the problem's policy, and return the process with the policy at the end."""
    logits = np.log(np.maximum(problem.process.policy, 1e-6))
    for update in range(updates):
        policy = np.exp(logits - logits.max(axis=1, keepdims=True))
        process = replace(problem.process, policy=policy / policy.sum(axis=1, keepdims=True))
        problem = replace(problem, process=process)
        sample = problem_sample(problem, GROUP, groups, seed * 10_000 + update)
        gradient = np.asarray(group_gradients(sample, estimates(sample, name)).mean(axis=0)).reshape(logits.shape)
        norm = float(np.linalg.norm(gradient))
        if norm:
            logits = np.clip(logits + length * gradient / norm, -12, 12)
    policy = np.exp(logits - logits.max(axis=1, keepdims=True))
    return replace(problem.process, policy=policy / policy.sum(axis=1, keepdims=True))


def trained(problem: Problem, name: str, updates: int, seeds: int) -> str:
    """One row: return and number of steps at the end of the training, with half of a 95 % interval over the seeds."""
    ends = [train(problem, name, updates, seed) for seed in range(seeds)]
    cells = []
    for values in ([solve(end).objective for end in ends], [solve(length_of(end)).objective for end in ends]):
        half = float(stdtrit(seeds - 1, 0.975)) * float(np.std(values, ddof=1)) / np.sqrt(seeds)
        cells.append(f"{np.mean(values):.3f} ± {half:.3f}")
    return f"| {name} | {cells[0]} | {cells[1]} |"


def _mean_reward(problem: Problem) -> float:
    """Expected return over expected number of steps."""
    return solve(problem.process).objective / solve(length_of(problem.process)).objective


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=480)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    problems = {name: make_problem("harvest", **field) for name, field in FIELDS.items()}
    table: dict[str, list[str]] = {}
    for problem in problems.values():
        for name, price, half, explained in prices(problem, arguments.groups, seed=0):
            cell = f"{price:+.3f} ± {half:.3f}" if name not in CONTROLS and explained > 0.5 else "·"
            if name == "exact":
                cell = f"{price + 0.0:.3f}"
            table.setdefault(name, []).append(f"{cell} | {explained:.2f}")
    lines = ["| scheme | " + " | ".join(f"{name}: price | explained" for name in problems) + " |"]
    lines += ["|:--|" + "--:|--:|" * len(problems)]
    lines += [
        f"| *mean reward a turn* | {' | '.join(f'{-_mean_reward(each):+.3f} | ' for each in problems.values())} |"
    ]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in table.items()]
    report = "\n".join(lines)
    print(report, flush=True)
    problem = problems["leave midway"]
    begin = [solve(problem.process).objective, solve(length_of(problem.process)).objective]
    rows = ["| scheme | return | steps |", "|:--|--:|--:|", f"| at the start | {begin[0]:.3f} | {begin[1]:.3f} |"]
    for name in TRAINED:
        rows.append(trained(problem, name, arguments.updates, arguments.seeds))
        print(rows[-1], flush=True)
    if arguments.output:
        template = Path(__file__).with_name("stopping.md").read_text(encoding="utf-8")
        text = template.format(command=COMMAND, prices=report, trained="\n".join(rows), **vars(arguments))
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
