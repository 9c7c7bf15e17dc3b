"""Which function computes which method of the recorded vectors, and how their parameters become options.

To add a method, add an entry to :data:`STEP_METHODS` (one value a step) or :data:`TOKEN_METHODS` (one a token).
Parameters whose name is an option of the function pass through; :data:`OPTION_OF` and :data:`VALUE_OF` translate
the names and values on which the format differs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from credit.grpo import grpo
from credit.penalty import PenaltyTiming, returns
from credit.steps import CreditError, FloatArray, Steps
from credit.tokens import Tokens, gae_token, reinforce_plus_plus, reinforce_plus_plus_baseline_tokens

OPTION_OF = {"normalize_by_std": "normalize"}
VALUE_OF: Mapping[str, Mapping[Any, Any]] = {
    "normalize_by_std": {True: "std", False: "mean"},
    "singleton": {"raw_score": "raw", "raw_value": "raw", "zero": "zero"},
}


@dataclass(frozen=True)
class Method:
    """How one method of the vectors is computed.

    Attributes:
        function: ``function(steps, **options)``, or of tokens.
        unsaid: options that the format does not name, as they were when the vectors were recorded.
        rename: parameter -> option, where this method differs from :data:`OPTION_OF`.
        only: parameters that describe the method itself, with the one value that is supported.
    """

    function: Callable[..., Any]
    unsaid: Mapping[str, Any] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, Any] = field(default_factory=dict)

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Translate the parameters of a vector.

        Raises:
            CreditError: a parameter, or a value of one, is not supported.
        """
        known = list(inspect.signature(self.function).parameters)[1:]
        options = dict(self.unsaid)
        for name, value in params.items():
            if name in self.only:
                if value != self.only[name]:
                    raise CreditError(f"parameter {name}={value!r} is not supported (only {self.only[name]!r})")
                continue
            option = self.rename.get(name, OPTION_OF.get(name, name))
            if option not in known:
                raise CreditError(f"parameter {name}={value!r} is not supported")
            values = VALUE_OF.get(name)
            if values is not None and value not in values:
                raise CreditError(f"parameter {name}={value!r} is not supported (only {', '.join(map(repr, values))})")
            options[option] = value if values is None else values[value]
        return options

    def compute(self, batch: Steps | Tokens, params: Mapping[str, Any]) -> Any:
        """Return what the function makes of a batch under a vector's parameters."""
        return self.function(batch, **self.options(params))


def _step_return(steps: Steps, *, gamma: float, invalid_penalty: float, penalty_timing: PenaltyTiming) -> FloatArray:
    return returns(steps, gamma, invalid_penalty, penalty_timing)


RELEASED = {"zero_variance": "epsilon", "penalty_timing": "after_discounting"}

STEP_METHODS: dict[str, Method] = {
    "step_return": Method(_step_return),
    "grpo": Method(grpo, unsaid=RELEASED),
}
"""Methods of ``vectors.jsonl.gz``."""

_WHITENING = {"whiten": "whitened", "whiten_ddof": "ddof", "whiten_epsilon": "epsilon"}

TOKEN_METHODS: dict[str, Method] = {
    "gae_token": Method(gae_token, rename=_WHITENING),
    "reinforce_plus_plus": Method(reinforce_plus_plus, rename=_WHITENING),
    "reinforce_plus_plus_baseline": Method(reinforce_plus_plus_baseline_tokens, rename=_WHITENING),
}
"""Methods of ``tokens.jsonl.gz``: functions of :class:`credit.tokens.Tokens` that give (advantage, return)."""
