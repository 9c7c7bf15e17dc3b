"""The weights of a language model as what is trained and saved: all of them, or the adapters alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from envs.base.errors import UserError
from policies.language.critic import Critic

ADAPTER = "default"
REFERENCE = "reference"


class Weights(nn.Module):
    """Holds a model. Its state is what training can change: the adapters where there are any, else everything.

    Args:
        model: a causal language model, perhaps with adapters of peft.
        adapters: whether of the model only the adapters are trained and saved.
        critic: estimates values, and is trained and saved with it.
    """

    def __init__(self, model: nn.Module, adapters: bool, critic: Critic | None = None) -> None:
        super().__init__()
        self.model, self.adapters, self.critic = model, adapters, critic

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the weights by name; of tied ones (an output layer that is the embedding) only the first."""
        names = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        tied = names - {name for name, _ in self.named_parameters()}
        found = {}
        for name, tensor in super().state_dict().items():
            of_adapters = "lora_" in name and f".{ADAPTER}." in name
            if self.adapters and not (of_adapters or name.startswith("critic.")):
                continue
            if name not in tied:
                found[name] = tensor
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy weights in.

        Raises:
            UserError: they are those of another model.
        """
        own = self.state_dict()
        if own.keys() != state_dict.keys() or any(own[name].shape != state_dict[name].shape for name in own):
            raise UserError("the saved weights do not fit the model: it was another one, or had other adapters")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state_dict[name])


def add_adapters(model: nn.Module, rank: int, alpha: int | None, seed: int) -> nn.Module:
    """Put low-rank adapters on all linear layers but the output one (Hu et al. 2021); they change nothing at first.

    Args:
        model: a causal language model of transformers; its own weights are frozen.
        rank: of the adapters.
        alpha: scale; None means twice the rank.
        seed: of their random half.
    """
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=rank, lora_alpha=2 * rank if alpha is None else alpha, lora_dropout=0.0, target_modules="all-linear"
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adapted: nn.Module = get_peft_model(model, settings, adapter_name=ADAPTER)
    return adapted


def add_reference(model: Any) -> None:
    """Keep a copy of the present adapters beside them, frozen: a reference without a second model."""
    model.add_adapter(REFERENCE, model.peft_config[ADAPTER])
    state = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if f".{REFERENCE}." in name:
                tensor.copy_(state[name.replace(f".{REFERENCE}.", f".{ADAPTER}.")])
    use_adapter(model, ADAPTER)


def use_adapter(model: Any, name: str) -> None:
    """Switch to other adapters; only those called :data:`ADAPTER` are ever trained."""
    model.base_model.set_adapter(name)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(f".{ADAPTER}." in parameter_name)
