"""A small language model from scratch: random weights, and a tokenizer trained on the texts of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentbench.runs.run import open_run
from envs.base.errors import UserError, unknown

FAMILIES = ("qwen3", "llama")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kmb])", re.IGNORECASE)
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9}


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a transformer: width, layers, attention heads."""

    hidden: int
    layers: int
    heads: int

    def parameters(self, vocabulary: int) -> int:
        """Return the number of weights: two embeddings, and 4 + 3 · 8/3 squares of the width a layer, nearly."""
        return 2 * vocabulary * self.hidden + self.layers * 12 * self.hidden**2


def init_model(
    out: Path,
    *,
    size: str = "5m",
    tokenizer_from: Path,
    family: str = "qwen3",
    vocabulary: int = 2048,
    context: int = 8192,
    seed: int = 0,
) -> int:
    """Make a model with random weights and a tokenizer of its own, as an ordinary folder of transformers.

    Args:
        out: the folder; it must not hold a model yet.
        size: about how many weights, as in ``500k`` or ``5m``.
        tokenizer_from: a stored run; the tokenizer is trained on its texts and on the prompts made from them.
        family: ``qwen3`` or ``llama``.
        vocabulary: most tokens of the tokenizer, at least 300.
        context: longest sequence.
        seed: of the weights.

    Returns:
        the number of weights.

    Raises:
        UserError: an impossible size, or a folder that holds a model already.
    """
    import torch
    import transformers
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    if family not in FAMILIES:
        raise unknown("model family", family, FAMILIES)
    if (out / "config.json").exists():
        raise UserError(f"{out} holds a model already: choose another --out")
    wanted = parse_size(size)
    tokenizer = train_tokenizer(run_texts(tokenizer_from), vocabulary, context)
    shape = choose_shape(wanted, len(tokenizer))
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": max(32, round(shape.hidden * 8 / 3 / 32) * 32),
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads // 2,
        "head_dim": shape.hidden // shape.heads,
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    quiet: Any = transformers.utils.logging.disable_progress_bar
    quiet()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = (
            Qwen3ForCausalLM(Qwen3Config(**settings))
            if family == "qwen3"
            else LlamaForCausalLM(LlamaConfig(**settings))
        )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return sum(parameter.numel() for parameter in model.parameters())


def parse_size(size: str) -> float:
    """Read ``5m`` as 5,000,000.

    Raises:
        UserError: not a number with k, m or b, or below 10,000.
    """
    found = _SIZE.fullmatch(size.strip())
    number = float(found[1]) * _UNITS[found[2].lower()] if found else 0.0
    if number < 10_000:
        raise UserError(f"a model's size is a number of weights from 10k on, as in 500k, 5m or 1.5b, got {size!r}")
    return number


def choose_shape(weights: float, vocabulary: int) -> Shape:
    """Return the shape whose number of weights is nearest to ``weights``, on a scale of ratios.

    Small models are wide for their depth (a layer for every 48 of width), as nothing is won by depth there.
    """
    shapes = []
    for hidden in (*range(64, 512, 32), *range(512, 4097, 128)):
        # An even number of heads, so that two can share their keys and values.
        width = 64 if hidden >= 512 else 32 if hidden % 64 == 0 else 16
        shapes.append(Shape(hidden, max(2, round(hidden / 48)), hidden // width))
    return min(shapes, key=lambda shape: abs(math.log(shape.parameters(vocabulary) / weights)))


def run_texts(folder: Path) -> Iterator[str]:
    """Yield the texts of a stored run: the messages that a model would see, and what was answered."""
    from agentbench.train.clone import prompts_of
    from policies.contract import Response
    from policies.prompts import answer_of, build_messages, make_settings

    run = open_run(folder)
    env = run.identity.get("env", "")
    settings = make_settings(env)
    for episode in run.read_episodes():
        for number, (prompt, action) in enumerate(prompts_of(episode)):
            messages = build_messages(prompt, settings)
            yield from (message["content"] for message in (messages if number == 0 else messages[-1:]))
            yield answer_of(prompt.after(Response(action), "", {}).history[-1], settings.template)
            if prompt.history:
                yield answer_of(prompt.history[-1], settings.template)


def train_tokenizer(texts: Iterator[str], vocabulary: int, context: int) -> Any:
    """Train a byte-level BPE tokenizer with a chat template; any text can be encoded, byte by byte at worst.

    Raises:
        UserError: a vocabulary without room for every byte.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if vocabulary < 300:
        raise UserError(f"a byte-level vocabulary has at least 300 tokens, got {vocabulary}")
    tokenizer: Any = Tokenizer(models.BPE())
    # Words with the space before them, single digits, signs one by one, line ends.
    words = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped: Any = PreTrainedTokenizerFast
    return wrapped(
        tokenizer_object=tokenizer,
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        model_max_length=context,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
