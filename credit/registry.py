"""All credit schemes by name."""

from __future__ import annotations

from typing import Any

from credit import catalogue
from credit.plugins import SchemeTable
from credit.scheme import Scheme, describe, unknown
from credit.steps import FloatArray, Steps

_OWN = {name: describe(function) for name, function in vars(catalogue).items() if not name.startswith("_")}

SCHEMES = SchemeTable(_OWN)
"""Every scheme, in the order of the documentation; then those of plug-ins (:mod:`credit.plugins`)."""


def advantages(name: str, steps: Steps, **options: Any) -> FloatArray:
    """Compute the advantage of every step under a scheme.

    Args:
        name: a key of :data:`SCHEMES`.
        steps: the step table.
        options: the scheme's own options; ``SCHEMES[name].options`` lists them.

    Returns:
        float64 of shape ``(len(steps),)``, in the table's row order.

    Raises:
        CreditError: unknown scheme or option (with the nearest name), a value that an option cannot have, a
            column that the scheme needs and the table lacks.
    """
    return find(name).function(steps, **options)


def find(name: str) -> Scheme:
    """Return the scheme called ``name``, or raise :class:`CreditError` with the nearest names."""
    if name not in SCHEMES:
        raise unknown("scheme", name, SCHEMES)
    return SCHEMES[name]
