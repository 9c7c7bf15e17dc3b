"""Settings of a language model as a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from envs.base.errors import UserError, unknown
from envs.base.options import declared, resolve

Layout = Literal["episode", "step"]
Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")

LONGEST_ANSWER = 1024
"""Tokens of an answer where nothing is said, for every kind of language model."""


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """What a language-model policy is, apart from its weights.

    Attributes:
        model: folder, or id on the model hub, of a causal language model of transformers.
        environment: short name of the environment; it decides the prompts.
        temperature: of the sampling; 0 takes the likeliest token.
        max_tokens: longest answer, in tokens.
        max_context: longest prompt and answer together, in tokens; None: what the model was made for.
        stop: an answer ends behind any of these strings, also inside of thoughts.
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
        cache_mb: most memory of keys and values that are kept between the turns of episodes; None: 1024, on a GPU a
            quarter of what is free there if that is more.
        cuda_graphs: on a GPU decode steps are captured once as a CUDA graph and replayed, where that is possible; this
            turns it off.
        seed: of new adapters.
        threads: of torch, for a model on a processor; None: the number that is fastest in a short measurement, or
            ``OMP_NUM_THREADS`` where that is set.
        keep_messages: store the chat of every step as it was sent (``details.messages``).
        max_new_tokens: what ``max_tokens`` was called before; kept for policies that were saved then.
    """

    model: str
    environment: str = "alfworld"
    temperature: Annotated[float, Field(ge=0, le=1000)] = 0.0
    max_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = LONGEST_ANSWER
    max_context: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    stop: tuple[str, ...] = ()
    constrained: bool = False
    thinking: bool = True
    history: Annotated[int, Field(ge=0, le=1_000_000)] | Literal["all"] = "all"
    show_actions: bool = True
    template: str | None = None
    layout: Layout = "episode"
    padded_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] = 16_384
    lora: Annotated[int, Field(ge=0, le=65_536)] = 0
    lora_alpha: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    gradient_checkpointing: bool = False
    precision: Precision = "float32"
    device: str = "cpu"
    cache_mb: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    cuda_graphs: bool = True
    seed: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    keep_messages: bool = False
    max_new_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if "" in self.stop:
            raise UserError("stop: an empty text would end every answer at its beginning")
        if self.max_new_tokens is not None:
            if self.max_tokens not in (LONGEST_ANSWER, self.max_new_tokens):
                raise UserError("max_new_tokens is the old name of max_tokens: give one of them")
            object.__setattr__(self, "max_tokens", self.max_new_tokens)
            object.__setattr__(self, "max_new_tokens", None)
        for name, least in (("temperature", 0), ("max_tokens", 1), ("lora", 0), ("cache_mb", 0)):
            if getattr(self, name) is None:
                continue
            if getattr(self, name) < least:
                raise UserError(f"{name} of a language model must be at least {least}, got {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.layout not in ("episode", "step"):
            raise unknown("layout", self.layout, ("episode", "step"))
        if self.constrained and self.thinking:
            raise UserError("constrained = true leaves no room for thoughts: set thinking = false")


TRAINING: Mapping[str, Any] = {"temperature": 1.0, "max_tokens": 256, "stop": ("</action>",), "thinking": False}
"""What a new model in training has where nothing is said: it must draw, and learns from short answers first."""

OLD_NAMES = {"max_new_tokens": "max_tokens"}

OF_THIS_MACHINE = ("threads", "keep_messages", "cuda_graphs", *OLD_NAMES)
"""Settings that are not saved with a policy, and decide no answers."""

OPTIONS = tuple(each.name for each in fields(LanguageSettings) if each.name not in ("model", "environment"))
"""What can be said on the command line, as ``--max-tokens 64``."""


def in_training(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by name over those that a model in training has by default."""
    return {**TRAINING, **renamed(options)}


def renamed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with the present names in place of old ones."""
    return {OLD_NAMES.get(name, name): value for name, value in options.items()}


def language_settings(model: str, environment: str, options: dict[str, Any]) -> LanguageSettings:
    """Make settings from options by name.

    Raises:
        UserError: an unknown option, or a value that it cannot have.
    """
    known = {name: each for name, each in declared(LanguageSettings).items() if name in OPTIONS}
    read = resolve("a language model", known, options, listed_by="agentbench policies hf", is_quiet=True)
    if read.get("constrained"):
        read = {"thinking": False, **read}  # there is no room for thoughts
    return LanguageSettings(**{"model": model, "environment": environment, **read})


def to_json(settings: LanguageSettings) -> dict[str, Any]:
    """Return the settings that belong to a policy as JSON values."""
    kept = {name: value for name, value in asdict(settings).items() if name not in OF_THIS_MACHINE}
    return {**kept, "stop": list(settings.stop)}
