"""Show what a GPU does: one command, parts with a time limit each, every figure written as soon as it is there.

``make test-gpu`` on a machine with a GPU, ``python tests/gpu/run.py --tiny --device cpu`` anywhere. Every part is a
process of its own: one that hangs or fails ends no other. It needs no network. Figures are JSON lines with ``part``;
of a part that was ended before its time there is what it had until then, and a line that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

LIMITS = {"versions": 30, "ceilings": 40, "configurations": 120, "decode": 100, "update": 80, "learn": 360}
"""Part -> seconds that it may take; the first five together are less than a call of 8 minutes, and so is the last."""


def joined(halves: list[Path], out: Path) -> Path:
    """Put a file together that came in parts (each small enough for a limit on what is carried); return it."""
    if len(halves) == 1:
        return halves[0]
    with out.open("wb") as whole:
        for half in halves:
            whole.write(half.read_bytes())
    return out


def main() -> int:
    """Run the parts that were asked for; return 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(LIMITS), help="which, with commas between them (all)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models and few rows: a test of the script itself")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of figures.jsonl and of runs")
    parser.add_argument("--weights", type=Path, nargs="+", help="of a model: a folder, or a GGUF file in parts")
    parser.add_argument("--games", type=Path, help="official games of ALFWorld (ALFWORLD_DATA), for learning")
    parser.add_argument(
        "--lessons", type=Path, help="a run of expert episodes to clone from; without it they are played"
    )
    parser.add_argument("--lora", type=int, default=8, help="rank of the adapters that are trained; 0: all weights")
    parser.add_argument("--minutes", type=float, default=8.0, help="what all parts together may take")
    given = parser.parse_args()
    parts = given.parts.split(",")
    if unknown := [part for part in parts if part not in LIMITS]:
        parser.error(f"there is no part {unknown[0]!r}: there are {', '.join(LIMITS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    figures = given.out / "figures.jsonl"
    figures.touch()
    weights = str(joined(given.weights, given.out / "model.gguf").resolve()) if given.weights else ""
    end, failed = time.monotonic() + 60 * given.minutes, 0
    for part in parts:
        # The limits are for a GPU; a test of the script may have to share a processor.
        seconds = min(LIMITS[part] * (5 if given.tiny else 1), end - time.monotonic())
        failed += not run(part, seconds, given, figures, weights)
    print(f"{len(parts) - failed} of {len(parts)} parts passed; figures: {figures}")
    return int(failed > 0)


def run(part: str, seconds: float, given: Any, figures: Path, weights: str) -> bool:
    """Run a part in a process of its own; tell whether it passed, and append how it ended."""
    print(f"== {part} (at most {max(0.0, seconds):.0f} s)", flush=True)
    support = os.pathsep.join([str(ROOT), str(HERE.parent / "support"), os.environ.get("PYTHONPATH", "")])
    asked = {"device": given.device, "tiny": given.tiny, "out": str(given.out.resolve()), "weights": weights}
    carried = {name: str(path.resolve()) if (path := getattr(given, name)) else "" for name in ("games", "lessons")}
    asked |= {"seconds": seconds, "lora": given.lora, **carried}
    command = [sys.executable, str(HERE / "parts.py"), part, json.dumps(asked)]
    started = time.monotonic()
    try:
        if seconds < 5:
            raise subprocess.TimeoutExpired(command, 0)
        code = subprocess.run(command, env={**os.environ, "PYTHONPATH": support}, timeout=seconds).returncode
        how = "passed" if code == 0 else f"failed with {code}"
    except subprocess.TimeoutExpired:
        how = "ended at its time limit"
    line = {"part": part, "end": how, "seconds": round(time.monotonic() - started, 1)}
    with figures.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return how == "passed"


if __name__ == "__main__":
    sys.exit(main())
