"""All credit schemes by name."""

from __future__ import annotations

from typing import Any

from credit.grpo import grpo
from credit.scheme import Scheme, describe, unknown
from credit.steps import FloatArray, Steps

SCHEMES: dict[str, Scheme] = {
    function.__name__: describe(function)
    for function in (
        # outcome baselines
        grpo,
    )
}
"""Every scheme, in the order of the documentation."""


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
    if name not in SCHEMES:
        raise unknown("scheme", name, SCHEMES)
    return SCHEMES[name].function(steps, **options)
