"""How near every credit scheme comes to the true advantages: the published tables and pictures, in one command.

    python tests/benchmarks/bench_estimator_quality.py [--work DIR] [--output DIR] [--groups 200]

Plays and solves what is not in ``--work`` yet (stop it at any time and start it again), measures, and writes
``estimator-quality.md``, ``.csv``, ``.png`` and ``-sweeps.png`` to ``--output``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from agentbench.files import write_text
from agentbench.quality.measured import measure_problems, measure_runs, measure_sweeps
from agentbench.quality.plots import LINES, draw_quality, draw_sweeps
from agentbench.quality.table import Quality, sheets
from agentbench.truth.problems import PROBLEMS
from agentbench.truth.run import make_truth
from credit import SCHEMES

COMMAND = "python tests/benchmarks/bench_estimator_quality.py"
GROUP_SIZES = (4, 8, 16)
ALFWORLD = {
    "alfworld-exact": {
        "policy": "guided:80", "split": "generated:0:8:small", "groups": 6, "method": "exact",
        "state_limit": 400_000, "env_options": {"max_steps": 9},
    },
    "alfworld-mixed": {
        "policy": "mixed:0.7", "split": "generated:0:20", "groups": 1, "method": "monte-carlo", "rollouts": 16,
        "env_options": {"max_steps": 30},
    },
}  # fmt: skip


def main() -> None:
    """Make the truths, measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("results/estimator-quality"))
    parser.add_argument("--output", type=Path, default=Path("results/published"))
    parser.add_argument("--groups", type=int, default=200, help="groups of each tabular problem")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    for name, settings in ALFWORLD.items():
        print(f"true advantages: {name}", flush=True)
        make_truth(arguments.work / name, workers=arguments.workers, **settings)
    found, schemes = Quality(), list(SCHEMES)
    measure_runs(found, [arguments.work / name for name in ALFWORLD], schemes, ())
    measure_problems(found, PROBLEMS, schemes, GROUP_SIZES, arguments.groups, seed=0)
    measure_sweeps(found, [name for name in LINES if name in SCHEMES], arguments.groups // 4, seed=0)
    found.write(arguments.work)
    write_report(found, arguments.output)


def write_report(found: Quality, folder: Path) -> None:
    """Write the page, its data and its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    frame, main_rows = found.frame(), found.main()
    frame.to_csv(folder / "estimator-quality.csv", index=False, float_format="%.5g")
    draw_quality(main_rows[main_rows["group_size"] == 8], folder / "estimator-quality.png")
    draw_sweeps(frame[frame["setting"] != ""], folder / "estimator-quality-sweeps.png")
    write_text(folder / "estimator-quality.md", report(found))


def report(found: Quality) -> str:
    """The page: text, then a table for each sample at group size 8, then the group sizes side by side."""
    frame = found.main()
    tables = [sheet.markdown() for sheet in sheets(frame[frame["group_size"] == 8])]
    template = Path(__file__).with_name("estimator_quality.md").read_text(encoding="utf-8")
    missing = sorted({name for skipped in found.skipped.values() for name in skipped} - set(frame["scheme"]))
    return template.format(
        command=COMMAND,
        tables="\n\n".join(tables),
        sizes=_sizes(frame),
        missing=", ".join(missing),
        reliability=f"{found.reliability['alfworld-mixed']:.2f}",
        ceiling=f"{found.reliability['alfworld-mixed'] ** 0.5:.2f}",
    )


def _sizes(frame: pd.DataFrame) -> str:
    """Cosine of one group's gradient, by problem and group size."""
    tabular = frame[frame["sample"].isin(PROBLEMS)]
    wide = tabular.pivot_table(
        index="scheme", columns=["sample", "group_size"], values="cosine_group", sort=False, dropna=False
    )
    heads = [f"{sample}, {size}" for sample, size in wide.columns]
    lines = ["| scheme | " + " | ".join(heads) + " |", "|:--|" + "--:|" * len(heads)]
    for name, row in zip(wide.index, wide.to_numpy(), strict=True):
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in row) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
