"""Pictures of how good credit schemes are: a value with its interval for every scheme, one picture a measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("run", "sample", "setting", "value", "group_size")
"""Columns by whose values a quality table falls into parts: each part has pictures of its own."""


def quality_plots(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return one picture a part and measure of a quality table (see :mod:`agentbench.analysis.quality.table`).

    A measure is a column with the ends of its interval beside it: ``cosine, cosine_low, cosine_high``.

    Returns:
        A list of ``{"part": …, "title": measure, "rows": [[scheme, value, low, high], …]}``, None for an end that is
        not known; empty where the table names no schemes.
    """
    if table is None or "scheme" not in table.columns:
        return []
    import pandas as pd

    table = table.replace([np.inf, -np.inf], np.nan)
    measures = [name for name in table.columns if {f"{name}_low", f"{name}_high"} <= set(table.columns)]
    telling = [name for name in PARTS if name in table.columns and table[name].nunique() > 1]
    names = table[telling].astype(object).where(table[telling].notna(), "")
    part = pd.Series([" · ".join(filter(None, map(str, row))) for row in names.to_numpy().tolist()], table.index)
    pictures = []
    for label, rows in table.groupby(part, sort=False):
        for measure in measures:
            kept = rows.loc[rows[measure].notna(), ["scheme", measure, f"{measure}_low", f"{measure}_high"]].astype(
                object
            )
            if len(kept):
                values = kept.where(kept.notna(), None).to_numpy().tolist()
                pictures.append({"part": label, "title": measure, "rows": values})
    return pictures
