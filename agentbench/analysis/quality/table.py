"""The quality table: one row a sample and scheme, and the files it is written to.

``quality.csv`` has the columns ``sample, setting, value, group_size, groups, steps, scheme, cost_ms`` (processor time
a step), then for every measure of :mod:`agentbench.analysis.quality.measures` its estimate ``NAME`` and the bounds of
its 95 % interval ``NAME_low`` and ``NAME_high``; empty where not defined. ``setting`` and ``value`` say what was
varied. ``quality.json`` has the same as ``rows``, and ``skipped`` (why a scheme is missing) and ``reliability`` (the
share of the truth's variance that is not its own sampling error), both by sample.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agentbench.analysis.files import QUALITY_FILE
from agentbench.analysis.quality.measures import MEASURES, UNBOUNDED, measure
from agentbench.analysis.quality.parts import Parts, digest_of_sample, key_of
from agentbench.analysis.quality.sample import Sample, estimate
from agentbench.analysis.sheets import Sheet
from credit import CreditError
from credit.steps import FloatArray
from envs.base.files import replaced, write_text


@dataclass
class Quality:
    """What was measured.

    Attributes:
        rows: of ``quality.csv``; measures are numbers, NaN where not defined.
        skipped: why a scheme is missing, by sample and scheme.
        reliability: of the truth, by sample.
        parts: where finished rows are kept and found again; None for nowhere.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    reliability: dict[str, float] = field(default_factory=dict)
    parts: Parts | None = None

    def add(
        self,
        sample: Sample,
        schemes: Iterable[str],
        setting: str = "",
        value: float | str = "",
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Measure schemes on a sample; those that cannot be computed are noted.

        Args:
            sample: what is true.
            schemes: names.
            setting, value: what was varied, and its value here.
            options: of the schemes, by name.
        """
        self.reliability[sample.name] = sample.reliability
        noise = np.random.default_rng(len(sample.truth)).normal(size=len(sample.truth))
        part_of = digest_of_sample(sample)

        def measured(scheme: str, found: FloatArray, cost: float) -> None:
            self.rows.append(self._row(sample, part_of, scheme, found, cost, setting, value))

        measured("exact", sample.truth, math.nan)
        for name in schemes:
            try:
                found, cost = estimate(sample, name, **(options or {}).get(name, {}))
            except CreditError as error:
                self.skipped.setdefault(sample.name, {})[name] = str(error)
                continue
            measured(name, found, cost)
        for name, found in sample.given.items():
            measured(name, found, math.nan)
        measured("random", noise, math.nan)
        measured("constant", np.full(len(noise), -1.0), math.nan)

    def _row(
        self,
        sample: Sample,
        part_of: str,
        scheme: str,
        found: FloatArray,
        cost: float,
        setting: str,
        value: float | str,
    ) -> dict[str, Any]:
        """Measure one estimate, or find the row of an earlier run, with the time that it took then."""
        key = key_of(part_of, sample.name, setting, value, scheme, estimate=found)
        if self.parts and (known := self.parts.find(key)):
            return known
        row: dict[str, Any] = {
            "sample": sample.name, "setting": setting, "value": value, "group_size": sample.group_size,
            "groups": sample.groups, "steps": len(found), "scheme": scheme, "cost_ms": cost,
        }  # fmt: skip
        for name, one in measure(sample, found).items():
            row |= {name: one.estimate, f"{name}_low": one.low, f"{name}_high": one.high}
        if self.parts:
            self.parts.add(key, row)
        return row

    def frame(self) -> pd.DataFrame:
        """The table."""
        return pd.DataFrame(self.rows)

    def main(self) -> pd.DataFrame:
        """The rows of the table that belong to no sweep."""
        frame = self.frame()
        return frame[frame["setting"] == ""]

    def write(self, folder: Path) -> None:
        """Write ``quality.csv`` and ``quality.json`` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        with replaced(folder / QUALITY_FILE) as temporary:
            self.frame().to_csv(temporary, index=False, float_format="%.6g")
        rows = [{name: _plain(value) for name, value in row.items()} for row in self.rows]
        content = {"rows": rows, "skipped": self.skipped, "reliability": self.reliability, "measures": MEASURES}
        write_text(folder / "quality.json", json.dumps(content, indent=1) + "\n")


def sheets(frame: pd.DataFrame) -> list[Sheet]:
    """One table a sample and group size, with half the width of the interval after each number."""
    found = []
    for (sample, size), part in frame.groupby(["sample", "group_size"], sort=False):
        first = part.iloc[0]
        rows = [
            [row["scheme"], *(number(row, name) for name in SHOWN), _cost(row["cost_ms"])]
            for row in part.to_dict("records")
        ]
        title = f"{sample}: {first['groups']} groups of {size} episodes, {first['steps']:,} steps"
        found.append(Sheet(title, ["scheme", *SHOWN.values(), "ms/step"], rows))
    return found


SHOWN = {
    "pearson": "pearson", "spearman": "spearman", "kendall": "kendall",
    "sign_success": "sign, won", "sign_failure": "sign, lost",
    "zeros": "zeros", "error": "error", "bias": "bias", "variance": "variance", "cosine": "cosine",
    "cosine_group": "cosine, 1 group", "snr": "snr",
}  # fmt: skip
"""Measures in the printed tables, and their headings."""


def number(row: Mapping[Any, Any], name: str) -> str:
    """Return a measure of a row of the table as it is printed: with half the width of its interval, · where open.

    Where that would reach below 0 for what cannot be negative, the interval has no middle: its ends are printed, beyond
    100 as ``>100``.
    """
    estimate, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if not math.isfinite(estimate):
        return "·"
    digits = 1 if abs(estimate) >= 10 else 2
    shown = f"{round(estimate, digits) + 0.0:.{digits}f}"  # + 0.0 makes -0.0 a 0.0
    if not math.isfinite(low):
        return shown
    half = (high - low) / 2
    if name in UNBOUNDED and half > max(estimate, 0.005):
        end = ">100" if high > 100 else f"{high:.{digits}f}"
        return f"{shown} [{low:.{digits}f}, {end}]"
    return f"{shown} ±{half:.{digits}f}"


def _cost(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "·"


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
