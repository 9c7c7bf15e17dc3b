"""Make every kind of fault many times, and write down what became of the work.

Run from the repository: ``python tests/faults/campaign.py --out results/published/faults.md``. It takes about an hour
on two cores; ``--part`` makes one kind alone, ``--share 0.1`` a tenth of the faults. The small form of the same parts
is in the test suite (``test_faults.py``).
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import bad_servers  # noqa: E402
import clock_jumps  # noqa: E402
import damage  # noqa: E402
import full_disk  # noqa: E402
import hostile_text  # noqa: E402
import hosts  # noqa: E402
import kills  # noqa: E402
import toy_environment  # noqa: E402, F401  (registers the environment 'toy')
from tally import Tally, why_no_small_disk  # noqa: E402

from agentbench.runs.provenance import describe  # noqa: E402


@dataclass(frozen=True)
class Part:
    """One kind of fault.

    Attributes:
        label: what a reader calls it.
        make: makes ``times`` of them below a folder.
        times: how many the campaign makes.
        few: how many the test suite makes; 0 where starting all those programs takes minutes.
        why_not: says why it cannot be made here, if so.
    """

    label: str
    make: Callable[[Path, int, random.Random], Tally]
    times: int
    few: int
    why_not: Callable[[], str] = str


def why_no_other_clock() -> str:
    """Return why clocks cannot be set here; empty where they can."""
    return "" if clock_jumps.library() else "libfaketime is not installed (apt-get install faketime)"


PARTS = {
    "evaluations": Part("SIGKILL of an evaluation, at random", kills.kill_evaluations, 50, 2),
    "evaluation-files": Part("… before each of its file operations", kills.kill_evaluations_at_operations, 30, 0),
    "workers": Part("SIGKILL of a worker process", kills.kill_workers, 50, 3),
    "host-kills": Part("… that hosts 32 environments", kills.kill_hosts, 50, 3),
    "hosts": Part("hang, death, growth or exception of one of 32 in a process", hosts.spoil_hosts, 60, 0),
    "trainers": Part("SIGKILL of a training, at random", kills.kill_trainers, 30, 0),
    "trainer-files": Part("… before each of its file operations", kills.kill_trainers_at_operations, 30, 0),
    "servers": Part("SIGKILL of the model server", kills.kill_servers, 40, 3),
    "training-servers": Part("SIGKILL of the server of a training", kills.kill_servers_of_trainings, 20, 0),
    "disks": Part("full disk, 12 commands", full_disk.fill_disks, 60, 0, why_no_small_disk),
    "run-files": Part("damaged file of a run", damage.damage_runs, 1000, 65),
    "checkpoint-files": Part("damaged file of a checkpoint", damage.damage_checkpoints, 512, 32),
    "policy-files": Part("damaged file of a policy", damage.damage_policies, 300, 30),
    "clocks": Part("jump of the clock by years", clock_jumps.jump_clocks, 1000, 0, why_no_other_clock),
    "answers": Part("bad answer of a server that recovers", bad_servers.fail_requests, 1000, 40),
    "outages": Part("outage of a server for good", bad_servers.lose_servers, 100, 4),
    "alfworld": Part("hostile action in ALFWorld", hostile_text.act_in_alfworld, 10_000, 500),
    "webshop": Part("hostile action in WebShop", hostile_text.act_in_webshop, 10_000, 500),
    "model": Part("hostile answer of a model", hostile_text.answer, 10_000, 400),
    "files": Part("hostile file, 17 kinds", hostile_text.read_files, 10_000, 340),
}

HEAD = """# Faults

Every kind of fault, made many times over evaluations and trainings of a small counting game (full disks and hostile
actions: of ALFWorld and WebShop), and what became of the work. The promise: nothing finished is lost, no wrong number,
no hang, one clear message.

    python tests/faults/campaign.py --out results/published/faults.md

| fault | made | in mid-work | reported | lost | wrong | hung | unclear | seconds |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
"""

FOOT = """
*In mid-work*: something was finished already and something was not (hostile text: it was taken as legal). *Reported*:
ended in one line that says what is wrong; the others were fixed unseen, or changed nothing. *Lost*: finished episodes
or checkpoints that were gone afterwards. *Wrong*: ended with other numbers than the uninterrupted run, byte for byte.
*Hung*: did not end within {limit:.0f} s, or a worker outlived its run. *Unclear*: a traceback, several lines, or no
message.

What the campaign found, and what was fixed: lines of metrics, truths and measurements without a checksum, a table of
true advantages that could be read with a flipped bit, recorded actions replayed with a changed letter (each a wrong
number); an answer of a server whose text is no text, taken for an invalid action of the agent; a checkpoint whose seal
was gone, JSON and TOML nested by the thousand, rubbish in a file of outcomes, a full disk under `clone`, `graph` and
`report`, two workers of a program that was shot before it had begun (tracebacks).

How each is made and checked stands in `tests/faults/`. What it does not show: a power cut (the page cache survives a
SIGKILL), damage that keeps every checksum, and processes that get in each other's way. Attacks by hand on these found,
after the runs above, tables of a slower process that passed for new ones, and a server's second answer taken for that
to the next request (each a wrong number); episodes given up as if their environment had been late, where only the
policy had taken long (errors that were none); episodes of a newer version cut out as if damaged (lost); a pipe in a
run's folder that was waited for (a hang); values of a wrong kind in whole lines (tracebacks). All are fixed, and
tested for.

{where}
"""


def main() -> None:
    """Make the chosen parts and write the page."""
    parser = argparse.ArgumentParser(description="make every kind of fault, and write down what became of the work")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--share", type=float, default=1.0, help="share of the faults to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="page to write, after each part anew")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    rows = []
    for name in chosen.part or PARTS:
        rows.append(run_part(PARTS[name], chosen.share, chosen.seed))
        print(rows[-1], flush=True)
        if chosen.out:
            chosen.out.write_text(page(rows), encoding="utf-8")


def run_part(part: Part, share: float, seed: int) -> str:
    """Make one kind of fault; return its row of the table."""
    if why := part.why_not():
        return f"| {part.label} | not made: {why} | | | | | | | |"
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    began = time.perf_counter()
    try:
        tally = part.make(folder, max(1, round(part.times * share)), random.Random(seed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for note in tally.notes:
        print(f"  {note}", file=sys.stderr)
    counts = [value for name, value in asdict(tally).items() if name != "notes"]
    return f"| {part.label} | {' | '.join(f'{count:,}' for count in counts)} | {time.perf_counter() - began:.0f} |"


def page(rows: list[str]) -> str:
    """Write the whole page."""
    from tally import LIMIT

    about = describe()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if name != "agentbench")
    where = f"Commit {about['git'][:12]}, Python {about['python']}, {versions}; {about['cores']} cores."
    return HEAD + "\n".join(rows) + "\n" + FOOT.format(limit=LIMIT, where=where)


if __name__ == "__main__":
    main()
