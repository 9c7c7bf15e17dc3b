"""All credit schemes by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credit import catalogue
from credit.plugins import SchemeTable
from credit.scheme import Scheme, describe, unknown
from credit.steps import KINDS, OPTIONAL, FloatArray, Steps

if TYPE_CHECKING:
    import pandas as pd

_OWN = {name: describe(function) for name, function in vars(catalogue).items() if not name.startswith("_")}

SCHEMES = SchemeTable(_OWN)
"""Every scheme, in the order of the documentation; then those of plug-ins (:mod:`credit.plugins`)."""


def advantages(name: str, steps: Steps | pd.DataFrame, **options: Any) -> FloatArray:
    """Compute the advantage of every step under a scheme.

    Args:
        name: a key of :data:`SCHEMES`.
        steps: the step table, or a pandas table with its columns (``docs/step-table.md``), rows in any order. Of a
            pandas table the documented columns are read, those that the scheme needs, and those that an option names.
        options: the scheme's own options; ``SCHEMES[name].options`` lists them.

    Returns:
        float64 of shape ``(len(steps),)``, in the table's row order.

    Raises:
        CreditError: unknown scheme or option (with the nearest name), a value that an option cannot have, a
            column that the scheme needs and the table lacks, or a table that is none (see :class:`credit.Steps`).
    """
    scheme = find(name)
    if not isinstance(steps, Steps):
        steps = Steps.from_frame(steps, extra=_further_columns(scheme, steps, options))
    return scheme.function(steps, **options)


def _further_columns(scheme: Scheme, table: pd.DataFrame, options: dict[str, Any]) -> list[str]:
    """Return the columns that are taken in beside the documented ones."""
    named = [each for value in options.values() if isinstance(value, tuple | list) for each in value]
    columns = getattr(table, "columns", ())  # what has none is answered by Steps.from_frame
    return [
        name
        for name in dict.fromkeys((*scheme.needs, *named))
        if isinstance(name, str) and name in columns and name not in KINDS and name not in OPTIONAL
    ]


def find(name: str) -> Scheme:
    """Return the scheme called ``name``, or raise :class:`CreditError` with the nearest names."""
    if name not in SCHEMES:
        raise unknown("scheme", name, SCHEMES)
    return SCHEMES[name]
