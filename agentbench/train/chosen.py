"""What a training run of a language model chooses at its start: the precision of computing, and the size of a pass.

Both are measured, and recorded in ``chosen.json`` of the run's folder: a run that goes on takes them as they were, so
that it ends with the same weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentbench.train.config import TrainConfig
from agentbench.train.distributed import ALONE, Ranks
from agentbench.train.memory import is_large, usual_budget
from agentbench.train.update import computing_in
from envs.base.digest import read_sealed, sealed
from envs.base.errors import UserError
from envs.base.files import write_text
from policies.contract import TrainablePolicy
from policies.language.learner import HasLearner

CHOSEN_FILE = "chosen.json"


def choose_for_training(
    config: TrainConfig, policy: TrainablePolicy, out: Path | None = None, ranks: Ranks = ALONE
) -> TrainConfig:
    """Return the configuration with what it leaves open filled in.

    Left open are ``precision = auto``, and with a large language model a ``token_budget`` that nobody set; longer
    sequences than that have their activations computed again.

    Args:
        config: as the user gave it.
        policy: who learns, on its device.
        out: folder of the run; None to measure and record nothing.
        ranks: the processes that train together; number 0 alone measures.

    Raises:
        UserError: what was chosen before cannot be read.
    """
    own = policy if isinstance(policy, HasLearner) and is_large(policy) else None
    sizes = own is not None and "token_budget" not in config.model_fields_set
    if not sizes and config.precision != "auto":
        return config
    policy.module.to(config.device)
    found = _read_or_measure(config, policy, sizes, out) if ranks.rank == 0 else {}
    found = ranks.gather([found])[0]
    if own is not None and sizes and not own.learner.settings.gradient_checkpointing:
        own.learner.recompute_above(found["token_budget"])
    return config.model_copy(update={name: found[name] for name in ("precision", "token_budget") if name in found})


def measured_precision(policy: TrainablePolicy, device: str) -> tuple[str, dict[str, float]]:
    """Return the faster precision for a policy, and the seconds of a short pass in each; small ones stay in float32."""
    if not isinstance(policy, HasLearner) or not is_large(policy):
        return "float32", {}
    from policies.language.footprint import faster_precision

    return faster_precision(policy.learner, lambda precision: computing_in(precision, device))


def _read_or_measure(config: TrainConfig, policy: TrainablePolicy, sizes: bool, out: Path | None) -> dict[str, Any]:
    path = None if out is None else out / CHOSEN_FILE
    if path is not None and path.exists():
        try:
            return read_sealed(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}): choose another --out") from error
    found: dict[str, Any] = {}
    if config.precision == "auto":
        found["precision"], found["seconds"] = measured_precision(policy, config.device)
    if sizes:
        found["token_budget"] = usual_budget(policy)
    if path is not None:
        write_text(path, json.dumps(sealed(found), indent=2) + "\n")
    return found
