"""From a GGUF file to an ordinary model folder: unpacked, written, loaded again and compared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from envs.base.errors import UserError
from policies.language.conversation import Writer
from policies.language.gguf import Header, load_gguf_model, load_gguf_tokenizer, read_header
from policies.language.loading import load_tokenizer
from policies.language.room import check_disk, in_units


def import_gguf(path: Path, out: Path, precision: str = "float32") -> Header:
    """Write the model of a GGUF file as an ordinary folder of transformers, and make sure that it works.

    The folder is loaded again as a policy would load it, and a forward pass must give what the unpacked model gives.

    Args:
        path: the file.
        out: the folder; it must not hold a model yet. It appears whole or not at all.
        precision: of the written weights: ``float32``, ``bfloat16``, ``float16``.

    Returns:
        what the file's header says.

    Raises:
        UserError: the file cannot be read, there is no room, the model has no chat template, or it does not work.
    """
    check_out(out)
    header = read_header(path)
    check_disk(header.bytes_in(precision), f"{path.name} unpacked to {precision}", out)
    tokenizer = load_gguf_tokenizer(path)
    tokenizer.name_or_path = str(path)
    Writer(tokenizer, thinking=False)  # the chat template is there, and works
    model = load_gguf_model(path, precision)
    write_folder(model, tokenizer, out)
    return header


def check_out(out: Path) -> None:
    """Refuse a folder that holds a model already.

    Raises:
        UserError: it does.
    """
    if (out / "config.json").exists():
        raise UserError(f"{out} holds a model already: choose another --out")


def write_folder(model: Any, tokenizer: Any, out: Path) -> None:
    """Write model and tokenizer, load them again, and compare the logits of a short text.

    Raises:
        UserError: they cannot be written, or what was written is not what was there.
    """
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        _check_copy(model, tokenizer, temporary)
        out.mkdir(parents=True, exist_ok=True)
        for file in temporary.iterdir():
            file.replace(out / file.name)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@torch.no_grad()
def _check_copy(model: nn.Module, tokenizer: Any, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    text = "<|im_start|> You are in a room, with 12 drawers.\n> go to drawer 3 🙂"
    ids = tokenizer.encode(text, add_special_tokens=False)
    again = load_tokenizer(str(folder))
    copy: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=next(model.parameters()).dtype)
    found, expected = (each.eval()(input_ids=torch.tensor([ids])).logits.float() for each in (copy, model))
    if not bool(torch.isfinite(expected).all()):
        raise UserError("a forward pass of the model gives no numbers: the file is damaged, get it again")
    if again.encode(text, add_special_tokens=False) != ids or again.chat_template != tokenizer.chat_template:
        raise UserError("the tokenizer is another one after it was written: transformers cannot convert this model")
    if not torch.allclose(found, expected, atol=1e-4):
        gap = float((found - expected).abs().max())
        raise UserError(f"the written model's logits differ by {gap:.2g}: transformers cannot convert this model")


def size_of(folder: Path) -> str:
    """Return what a folder takes on the disk, in words."""
    return in_units(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
