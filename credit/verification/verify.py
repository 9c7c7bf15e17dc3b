"""Check the schemes against recorded vectors of the original code and of the written definitions.

A folder of vectors holds any of: ``batches.jsonl.gz`` with ``vectors.jsonl.gz`` (one value a step),
``tokens.jsonl.gz`` (one value a token), ``tabular.json`` with ``tabular_groups.jsonl.gz`` (exact advantages).
A method or a parameter that is not known here is reported and counts as a failure, never skipped.

Deviation is |x - y| / max(1, |y|). Rows that the vectors flag as decided by single-precision rounding are held
to a looser bound, and those with a rounding-free value are compared with that.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from credit.steps import CreditError, FloatArray, Steps
from credit.tokens import Tokens
from credit.verification.exact_checks import process_deviations, quality_deviations, row_deviation, solved
from credit.verification.vector_methods import STEP_METHODS, TOKEN_METHODS, Method

TOLERANCE = {"reference": 1e-5, "definition": 1e-9, "exact": 1e-9}
FLAGGED = 5e-3
WHITENED = 1e-4


@dataclass
class Tally:
    """What was found for one method: vectors seen and failed, largest deviations, first complaint."""

    lines: int = 0
    failed: int = 0
    worst: float = 0.0
    worst_flagged: float = 0.0
    complaint: str = ""

    def add(self, worst: float, worst_flagged: float, tolerance: float, where: str) -> None:
        """Count one vector with its largest deviations."""
        self.lines += 1
        self.worst, self.worst_flagged = max(self.worst, worst), max(self.worst_flagged, worst_flagged)
        if not (worst <= tolerance and worst_flagged <= FLAGGED):
            self.failed += 1
            self.complaint = self.complaint or f"{where}: deviation {max(worst, worst_flagged):.1e}"

    def refuse(self, why: str) -> None:
        """Count one vector that could not be computed."""
        self.lines += 1
        self.failed += 1
        self.complaint = self.complaint or why


Tallies = dict[tuple[str, str], Tally]


def verify(reference: Path, write: Callable[[str], None]) -> tuple[int, str]:
    """Compute every vector in a folder and report, a line a method, how far the schemes are from it.

    Args:
        reference: the folder.
        write: called with each line of the report.

    Returns:
        Exit code (0: everything within tolerance) and a one-line summary.

    Raises:
        CreditError: the folder holds no vectors, or a file in it is damaged.
    """
    tallies: Tallies = {}
    try:
        _check_steps(reference, tallies)
        _check_tokens(reference, tallies)
        _check_tabular(reference, tallies)
    except (OSError, EOFError, KeyError, json.JSONDecodeError) as error:
        raise CreditError(f"{reference}: a file of vectors cannot be read ({type(error).__name__}: {error})") from error
    if not tallies:
        raise CreditError(f"{reference} holds no vectors: expected vectors.jsonl.gz, tokens.jsonl.gz or tabular.json")
    write(f"{'method':<38} {'source':<10} {'lines':>5} {'largest deviation':>18} {'flagged rows':>13}  result")
    for (method, source), tally in sorted(tallies.items()):
        result = "pass" if not tally.failed else f"FAIL ({tally.failed}: {tally.complaint})"
        write(f"{method:<38} {source:<10} {tally.lines:>5} {tally.worst:>18.1e} {tally.worst_flagged:>13.1e}  {result}")
    lines, failed = (sum(getattr(tally, name) for tally in tallies.values()) for name in ("lines", "failed"))
    summary = f"{lines - failed} of {lines} vectors agree, {len(tallies)} method{'s' * (len(tallies) != 1)}"
    return int(failed > 0), summary


def batch_steps(rows: dict[str, list[Any]]) -> Steps:
    """Make the step table of a recorded batch; episodes are numbered as they come, an order some methods see."""
    table = pd.DataFrame(rows).rename(columns={"trajectory": "episode"})
    for name in ("group", "episode"):
        table[name] = pd.factorize(table[name])[0]
    is_last = ~table["episode"].duplicated(keep="last")
    table["truncated"] = is_last & ~table["terminated"]
    return Steps.from_frame(table)


def _check_steps(folder: Path, tallies: Tallies) -> None:
    batches = {batch["batch"]: batch_steps(batch["rows"]) for batch in _lines(folder / "batches.jsonl.gz")}
    for vector in _lines(folder / "vectors.jsonl.gz"):
        name, method = vector["batch"], vector["method"]
        tally = tallies.setdefault((method, vector["source"]), Tally())
        try:
            if name not in batches:
                raise CreditError(f"there is no batch {name!r}")
            found = _method(STEP_METHODS, vector).compute(batches[name], vector["params"])
            tally.add(*_deviations(found, vector), TOLERANCE[vector["source"]], name)
        except CreditError as error:
            tally.refuse(f"{name}: {error}")


def _method(known: Mapping[str, Method], vector: dict[str, Any]) -> Method:
    if vector["source"] not in TOLERANCE:
        raise CreditError(f"source {vector['source']!r} is not known")
    if vector["method"] not in known:
        raise CreditError("this method is not known")
    return known[vector["method"]]


def _deviations(found: FloatArray, vector: dict[str, Any]) -> tuple[float, float]:
    """Largest deviation over the ordinary rows, and over the flagged ones."""
    expected = np.array(vector["advantage"], dtype=np.float64)
    if found.shape != expected.shape:
        raise CreditError(f"{found.shape[0]} values where the vector has {expected.shape[0]}")
    flagged = np.zeros(len(expected), dtype=np.bool_)
    flagged[vector.get("rounding_rows", [])] = True
    if artefacts := vector.get("artefact_rows"):
        flagged[artefacts] = True
        expected[artefacts] = vector["artefact_exact"]
    compared = np.ones(len(expected), dtype=np.bool_)
    compared[vector.get("nan_rows", [])] = False
    return largest_deviation(found, expected, compared & ~flagged), largest_deviation(
        found, expected, compared & flagged
    )


def largest_deviation(found: FloatArray, expected: FloatArray, where: Any = ...) -> float:
    """Largest |x - y| / max(1, |y|) over some of the values; infinite where one is not a number."""
    x, y = found[where], expected[where]
    deviation = np.abs(x - y) / np.maximum(1.0, np.abs(y))
    return float(np.where(np.isnan(deviation), np.inf, deviation).max(initial=0.0))


def _check_tokens(folder: Path, tallies: Tallies) -> None:
    for vector in _lines(folder / "tokens.jsonl.gz"):
        method = vector["method"]
        tally = tallies.setdefault((f"{method} (tokens)", vector["source"]), Tally())
        try:
            found = _method(TOKEN_METHODS, vector).compute(_tokens(vector["inputs"]), vector["params"])
        except CreditError as error:
            tally.refuse(f"{vector['batch']}: {error}")
            continue
        tolerance = WHITENED if vector["params"].get("whiten") else TOLERANCE[vector["source"]]
        worst = 0.0
        for part, values in zip(("advantage", "return"), found, strict=True):
            expected = np.array(vector[part], dtype=np.float64)
            # null is where the original has NaN (TEMPO on a group of one): there is nothing to compare with
            worst = max(worst, largest_deviation(values, expected, ~np.isnan(expected)))
        tally.add(worst, 0.0, tolerance, vector["batch"])


def _tokens(inputs: dict[str, Any]) -> Tokens:
    return Tokens(
        group=pd.factorize(np.array(inputs["group"]))[0],
        episode=pd.factorize(np.array(inputs["trajectory"]))[0],
        mask=np.array(inputs["mask"], dtype=np.bool_),
        reward=np.array(inputs["token_reward"], dtype=np.float64),
        value=np.array(inputs["value"], dtype=np.float64) if "value" in inputs else None,
        token=np.array(inputs["token"], dtype=np.int64) if "token" in inputs else None,
    )


def _check_tabular(folder: Path, tallies: Tallies) -> None:
    path = folder / "tabular.json"
    if not path.exists():
        return
    processes = {process["name"]: process for process in json.loads(path.read_text(encoding="utf-8"))["mdps"]}
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
    for group in _lines(folder / "tabular_groups.jsonl.gz"):
        groups[group["mdp"]].append(group)

    def tally(part: str) -> Tally:
        return tallies.setdefault((f"tabular {part}", "exact"), Tally())

    for name, process in processes.items():
        solution = solved(process)
        for part, worst in process_deviations(process, solution).items():
            tally(part).add(worst, 0.0, TOLERANCE["exact"], name)
        for group in groups[name]:
            tally("rows").add(row_deviation(group, solution), 0.0, TOLERANCE["exact"], f"{name} {group['group']}")
        for method, found in quality_deviations(process, groups[name], solution).items() if groups[name] else ():
            if isinstance(found, CreditError):
                tally(f"quality {method}").refuse(str(found))
            else:
                tally(f"quality {method}").add(found, 0.0, TOLERANCE["exact"], name)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
