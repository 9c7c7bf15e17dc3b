"""Loading a causal language model and its tokenizer, with one clear line where that fails."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from envs.base.devices import check_device
from envs.base.errors import UserError
from policies.language.gguf import is_gguf, load_gguf_model, load_gguf_tokenizer
from policies.language.room import check_memory, stored_weights
from policies.language.settings import LanguageSettings
from policies.language.threads import choose_threads
from policies.saved import is_saved

log = logging.getLogger("agentbench")

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")


def load_tokenizer(source: str) -> Any:
    """Load the tokenizer of a model.

    Raises:
        UserError: there is none, or it has no chat template.
    """
    from transformers import AutoTokenizer

    if is_gguf(source):
        return load_gguf_tokenizer(Path(source))
    _check_folder(source)
    if Path(source).is_dir() and not any((Path(source) / name).is_file() for name in TOKENIZER_FILES):
        # Without a file the library would make one up from the kind of the model, with other ids.
        raise UserError(f"cannot load a tokenizer of {source!r}: there is none of {', '.join(TOKENIZER_FILES)} in it")
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:
        raise UserError(f"cannot load a tokenizer of {source!r}: {_first_line(error)}") from error


def load_model(settings: LanguageSettings) -> nn.Module:
    """Load a model with its weights, ready for sampling.

    Raises:
        UserError: no such model, missing or unfitting weights, or a model that keeps no keys and values.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    quiet: Any = logging.disable_progress_bar
    quiet()
    source = settings.model
    if is_gguf(source):
        check_device(settings.device)
        return prepare(load_gguf_model(Path(source), settings.precision), settings)
    _check_folder(source)
    _refuse_saved(source)
    check_device(settings.device)
    if Path(source).is_dir():
        _check_weights(Path(source))
        _check_size(Path(source), settings)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=getattr(torch, settings.precision),
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,  # else the library asks on the terminal whether to run code of the folder
        )
    except Exception as error:
        raise UserError(f"cannot load the model {source!r}: {_first_line(error)}") from error
    model, report = loaded
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])
        raise UserError(f"{source} lacks {len(names)} of the model's weights, the first is {names[0]}: get it again")
    return prepare(model, settings)


def empty_model(source: str, settings: LanguageSettings) -> nn.Module:
    """Make a model from its configuration alone; its weights are to be loaded by the caller."""
    from transformers import AutoConfig, AutoModelForCausalLM

    maker: Any = AutoModelForCausalLM
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        with torch.random.fork_rng():
            model = maker.from_config(config, dtype=getattr(torch, settings.precision), trust_remote_code=False)
    except Exception as error:
        raise UserError(f"cannot make the model of {source!r}: {_first_line(error)}") from error
    return prepare(model, settings)


def prepare(model: Any, settings: LanguageSettings) -> nn.Module:
    """Put a model on its device and make it deterministic: no dropout, so that sampler and trainer agree."""
    if getattr(model, "_is_stateful", False):
        raise UserError(f"{settings.model} keeps a running state in place of keys and values, which is not supported")
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if hasattr(part, "attention_dropout"):  # a number of some attention layers, in force in training mode
            part.attention_dropout = 0.0
    check_device(settings.device)
    model.to(settings.device)
    model.eval()
    choose_threads(model, settings.device, settings.threads)
    if settings.gradient_checkpointing:
        checkpoint_activations(model)
    return model  # type: ignore[no-any-return]


