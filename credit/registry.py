"""All credit schemes by name."""

from __future__ import annotations

from typing import Any

from credit.dr_grpo import dr_grpo
from credit.gigpo import gigpo
from credit.grpo import grpo
from credit.hgpo import hgpo
from credit.loop import loop
from credit.mapo import mapo
from credit.reinforce_plus_plus import reinforce_plus_plus
from credit.rloo import rloo
from credit.salt import salt
from credit.scheme import Scheme, describe, unknown
from credit.steps import FloatArray, Steps

SCHEMES: dict[str, Scheme] = {
    function.__name__: describe(function)
    for function in (
        # the four that the project is about
        salt,
        gigpo,
        hgpo,
        mapo,
        # outcome baselines: one number an episode
        grpo,
        dr_grpo,
        rloo,
        reinforce_plus_plus,
        loop,
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
    return find(name).function(steps, **options)


def find(name: str) -> Scheme:
    """Return the scheme called ``name``, or raise :class:`CreditError` with the nearest names."""
    if name not in SCHEMES:
        raise unknown("scheme", name, SCHEMES)
    return SCHEMES[name]
