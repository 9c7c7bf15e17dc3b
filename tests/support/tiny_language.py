"""Very small language models with random weights, and prompts to ask them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentbench.train.model_init import train_tokenizer
from envs.contract import Task
from policies.contract import Prompt, Response, Turn
from policies.language.policy import LanguagePolicy
from policies.language.settings import LanguageSettings, in_training, renamed

ACTIONS = ["go to desk 1", "go to desk 2", "take mug 1 from desk 1", "look"]
TEXTS = [
    "You act in a house. Answer with exactly one action inside <action></action> and nothing else.",
    "Observation 1: You are in a room. You see a desk 1 and a desk 2.\nAdmissible actions:",
    *[f"<action>{action}</action>" for action in ACTIONS],
    "The café is naïve: 北京 is far 🙂.",
]
_TOKENIZER: list[Any] = []


def tokenizer() -> Any:
    """A byte-level tokenizer that knows a few words."""
    if not _TOKENIZER:
        _TOKENIZER.append(train_tokenizer(iter(TEXTS * 3), 400, 4096))
    return _TOKENIZER[0]


WINDOWS: dict[str, dict[str, Any]] = {
    "Mistral": {"sliding_window": 24},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    "Gemma3Text": {"sliding_window": 24, "query_pre_attn_scalar": 16},
    "Llama4Text": {"attention_chunk_size": 24, "num_local_experts": 1, "intermediate_size_mlp": 96},
}
"""Families with layers that see a window, and what makes it a short one."""


def model(family: str = "qwen3", seed: int = 0, layers: int = 2, **more: Any) -> Any:
    """A model of 64 wide layers; its weights are drawn wide, so that its answers differ."""
    import torch
    import transformers

    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "initializer_range": 0.15,
        "bos_token_id": None,
        "eos_token_id": tokenizer().eos_token_id,
        "pad_token_id": tokenizer().pad_token_id,
        **WINDOWS.get(family, {}),
        **more,
    }
    names = {"qwen3": "Qwen3", "llama": "Llama"}
    family = names.get(family, family)
    config = getattr(transformers, f"{family}Config")(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made: Any = getattr(transformers, f"{family.removesuffix('Text')}ForCausalLM")(config)
    return made.eval()


def policy(made: Any = None, **options: Any) -> LanguagePolicy:
    """A policy on a tiny model."""
    chosen = in_training({"max_tokens": 12, **renamed(options)})
    settings = LanguageSettings(**{"model": "tiny", "environment": "alfworld", **chosen})
    return LanguagePolicy(settings, model() if made is None else made, tokenizer())


def prompt(history: Sequence[Turn] = (), observation: str = "You see a desk 1.", seed: int = 0) -> Prompt:
    """What a policy sees after some turns."""
    info = {"instruction": "look at mug under the lamp", "admissible_actions": ACTIONS}
    return Prompt(Task("id", "name", "Look", 0), observation, info, tuple(history), seed)


def play(player: Any, seeds: Sequence[int], turns: int) -> list[list[tuple[Prompt, Response]]]:
    """Let a policy talk for some turns, all seeds in one batch, each an episode of its own."""
    episodes: list[list[tuple[Prompt, Response]]] = [[] for _ in seeds]
    for turn in range(turns):
        asked = []
        for seed, episode in zip(seeds, episodes, strict=True):
            history = [Turn(p.observation, r.action, r.text, ACTIONS, r.trace) for p, r in episode]
            asked.append(prompt(history, f"You see {'a desk, ' * (seed % 3)}turn {turn}.", seed * 1000 + turn))
        for episode, each, answer in zip(episodes, asked, player.act(asked), strict=True):
            episode.append((each, answer))
    return episodes


def traces(episodes: Sequence[Sequence[tuple[Prompt, Response]]]) -> list[Any]:
    """All traces, episode by episode."""
    return [answer.trace for episode in episodes for _, answer in episode]