def checkpoint_activations(model: Any) -> None:
    """Make the model compute activations again in the backward pass; the method's name changed in transformers 5."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable()
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def context_length(model: Any, settings: LanguageSettings) -> int | None:
    """Return the longest sequence that the model may see; None where its configuration names none."""
    own = getattr(model.config, "max_position_embeddings", None)
    limits = [limit for limit in (own, settings.max_context) if limit is not None]
    return min(limits) if limits else None


def prompt_limit(model: nn.Module, vocabulary: int, settings: LanguageSettings) -> int | None:
    """Return the most tokens of a prompt, None for any number.

    Raises:
        UserError: the tokenizer has tokens that the model lacks, or an answer would fill the whole context.
    """
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    rows = embeddings.weight.shape[0]
    if vocabulary > rows:
        raise UserError(
            f"the tokenizer of {settings.model} has {vocabulary} tokens, its model only {rows}: "
            "they do not belong together"
        )
    context = context_length(model, settings)
    limit = None if context is None else context - settings.max_tokens
    if limit is not None and limit < 1:
        raise UserError(
            f"max_tokens = {settings.max_tokens} leaves no room in a context of {context} tokens: set it lower"
        )
    return limit


def _check_folder(source: str) -> None:
    looks_local = source.startswith((".", "/", "~")) or source.count("/") != 1
    if not source:
        raise UserError("policy 'hf' needs a model: write hf:FOLDER or hf:ORGANISATION/NAME")
    _refuse_files(Path(source))
    if looks_local and not Path(source).is_dir():
        raise UserError(
            f"there is no folder {source}: give the folder of a model ('agentbench model init' makes a small one), "
            "or ORGANISATION/NAME of the model hub"
        )
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        if (Path(source) / "adapter_config.json").is_file():
            raise UserError(
                f"{source} holds adapters alone, without their model: put both together "
                "(peft: model.merge_and_unload().save_pretrained(FOLDER), and the tokenizer beside it)"
            )
        _refuse_saved(source)
        raise UserError(f"{source} holds no model of transformers: there is no config.json in it")


def _refuse_saved(source: str) -> None:
    """Refuse a policy that agentbench saved: it is named without ``hf:``, and brings how it is asked."""
    if is_saved(Path(source)):
        raise UserError(
            f"{source} is a policy that was cloned or trained here: name it without hf:, as --policy {source}"
        )


def _refuse_files(source: Path) -> None:
    """Refuse a file where a folder should be, and a folder with nothing but GGUF files."""
    inside = [] if (source / "config.json").is_file() else sorted(source.glob("*.[gG][gG][uU][fF]"))
    if inside:
        raise UserError(f"{source} holds GGUF files and no model of transformers: name the file, hf:{inside[0]}")
    if source.is_file():
        raise UserError(f"{source} is a file: give the folder that holds config.json, weights and tokenizer")


def _check_weights(folder: Path) -> None:
    """Refuse a folder whose weights are not all safetensors of its own: others are pickles, which can run code."""
    if not any(folder.glob("*.safetensors*")):
        raise UserError(f"{folder} holds no weights: there is no .safetensors file in it (pickles are not loaded)")
    if (folder / "adapter_model.bin").exists():
        raise UserError(f"{folder} holds adapters as a pickle (adapter_model.bin), which is not loaded: remove it")
    for index in folder.glob("*.safetensors.index.json"):
        try:
            parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise UserError(f"{index} cannot be read ({_first_line(error)}): get the model again") from error
        for part in parts:
            if not isinstance(part, str) or not part.endswith(".safetensors") or Path(part).name != part:
                raise UserError(f"{index} names {part!r:.80}, which is no .safetensors file of this folder: not loaded")


def _check_size(folder: Path, settings: LanguageSettings) -> None:
    """Refuse a model that is larger than the memory; say where weights are rounded to fewer digits than they have."""
    stored = stored_weights(folder)
    wanted = sum(stored.values()) * (4 if settings.precision == "float32" else 2)
    check_memory(wanted, f"the weights of {folder} in {settings.precision}", settings.device)
    if settings.precision != "float32" and stored.get("F32", 0) > sum(stored.values()) / 2:
        log.warning(
            "%s holds %s weights in float32, which are rounded to %s: precision = float32 takes them as they are",
            folder,
            f"{stored['F32']:,}",
            settings.precision,
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
