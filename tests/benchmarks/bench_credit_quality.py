"""How near each scheme comes to the exact advantage, on small processes where that can be computed.

    python tests/benchmarks/bench_credit_quality.py --reference DIR [--output FILE.md]

DIR holds ``tabular.json`` and ``tabular_groups.jsonl.gz``: three tabular processes and 50 groups of 8 episodes of
each, played by a fixed policy that sees only the present observation, with reward 1 at the goal.
"""

from __future__ import annotations

import argparse
import gzip
import json
from functools import partial
from pathlib import Path

from credit import SCHEMES, advantages
from credit.verification.exact_checks import scheme_quality, solved

AVAILABLE = {"state", "action", "next_state", "is_valid", "terminated", "truncated"}
MEASURES = ("pearson", "sign_accuracy", "cosine_mean_gradient", "mean_cosine_one_group")


def report(folder: Path) -> str:
    """Measure every scheme that needs no more than the step table."""
    records = json.loads((folder / "tabular.json").read_text(encoding="utf-8"))["mdps"]
    with gzip.open(folder / "tabular_groups.jsonl.gz", "rt", encoding="utf-8") as file:
        groups = [json.loads(line) for line in file]
    lines = []
    for record in records:
        own = [group for group in groups if group["mdp"] == record["name"]]
        solution = solved(record)
        lines += ["", f"## {record['name'].replace('_', ' ')}", ""]
        lines += ["| scheme | correlation | sign | cosine, all groups | cosine, one group |", "|---|" + "---:|" * 4]
        schemes = {name: partial(advantages, name) for name in SCHEMES if set(SCHEMES[name].needs) <= AVAILABLE}
        for name, scheme in {"exact": None, **schemes}.items():
            found = scheme_quality(record, own, solution, scheme)
            lines.append(f"| {name} | " + " | ".join(f"{found[measure]:.3f}" for measure in MEASURES) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="write the report as Markdown")
    arguments = parser.parse_args()
    text = f"""# How near the schemes come to the exact advantage

    python tests/benchmarks/bench_credit_quality.py --reference DIR --output results/published/credit-quality.md

Three tabular processes with known A(t, s, a), 50 groups of 8 episodes each, default options. *Correlation* of
estimate and exact advantage over all steps; *sign*: share of the steps with |A| > 0.02 whose sign is right (0 counts
as wrong); *cosine* of the estimated policy gradient with the exact one, for the mean of all 50 groups (bias) and on
average for a single group (bias and noise). `exact` is the exact advantage itself: what sampling alone costs.
In the hidden key process the observation does not show what the goal depends on. Per-step correlation and the
direction of the gradient rank the schemes differently; small processes, a fixed policy without memory: read
differences, not absolute values.
{report(arguments.reference)}
"""
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
