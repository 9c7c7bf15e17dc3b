"""How near every credit scheme comes to the true advantages: the published tables and pictures, in one command.

    python tests/benchmarks/bench_estimator_quality.py [--work DIR] [--output DIR] [--tiny]

Trains a policy half-way, plays and solves what is not in ``--work`` yet, measures, and writes
``estimator-quality.md``, ``.csv``, ``.png`` and ``-sweeps.png`` to ``--output``. Stop it at any time and start it
again: what is finished is not done twice, and the files have the same bytes (processor times, ``cost_ms``, are those of
the first time). ``--tiny`` goes through all of it with little of each, to see that it works.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes beside each other; set before torch is loaded

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from agentbench.analysis.quality.measured import (
    TREES,
    measure_anchors,
    measure_problems,
    measure_runs,
    measure_sweeps,
    measure_trees,
)
from agentbench.analysis.quality.parts import Parts
from agentbench.analysis.quality.plots import LINES, draw_quality, draw_sweeps
from agentbench.analysis.quality.table import Quality, number, sheets
from agentbench.analysis.truth.problems import PROBLEMS
from agentbench.analysis.truth.run import make_truth
from agentbench.evaluation.evaluate import evaluate
from credit import SCHEMES
from envs.base.files import write_text

COMMAND = "python tests/benchmarks/bench_estimator_quality.py"
GROUP_SIZES = (4, 8, 16)
TREE_MEASURES = ("pearson", "sign_success", "sign_failure", "cosine", "cosine_group", "snr")
SHOWN_SIZE = 8
EXACT, MIXED, TRAINED = "alfworld-exact", "alfworld-mixed", "alfworld-trained"


@dataclass(frozen=True)
class Extent:
    """How much is done.

    Attributes:
        groups: of each tabular problem; a quarter of them at each point of a sweep.
        exact_tasks, tasks: games of an ALFWorld sample, where the truth is exact and where it is measured.
        exact_groups, task_groups: groups of each of them.
        rollouts, critic_rollouts: from every point, where the truth is measured.
        clone_passes, training_steps: of the policy that is trained half-way.
    """

    groups: int = 200
    exact_tasks: int = 8
    tasks: int = 8
    exact_groups: int = 6
    task_groups: int = 3
    rollouts: int = 16
    critic_rollouts: int = 8
    clone_passes: int = 10
    training_steps: int = 10


TINY = Extent(8, 2, 2, 2, 2, 2, 2, 1, 1)


def main() -> None:
    """Train, make the truths, measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("results/estimator-quality"))
    parser.add_argument("--output", type=Path, default=Path("results/published"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    extent = TINY if arguments.tiny else Extent()
    work: Path = arguments.work
    policy = half_trained(work, extent, arguments.workers)
    for name, settings in samples(policy, extent).items():
        print(f"true advantages: {name}", flush=True)
        make_truth(work / name, workers=arguments.workers, **settings)
    print("measures", flush=True)
    found = measured(work, extent)
    found.write(work)
    write_report(found, arguments.output)


def samples(policy: Path, extent: Extent) -> dict[str, dict[str, Any]]:
    """Arguments of :func:`agentbench.analysis.truth.run.make_truth` for each ALFWorld sample."""
    branched = {
        "method": "monte-carlo", "groups": extent.task_groups,
        "rollouts": extent.rollouts, "critic_rollouts": extent.critic_rollouts,
    }  # fmt: skip
    return {
        EXACT: {
            "policy": "guided:80", "split": f"generated:0:{extent.exact_tasks}:small", "groups": extent.exact_groups,
            "method": "exact", "state_limit": 400_000, "env_options": {"max_steps": 9},
        },
        MIXED: {
            "policy": "mixed:0.7", "split": f"generated:0:{extent.tasks}", "env_options": {"max_steps": 30}, **branched,
        },
        TRAINED: {
            "policy": str(policy), "split": f"generated:5:{extent.tasks}:small",
            "env_options": {"max_steps": 20}, **branched,
        },
    }  # fmt: skip


def half_trained(work: Path, extent: Extent, workers: int) -> Path:
    """Clone the expert a little, train the clone a little, and return the folder of the policy."""
    from agentbench.train.clone import clone
    from agentbench.train.config import read_config
    from agentbench.train.run import make_learner, train
    from policies.trainable import POLICY_FILE, save_policy

    played = evaluate("alfworld", "expert", split="generated:0:100:small", out=work / "expert", workers=workers)
    cloned = work / "cloned"
    if not (cloned / POLICY_FILE).exists():  # written last
        learner = make_learner(read_config(None, {"policy": "scorer"}))
        clone(learner, [each for each in played.run.read_episodes() if each.won], passes=extent.clone_passes)
        save_policy(learner, cloned)
    settings = {
        "policy": str(cloned), "env_options": {"max_steps": 20}, "steps": extent.training_steps,
        "schedule": "constant", "eval_split": None, "checkpoint_every": 2,
    }  # fmt: skip
    recipe = Path(__file__).resolve().parents[2] / "recipes" / "alfworld-small.toml"
    return train(read_config(recipe, settings), work / "trained", resume=True)


def measured(work: Path, extent: Extent) -> Quality:
    """Measure every scheme on every sample and along every sweep."""
    found, schemes = Quality(parts=Parts(work / "quality.jsonl")), list(SCHEMES)
    measure_runs(found, [work / name for name in (EXACT, MIXED, TRAINED)], schemes, GROUP_SIZES)
    measure_problems(found, PROBLEMS, schemes, GROUP_SIZES, extent.groups, seed=0)
    measure_trees(found, PROBLEMS, extent.groups, seed=0)
    drawn = [name for name in LINES if name in SCHEMES]
    measure_sweeps(found, drawn, extent.groups // 4, seed=0)
    for name in (EXACT, TRAINED):
        measure_anchors(found, work / name, drawn)
    return found


def write_report(found: Quality, folder: Path) -> None:
    """Write the page, its data and its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    frame, main_rows = found.frame(), found.main()
    frame.to_csv(folder / "estimator-quality.csv", index=False, float_format="%.5g")
    draw_quality(main_rows[main_rows["group_size"] == SHOWN_SIZE], folder / "estimator-quality.png")
    draw_sweeps(frame[~frame["setting"].isin(("", "trees"))], folder / "estimator-quality-sweeps.png")
    write_text(folder / "estimator-quality.md", report(found))


def report(found: Quality) -> str:
    """The page: text, then a table for each sample at group size 8, then the group sizes side by side."""
    frame = found.main()
    tables = [sheet.markdown() for sheet in sheets(frame[frame["group_size"] == SHOWN_SIZE])]
    template = Path(__file__).with_name("estimator_quality.md").read_text(encoding="utf-8")
    return template.format(
        command=COMMAND,
        tables="\n\n".join(tables),
        trees=_trees(found.frame()),
        sizes=_sizes(frame[frame["sample"].isin(PROBLEMS)]),
        sizes_alfworld=_sizes(frame[~frame["sample"].isin(PROBLEMS)]),
        missing=_missing(found),
        **{f"reliability_{name[9:]}": f"{found.reliability[name]:.2f}" for name in (MIXED, TRAINED)},
        **{f"ceiling_{name[9:]}": f"{found.reliability[name] ** 0.5:.2f}" for name in (MIXED, TRAINED)},
    )


def _missing(found: Quality) -> str:
    """Say which schemes could not be measured where, and why: a line for each reason and the samples that have it."""
    of_reason: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    whys = {
        (scheme, why.removeprefix(f"{scheme} ")) for names in found.skipped.values() for scheme, why in names.items()
    }
    for scheme, why in sorted(whys):
        where = tuple(name for name, names in found.skipped.items() if names.get(scheme, "").endswith(why))
        of_reason.setdefault((why, where), []).append(scheme)
    every = set(found.main()["sample"])
    lines = [
        f"- {', '.join(f'`{scheme}`' for scheme in schemes)} "
        f"on {'every sample' if set(where) == every else ', '.join(f'`{name}`' for name in where)}: {why}."
        for (why, where), schemes in of_reason.items()
    ]
    return "\n".join(lines) or "None."


def _trees(frame: pd.DataFrame) -> str:
    """The schemes that read trees, and `grpo` on as many steps of chains above them."""
    lines = [
        "| problem | scheme | groups | steps | pearson | sign, won | sign, lost | cosine | cosine, 1 group | snr |",
        "|:--|:--|:--|" + "--:|" * 7,
    ]
    chains = frame[(frame["setting"] == "") & (frame["group_size"] == SHOWN_SIZE) & (frame["scheme"] == "grpo")]
    for problem in PROBLEMS:
        grown = frame[frame["sample"].str.startswith(f"{problem},") & (frame["setting"] == "trees")]
        rows = [("8 chains", row) for row in chains[chains["sample"] == problem].to_dict("records")]
        rows += [(row["value"], row) for row in grown[grown["scheme"].isin(TREES)].to_dict("records")]
        for groups, row in rows:
            numbers = " | ".join(number(row, name) for name in TREE_MEASURES)
            lines.append(f"| {problem} | {row['scheme']} | {groups} | {row['steps']:,} | {numbers} |")
    return "\n".join(lines)


def _sizes(frame: pd.DataFrame) -> str:
    """Cosine of one group's gradient, by sample and group size."""
    wide = frame.pivot_table(
        index="scheme", columns=["sample", "group_size"], values="cosine_group", sort=False, dropna=False
    )
    heads = [f"{sample}, {size}" for sample, size in wide.columns]
    lines = ["| scheme | " + " | ".join(heads) + " |", "|:--|" + "--:|" * len(heads)]
    for name, row in zip(wide.index, wide.to_numpy(), strict=True):
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
