"""The statistics of evaluations: intervals, pass@k and pass^k, power, paired comparison.

Pure functions on arrays; :mod:`agentbench.evaluation.summary` and
:mod:`agentbench.evaluation.compare_runs` apply them to runs.
"""

from agentbench.statistics.intervals import (
    Interval,
    clopper_pearson,
    clustered_standard_error,
    mean_interval,
    pass_interval,
    rate_interval,
    wilson,
)
from agentbench.statistics.paired import (
    PairedTest,
    holm,
    noise_of_trials,
    paired_interval,
    paired_student_test,
    sign_flip_test,
)
from agentbench.statistics.passes import pass_at_k, pass_hat_k
from agentbench.statistics.power import (
    power_to_see,
    smallest_difference,
    tasks_needed,
    variance_of_difference,
)

__all__ = [
    "Interval",
    "PairedTest",
    "clopper_pearson",
    "clustered_standard_error",
    "holm",
    "mean_interval",
    "noise_of_trials",
    "paired_interval",
    "paired_student_test",
    "pass_at_k",
    "pass_hat_k",
    "pass_interval",
    "power_to_see",
    "rate_interval",
    "sign_flip_test",
    "smallest_difference",
    "tasks_needed",
    "variance_of_difference",
    "wilson",
]
