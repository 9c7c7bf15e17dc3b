"""Settings of a language model as a policy."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from envs.errors import UserError, unknown
from envs.options import declared, resolve

Layout = Literal["episode", "step"]
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """What a language-model policy is, apart from its weights.

    Attributes:
        model: folder, or id on the model hub, of a causal language model of transformers.
        environment: short name of the environment; it decides the prompts.
        temperature: of the sampling; 0 takes the likeliest token.
        max_new_tokens: longest answer, in tokens.
        max_context: longest prompt and answer together, in tokens; None: what the model was made for.
        stop: an answer ends behind any of these strings.
        constrained: decode nothing but the admissible actions (then there is no thinking).
        thinking: ask for thoughts before the action.
        history: number of past steps that are shown, or ``all``: the whole conversation, which only grows.
        show_actions: list the admissible actions in the prompt.
        template: TOML file that replaces the benchmark's texts (:func:`policies.prompts.read_template`).
        layout: how steps are laid out for an update. ``episode``: steps whose prompts continue each other are one
            sequence (the same loss for a fraction of the work); ``step``: each step is a sequence of its own.
        padded_tokens: most tokens, padding included, of one forward pass inside an update.
        lora: rank of low-rank adapters on all linear layers (Hu et al. 2021); 0 trains all weights.
        lora_alpha: the adapters are scaled by ``lora_alpha / lora``; None means twice the rank.
        gradient_checkpointing: compute activations again in the backward pass, instead of keeping them.
        precision: of the weights.
        device: where the model is.
        cache_mb: most memory of keys and values that are kept between the turns of episodes.
        seed: of new adapters.
    """

    model: str
    environment: str = "alfworld"
    temperature: float = 1.0
    max_new_tokens: int = 256
    max_context: int | None = None
    stop: tuple[str, ...] = ("</action>",)
    constrained: bool = False
    thinking: bool = False
    history: int | str = "all"
    show_actions: bool = True
    template: str | None = None
    layout: Layout = "episode"
    padded_tokens: int = 16_384
    lora: int = 0
    lora_alpha: int | None = None
    gradient_checkpointing: bool = False
    precision: str = "float32"
    device: str = "cpu"
    cache_mb: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        for name, least in (("temperature", 0), ("max_new_tokens", 1), ("lora", 0), ("cache_mb", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} of a language model must be at least {least}, got {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.layout not in ("episode", "step"):
            raise unknown("layout", self.layout, ("episode", "step"))
        if self.constrained and self.thinking:
            raise UserError("constrained = true leaves no room for thoughts: set thinking = false")


OPTIONS = tuple(each.name for each in fields(LanguageSettings) if each.name not in ("model", "environment"))
"""What can be said on the command line, as ``--max-new-tokens 64``."""


def language_settings(model: str, environment: str, options: dict[str, Any]) -> LanguageSettings:
    """Make settings from options by name.

    Raises:
        UserError: an unknown option, or a value that it cannot have.
    """
    known = {name: each for name, each in declared(LanguageSettings).items() if name in OPTIONS}
    read = resolve("a language model", known, options, listed_by="agentbench policies hf", is_quiet=True)
    return LanguageSettings(**{"model": model, "environment": environment, **read})


def to_json(settings: LanguageSettings) -> dict[str, Any]:
    """Return the settings as JSON values."""
    return {**asdict(settings), "stop": list(settings.stop)}
