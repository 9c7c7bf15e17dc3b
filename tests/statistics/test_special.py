"""Special functions that are imported late give what scipy gives, to the last bit."""

from __future__ import annotations

import numpy as np
from scipy import special as scipys

from agentbench.statistics import mean_interval, rate_interval, special


def test_quantiles_are_scipys_to_the_last_bit() -> None:
    for p in (0.5 + 0.95 / 2, 0.9, 0.025, 0.995):
        assert special.ndtri(p) == float(scipys.ndtri(p))
        assert special.stdtrit(11, p) == float(scipys.stdtrit(11, p))
        assert special.betaincinv(3.5, 2.0, p) == float(scipys.betaincinv(3.5, 2.0, p))
    assert special.ndtr(1.5) == scipys.ndtr(1.5) and special.stdtr(4, -1.5) == scipys.stdtr(4, -1.5)


def test_the_effective_size_is_shortened_only_where_it_can_be_more_than_the_tasks() -> None:
    """The interval by its definition, with Student's quantile in every case."""
    rng = np.random.default_rng(0)
    for tasks, trials in ((12, 1), (12, 8), (40, 2)):
        rates = rng.binomial(trials, rng.random(tasks)) / trials
        for found, most in (
            (rate_interval(rates, [trials] * tasks), tasks * trials),
            (mean_interval(rates), np.inf),
        ):
            mean, error = rates.mean(), rates.std(ddof=1) / np.sqrt(tasks)
            z, t = scipys.ndtri(0.975), scipys.stdtrit(tasks - 1, 0.975)
            size = max(min(mean * (1 - mean) / error**2, most) * (z / t) ** 2, tasks)
            centre = (mean + z * z / (2 * size)) / (1 + z * z / size)
            half = z / (1 + z * z / size) * np.sqrt(mean * (1 - mean) / size + z * z / (4 * size * size))
            np.testing.assert_allclose([found.low, found.high], [centre - half, centre + half], rtol=1e-12)
