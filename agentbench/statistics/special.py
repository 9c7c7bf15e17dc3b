"""scipy's special functions, imported when one is first asked for.

Importing them takes a quarter of a second and 15 MB, and most numbers that are shown need none: the interval of a rate
with a trial a task takes the normal quantile alone.
"""

from __future__ import annotations

from typing import Any

_USUAL = (0.975, 1.959963984540054)
"""Probability and normal quantile of a confidence of 0.95, to the last bit as scipy has it."""


def ndtri(p: float) -> float:
    """Return the normal quantile: the x below which a standard normal number lies with probability ``p``."""
    if p == _USUAL[0]:
        return _USUAL[1]
    from scipy import special

    return float(special.ndtri(p))


def ndtr(x: Any) -> Any:
    """Return the probability that a standard normal number lies below ``x``; an array elementwise."""
    from scipy import special

    return special.ndtr(x)


def stdtr(degrees: Any, t: Any) -> Any:
    """Return the probability that Student's t with ``degrees`` of freedom lies below ``t``; arrays elementwise."""
    from scipy import special

    return special.stdtr(degrees, t)


def stdtrit(degrees: float, p: float) -> float:
    """Return the quantile of Student's t with ``degrees`` of freedom: the t below which it lies with probability p."""
    from scipy import special

    return float(special.stdtrit(degrees, p))


def betaincinv(a: float, b: float, p: float) -> float:
    """Return the quantile of the beta distribution with parameters ``a`` and ``b``, at probability ``p``."""
    from scipy import special

    return float(special.betaincinv(a, b, p))
