"""Make ``docs/schemes.md`` from the registry and the schemes' own docstrings: ``python docs/site/schemes.py``.

Schemes of installed plug-ins are among them. What papers published about methods, ours or not, stands here.
"""

from __future__ import annotations

from pathlib import Path

from pages import write

from credit import SCHEMES, Scheme

PATH = Path(__file__).resolve().parents[1] / "schemes.md"

PUBLISHED = (
    # method, ALFWorld and WebShop with a 1.5B model, the same with a 7B model, taken from
    ("PPO", "54.4", "73.8 / 51.5", "80.4", "81.4 / 68.7", "GiGPO paper"),
    ("RLOO", "69.7", "73.9 / 52.1", "75.5", "80.3 / 65.7", "GiGPO paper"),
    ("GRPO", "72.8", "75.8 / 56.8", "77.6", "79.3 / 66.1", "GiGPO paper"),
    ("GRPO, rerun", "71.1", "81.9 / 64.1", "73.4", "82.3 / 75.4", "GraphHCA paper"),
    ("EMPG", "73.7", "80.4 / 60.8", "78.5", "81.0 / 69.3", "tables of the PlanPO and GraphHCA papers"),
    ("GiGPO, std", "86.7", "83.1 / 65.0", "90.8", "84.4 / 72.8", "GiGPO paper"),
    ("GiGPO, mean", "86.1", "83.5 / 67.4", "90.2", "86.2 / 75.2", "GiGPO paper"),
    ("GiGPO, rerun", "89.5", "85.2 / 74.2", "93.8", "86.9 / 82.0", "GraphHCA paper"),
    ("SALT", "85.2", "86.9 / 74.7", "87.3", "83.1 / 75.2", "as listed in the GRAFT paper"),
    (
        "HGPO, seen / unseen",
        "92.8 / 90.2",
        "85.6 / 71.5",
        "95.4 / 92.1",
        "89.0 / 78.5",
        "3SPO paper, second-hand",
    ),
    ("GraphGPO", "92.7", "89.3 / 78.7", "95.3", "86.9 / 80.3", "as listed in the GRAFT paper"),
    ("GraphGPO, rerun", "91.0", "88.1 / 81.3", "94.1", "88.6 / 82.0", "GraphHCA paper"),
    ("GRAFT (here: graph_value)", "97.4", "90.8 / 82.3", "98.4", "91.5 / 82.8", "GRAFT paper"),
    ("HiPER", "95.3", "– / 71.4", "97.4", "– / 83.3", "HiPER paper"),
    ("Turn-PPO, rerun", "76.4", "69.2 / 52.2", "94.3", "75.3 / 54.6", "VETTA paper"),
)

INTRODUCTION = """\
# The credit schemes

*Made by `python docs/site/schemes.py` from the schemes' own texts: change those, not this file.*

A credit scheme says how much each step of an episode helped. It is a pure function from the step table to one
number a step, the advantage; the trainer does not know which scheme made it.

```python
from agentbench import load, advantages

steps = load("results/run").steps()  # or any pandas table with the columns of docs/step-table.md
a = advantages("gigpo", steps, gamma=0.95)
```

| command | what it does |
|:--|:--|
| `agentbench schemes [NAME]` | lists the schemes, or tells all about one |
| `agentbench credit RUN --scheme salt,gigpo --out adv.parquet` | computes them for a stored run, with health counters |
| `agentbench compare-schemes RUN` | shows how far they agree on it, and where they differ most |
| `agentbench graph RUN --task ID --scheme salt --out graph.svg` | draws the map of a task's episodes |
| `agentbench verify credit --reference DIR` | holds them to recorded vectors of the original code |

**Which one?** Start with `grpo` as the baseline and `gigpo`. Then look at the health counters. If most steps are
*alone* (nothing to compare with), a scheme that groups by state cannot do more than its outcome term. If most groups
have *equal* outcomes, no group-based scheme learns from them: the tasks are too easy or too hard. A scheme that
agrees with `grpo` on nearly every step (`agentbench compare-schemes`) will not train differently.

**Strict and compat.** The defaults are the statistically sound reading: every episode counts once in its group's
statistics, a group of one gives 0, equal outcomes give exactly 0, row order does not matter. One episode alone can
have credit only where a scheme looks inside it (at its steps, a critic's value or a measurement); 0 is not
promised by {not_alone}.
Where released code does otherwise, `compat="verl-agent"` (forks of verl-agent) or `compat="released"` reproduces it,
defects included.

**Evidence** says how a definition was obtained: *code+run* read in the code named and executed, *code* read only,
*paper* read in the paper, *second-hand* from someone else's description. Second-hand definitions are not to be
presented as exact.

## All schemes

Every scheme needs the columns group, episode, step and reward; *needs* lists what else. *Cost* is what must be had
beyond arithmetic on the table; the arithmetic takes less than 10 ms for a training batch of 6,400 steps with any of
them (`tests/benchmarks/bench_credit.py`).

| scheme | what it does | needs | cost | when to use it | evidence |
|:--|:--|:--|:--|:--|:--|
"""

