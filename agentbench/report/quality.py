"""Pictures of how good credit schemes are: a value with its interval for every scheme, one picture a measure."""

from __future__ import annotations

from typing import Any

import pandas as pd

LABELS = ("scheme", "name", "group_size", "problem", "run")
"""Columns that tell rows apart, the most telling first."""


def quality_plots(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return one picture a measure of a quality table.

    Two forms of table are read: a column for each measure with its ends beside it (``cosine, cosine_low,
    cosine_high``), or a row for each (``measure`` or ``metric``, ``value`` or ``estimate``, ``low``, ``high``).

    Returns:
        A list of ``{"title": measure, "rows": [[label, value, low, high], …]}``; empty for another form of table.
    """
    if table is None or not len(table):
        return []
    long = _long(table)
    return [
        {"title": str(measure), "rows": part[["label", "value", "low", "high"]].to_numpy().tolist()}
        for measure, part in long.groupby("measure", sort=False)
    ]


def _long(table: pd.DataFrame) -> pd.DataFrame:
    names = {"metric": "measure", "estimate": "value"}
    table = table.rename(columns={old: new for old, new in names.items() if new not in table.columns})
    labelled = table.assign(label=_labels(table))
    wanted = ["label", "measure", "value", "low", "high"]
    if set(wanted) <= set(labelled.columns):
        return labelled[wanted].dropna().reset_index(drop=True)
    measures = [name for name in table.columns if {f"{name}_low", f"{name}_high"} <= set(table.columns)]
    parts = [
        pd.DataFrame(
            {
                "label": labelled["label"],
                "measure": name,
                "value": table[name],
                "low": table[f"{name}_low"],
                "high": table[f"{name}_high"],
            }
        )
        for name in measures
    ]
    return pd.concat(parts, ignore_index=True).dropna() if parts else pd.DataFrame(columns=wanted)


def _labels(table: pd.DataFrame) -> pd.Series:
    """Name every row by the columns of :data:`LABELS` that it needs to be told from the others."""
    there = [name for name in LABELS if name in table.columns]
    telling = there[:1] + [name for name in there[1:] if table[name].nunique() > 1]
    if not telling:
        return pd.Series([str(number) for number in range(len(table))], index=table.index)
    return table[telling].astype(str).agg(" · ".join, axis=1)
