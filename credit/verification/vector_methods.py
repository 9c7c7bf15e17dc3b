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

from credit.penalty import PenaltyTiming, returns
from credit.schemes.bi_level_gae import bi_level_gae_tokens
from credit.schemes.drmas import drmas
from credit.schemes.empg import empg
from credit.schemes.gigpo import gigpo
from credit.schemes.graphgpo import graphgpo, path_returns
from credit.schemes.grpo import grpo
from credit.schemes.hgpo import hgpo
from credit.schemes.hiper import hiper
from credit.schemes.igpo import igpo_released
from credit.schemes.mapo import mapo
from credit.schemes.matchtir import matchtir, matchtir_tokens
from credit.schemes.ngrpo import ngrpo
from credit.schemes.ocar import ocar
from credit.schemes.reinforce_plus_plus import reinforce_plus_plus
from credit.schemes.rloo import rloo
from credit.schemes.salt import salt
from credit.schemes.seeupo import seeupo
from credit.schemes.tempo import tempo, tempo_tokens
from credit.steps import CreditError, FloatArray, Steps
from credit.tokens import Tokens, gae_token, reinforce_plus_plus_baseline_tokens, reinforce_plus_plus_tokens
from credit.transitions import transitions

OPTION_OF = {"normalize_by_std": "normalize"}
SINGLETON = {"raw_score": "raw", "raw_value": "raw", "zero": "zero"}
VALUE_OF: Mapping[str, Mapping[Any, Any]] = {
    "normalize_by_std": {True: "std", False: "mean"},
    "singleton": SINGLETON,
    "episode_singleton": SINGLETON,
    "step_singleton": SINGLETON,
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
        known = dict(list(inspect.signature(self.function).parameters.items())[1:])
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
        for option, parameter in known.items():
            if parameter.default is parameter.empty and option not in options:
                raise CreditError(f"parameter {option} is missing")
        return options

    def compute(self, batch: Steps | Tokens, params: Mapping[str, Any]) -> Any:
        """Return what the function makes of a batch under a vector's parameters."""
        return self.function(batch, **self.options(params))


def _step_return(steps: Steps, *, gamma: float, invalid_penalty: float, penalty_timing: PenaltyTiming) -> FloatArray:
    return returns(steps, gamma, invalid_penalty, penalty_timing)


def _salt(
    steps: Steps, *, base: dict[str, Any], merge_key: list[str], min_trajectories: int, merge_mean: Any, history: int
) -> FloatArray:
    """Read SALT's nested parameters: the base method with its own, and the key, which starts with the group."""
    if merge_key[:1] != ["group"]:
        raise CreditError(f"parameter merge_key={merge_key!r} is not supported: it must start with 'group'")
    clean = {"weighting": "trajectories", "invalid_penalty": 0.0, "singleton": "zero", "zero_variance": "zero"}
    of_base = Method(salt, only={**clean, "method": base["method"]}).options(base)
    return salt(
        steps,
        base=base["method"],
        match=tuple(merge_key[1:]),
        min_trajectories=min_trajectories,
        merge_mean=merge_mean,
        history=history,
        **of_base,
    )


def _empg(steps: Steps, *, base: dict[str, Any], k: float, k_future: float, zeta: float, epsilon: float) -> FloatArray:
    """Read EMPG's nested parameters, those of the GRPO advantage that it starts from."""
    of_base = Method(empg, unsaid=RELEASED, rename={"epsilon": "base_epsilon"}, only={"method": "grpo"}).options(base)
    return empg(steps, k=k, k_future=k_future, zeta=zeta, epsilon=epsilon, **of_base)


def _path_return(steps: Steps, *, gamma: float, normalize_distance: bool, scale: float) -> FloatArray:
    return path_returns(transitions(steps, "terminated"), gamma, normalize_distance, scale)


RELEASED = {"zero_variance": "epsilon", "penalty_timing": "after_discounting"}
RELEASED_RLOO = {"penalty_timing": "after_discounting"}
WHITENING = {"whiten": "whitened", "whiten_ddof": "ddof", "whiten_epsilon": "epsilon"}

STEP_METHODS: dict[str, Method] = {
    "step_return": Method(_step_return),
    "grpo": Method(grpo, unsaid=RELEASED),
    "rloo": Method(rloo, unsaid=RELEASED_RLOO, only={"zero_variance": "zero"}),
    "reinforce_plus_plus_baseline": Method(
        reinforce_plus_plus,
        unsaid=RELEASED_RLOO,
        rename={"whiten_ddof": "ddof", "whiten_epsilon": "epsilon"},
        only={"whiten": True, "tokens_per_row": 1},
    ),
    "gigpo": Method(gigpo, unsaid=RELEASED),
    "hgpo": Method(hgpo, unsaid={**RELEASED, "base_singleton": "raw"}),
    "salt": Method(_salt),
    "mapo": Method(mapo, only={"turn_baseline": "(group, step)", "singleton": "zero", "zero_variance": "zero"}),
    "graphgpo_path_return": Method(_path_return),
    "graphgpo": Method(graphgpo, unsaid={**RELEASED, "success": "terminated"}),
    "ngrpo": Method(ngrpo, unsaid=RELEASED),
    "drmas": Method(drmas, unsaid=RELEASED, only={"trajectory_score": "mean_of_rows"}),
    "matchtir": Method(
        matchtir,
        unsaid={"zero_variance": "epsilon"},
        only={"weighting": "trajectories", "combine": "(outcome+turn)/2"},
    ),
    "tempo": Method(tempo, only={"prefix_token": "(state,action) per step", "weighting": "trajectories"}),
    "seeupo_local": Method(seeupo, only={"turn_batch": "rows with equal step", "ratio": 1.0}),
    "empg": Method(_empg),
    "ocar": Method(ocar, unsaid={**RELEASED, "singleton": "raw"}),
    "hiper": Method(hiper, only={"penalty_timing": "before_discounting"}),
}
"""Methods of ``vectors.jsonl.gz``."""

TOKEN_METHODS: dict[str, Method] = {
    "gae_token": Method(gae_token, rename=WHITENING),
    "reinforce_plus_plus": Method(reinforce_plus_plus_tokens, rename=WHITENING),
    "reinforce_plus_plus_baseline": Method(reinforce_plus_plus_baseline_tokens, rename=WHITENING),
    "tempo": Method(tempo_tokens),
    "bi_level_gae": Method(bi_level_gae_tokens, rename=WHITENING, only={"turn_end": "non-zero token reward"}),
    "igpo_released": Method(
        igpo_released, only={"normalize_by_std": False, "baseline": "group mean at the same token index"}
    ),
    "matchtir": Method(matchtir_tokens, unsaid={"zero_variance": "epsilon"}),
}
"""Methods of ``tokens.jsonl.gz``: functions of :class:`credit.tokens.Tokens` that give (advantage, return)."""