RESULTS = """
## Published results

For orientation. ALFWorld: success in %; WebShop: score / success in %. Models are Qwen2.5-Instruct of the size given.
**Do not compare across papers**: the same baseline differs by up to 20 points between them (GRPO with 1.5B on
WebShop: 56.8, 64.1 or 71.4 % success), because of task subsets, step limits, number of epochs and how checkpoints
were chosen. An independent rerun of GRPO on ALFWorld with six seeds at temperature 0.4 gave 79.0 ± 4.8.

| method | ALFWorld 1.5B | WebShop 1.5B | ALFWorld 7B | WebShop 7B | taken from |
|:--|--:|--:|--:|--:|:--|
"""

FURTHER_RESULTS = """
AppWorld (task goal completion on test-normal, in %): LOOP with Qwen2.5-32B 72.6, SALT with 32B 66.2, both as
tabulated by the CANOPY paper. For GiGPO and HGPO no AppWorld figures were found; for IGPO, RAGEN, M-GRPO and Dr.MAS
none on these three benchmarks.

One testbed for several methods (ARLArena, arXiv 2602.21534, a fine-tuned Qwen3-4B; ALFWorld / WebShop success in %):
GRPO 62.4 / 57.7, GiGPO 81.1 / 56.6, EMPG 57.9 / 64.3. The order of GiGPO and EMPG is not the same on the two.

## Known, and not here

Of these there is a name and an idea at second hand, not enough to write down what they compute, so they are left out:
ProxMO (arXiv 2602.19225: episodes weighed by their group's success rate, and near states compared softly), COPO (arXiv
2508.04138), CANON, and R3L's reflection (arXiv 2601.03715: the model names the turn to retry from, and writes what to
do otherwise). Samplers that leave the advantage as it is (ARPO, Knapsack RL, VADE) are no schemes.

## One by one
"""


def document() -> str:
    """Return the text of ``docs/schemes.md``."""
    rows = [_row(scheme) for scheme in SCHEMES.values()]
    published = ["| " + " | ".join(row) + " |\n" for row in PUBLISHED]
    sections = [_section(scheme) for scheme in SCHEMES.values()]
    alone = ", ".join(f"`{scheme.name}`" for scheme in SCHEMES.values() if "zero_when_alone" not in scheme.claims)
    introduction = INTRODUCTION.replace("{not_alone}", alone)
    return "".join([introduction, *rows, RESULTS, *published, FURTHER_RESULTS, "\n", "\n".join(sections)])


def _row(scheme: Scheme) -> str:
    what = scheme.summary.partition(": ")[2] or scheme.summary
    evidence = scheme.evidence.partition("\n")[0]
    cells = (f"[`{scheme.name}`](#{scheme.name})", what, _columns(scheme), scheme.cost, scheme.use, evidence)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _section(scheme: Scheme) -> str:
    parts = [f"### {scheme.name}", "", _plain(scheme.summary), "", "```text", scheme.equation, "```", ""]
    evidence, _, notes = scheme.evidence.partition("\n")
    parts += [f"*Symbols:* {_flow(scheme.symbols)}", "", f"*Source:* {_flow(scheme.source)}  "]
    parts += [f"*Evidence:* {evidence}  ", f"*Needs:* {_columns(scheme)}  ", f"*Options:* {_options(scheme)}"]
    for preset, values in scheme.presets.items():
        settings = ", ".join(f"`{option}={value!r}`" for option, value in values.items())
        parts[-1] += "  "
        parts.append(f'*`compat="{preset}"` sets:* {settings}')
    return "\n".join([*parts, "", _plain(notes.strip()), ""] if notes.strip() else [*parts, ""])


def _columns(scheme: Scheme) -> str:
    return ", ".join(f"`{column}`" for column in scheme.needs) or "–"


def _options(scheme: Scheme) -> str:
    return ", ".join(f"`{option}={default!r}`" for option, default in scheme.options.items() if option != "compat")


def _cell(text: str) -> str:
    """Text for a table: on one line, a dash where the module does not say."""
    return _flow(text).replace("|", "\\|") or "–"


def _flow(text: str) -> str:
    return _plain(" ".join(text.split()))


def _plain(text: str) -> str:
    """Docstring markup as Markdown."""
    for role in (":mod:", ":func:", ":class:", ":data:"):
        text = text.replace(role, "")
    return text.replace("``", "`")


if __name__ == "__main__":
    write(PATH, document())
