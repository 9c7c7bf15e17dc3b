"""GGUF files: what their header says, and the model and tokenizer in them as transformers has them.

The header is read here, a few pages of a file of any size, so that a file that was cut short, an unknown architecture
and a lack of memory or disk are reported before anything is loaded. The weights are unpacked by transformers.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from envs.base.errors import UserError
from envs.base.extras import how_to_install
from policies.language.room import check_memory

SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_PRE = "tokenizer.ggml.pre"
_KEPT = ("general.architecture", "general.alignment", "split.count", "tokenizer.chat_template", _PRE)
_SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r")
"""Kinds of tokenizer that take digits one by one before all else (llama.cpp, ``llama-vocab.cpp``)."""

_ELSE = "Serve it with llama.cpp and write openai:NAME, or get the model as a folder of transformers"
_BYTES_BY_PRECISION = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself.

    Attributes:
        path: of the file.
        architecture: as llama.cpp calls it: ``llama``, ``qwen2``.
        weights: how many numbers all its tensors hold.
        has_template: whether it brings a chat template.
        words: how its tokenizer takes words apart, as llama.cpp calls it: ``smollm``, ``qwen2``.
    """

    path: Path
    architecture: str
    weights: int
    has_template: bool
    words: str

    def bytes_in(self, precision: str) -> int:
        """Return how many bytes the weights take once they are unpacked."""
        return self.weights * _BYTES_BY_PRECISION[precision]


def is_gguf(source: str | Path) -> bool:
    """Return whether a model is named by a GGUF file, by the end of its name."""
    return Path(source).suffix.lower() == SUFFIX


def read_header(path: Path) -> Header:
    """Read the header of a GGUF file, and make sure that the file holds all that it announces.

    The format: ``docs/gguf.md`` of ggml. Versions 2 and 3 are read, in little-endian order.

    Raises:
        UserError: there is no such file, it is no GGUF file or one part of several, or it was cut short.
    """
    check_reader()
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _read(file, path, size)
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}: give the GGUF file of a model") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _read(file: BinaryIO, path: Path, size: int) -> Header:
    from gguf.constants import GGML_QUANT_SIZES

    reader = _Reader(file, path, size)
    if reader.take(4) != _MAGIC:
        raise UserError(f"{path} is no GGUF file: it does not begin with the letters GGUF")
    version = reader.number("I")
    if version not in _VERSIONS:
        raise UserError(f"{path} is a GGUF file of version {version}, only 2 and 3 (little-endian) are read")
    tensors, pairs = reader.number("Q"), reader.number("Q")
    found: dict[str, Any] = {}
    for _ in range(pairs):
        key = reader.text()
        value = reader.value(reader.number("I"))
        if key in _KEPT:
            found[key] = value
    if int(found.get("split.count", 1)) > 1:
        raise UserError(
            f"{path} is one of {found['split.count']} parts: put them together (llama-gguf-split --merge) and give "
            "the whole file"
        )
    weights, end = 0, 0
    for _ in range(tensors):
        reader.text()
        elements = math.prod(reader.number("Q") for _ in range(reader.number("I")))
        kind, offset = reader.number("I"), reader.number("Q")
        if kind not in GGML_QUANT_SIZES:
            raise UserError(f"{path} has tensors of the unknown type {kind}: pip install --upgrade gguf may know it")
        block, width = GGML_QUANT_SIZES[kind]
        weights += elements
        end = max(end, offset + elements // block * width)
    alignment = int(found.get("general.alignment", 32))
    expected = math.ceil(file.tell() / alignment) * alignment + end
    if size < expected:
        raise _cut_short(path, size, expected)
    architecture = str(found.get("general.architecture", "unknown"))
    has_template = bool(found.get("tokenizer.chat_template"))
    return Header(path, architecture, weights, has_template, str(found.get(_PRE, "")))


class _Reader:
    """Takes a header apart; never reads more than the file has."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > self.size - self.file.tell():
            raise _cut_short(self.path, self.size)
        return self.file.read(count)

    def number(self, form: str) -> Any:
        """Return the next number."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def text(self) -> str:
        """Return the next string."""
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """Return the next value; arrays are skipped."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            self._pass_over(self.number("I"), self.number("Q"))
            return None
        if kind not in _NUMBERS:
            raise UserError(f"{self.path} is damaged: its header has a value of the unknown type {kind}. Get it again")
        return self.number(_NUMBERS[kind])

    def _pass_over(self, kind: int, count: int) -> None:
        if kind in _NUMBERS:
            self._skip(count * struct.calcsize("<" + _NUMBERS[kind]))
            return
        for _ in range(count):
            if kind == _STRING:
                self._skip(self.number("Q"))
            else:
                self.value(kind)

    def _skip(self, count: int) -> None:
        if count > self.size - self.file.tell():
            raise _cut_short(self.path, self.size)
        self.file.seek(count, os.SEEK_CUR)


def _cut_short(path: Path, size: int, expected: int | None = None) -> UserError:
    of = "its header is not whole" if expected is None else f"{expected:,} are announced"
    return UserError(f"{path} was cut short: it has {size:,} bytes, and {of}. Get it again")


# -- as transformers has it ---------------------------------------------------------------------------------


def load_gguf_model(path: Path, precision: str) -> Any:
    """Unpack the model in a GGUF file: an ordinary one, with no quantisation left in its configuration.

    Args:
        path: the file.
        precision: of the weights in memory: ``float32``, ``bfloat16``, ``float16``.

    Returns:
        a causal language model of transformers, on the processor, in evaluation mode.

    Raises:
        UserError: the file is damaged, does not fit into the memory, or transformers cannot read its architecture.
    """
    from transformers import AutoModelForCausalLM

    header = read_header(path)
    check_memory(header.bytes_in(precision), f"the weights of {path.name} in {precision}", "cpu")
    unpacked = _unpacked()
    model, report = _with_transformers(
        lambda: AutoModelForCausalLM.from_pretrained(
            str(path.parent),
            gguf_file=path.name,
            dtype=getattr(torch, precision),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # what does not fit is refused below, by name
            **unpacked,
        ),
        header,
    )
    _check_report(report, header)
    # It is an ordinary model from here on: what is saved of it shall not ask for a GGUF file.
    model.hf_quantizer = None
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        model.config.__dict__.pop(name, None)
    return model.eval()


def _check_report(report: dict[str, Any], header: Header) -> None:
    """Refuse a model of which transformers left weights as it drew them: it only warns of that."""
    kinds = ("missing_keys", "mismatched_keys", "unexpected_keys")
    if bad := {kind: sorted(map(str, report[kind])) for kind in kinds if report.get(kind)}:
        kind, names = next(iter(bad.items()))
        raise UserError(
            f"transformers cannot read {header.path} (architecture {header.architecture!r}): {len(names)} "
            f"{kind.replace('_keys', '')} weights, as {names[0]:.120}. {_ELSE}"
        )


def load_gguf_tokenizer(path: Path) -> Any:
    """Make the tokenizer in a GGUF file, with its chat template.

    Raises:
        UserError: the file is damaged, or transformers cannot read its architecture or kind of tokenizer.
    """
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    header = read_header(path)
    tokenizer = _with_transformers(
        lambda: AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name, trust_remote_code=False), header
    )
    if header.words in _SINGLE_DIGITS:  # which transformers passes over
        own = tokenizer.backend_tokenizer
        own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), own.pre_tokenizer])
    return tokenizer


def check_reader() -> None:
    """Make sure that the package is there with which transformers reads GGUF files.

    Raises:
        UserError: it is not.
    """
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise UserError(f"GGUF files need the package gguf: {how_to_install('language')}") from error


def _unpacked() -> dict[str, Any]:
    """Return the argument with which newer versions of transformers unpack all weights; older ones always do."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def _with_transformers(load: Callable[[], Any], header: Header) -> Any:
    from transformers.utils import logging

    before: Any = logging.get_verbosity()
    quiet: Any = logging.disable_progress_bar
    quiet()
    logging.set_verbosity(50)  # of critical messages, of which there are none
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a bar of its own, which nothing switches off
            return load()
    except Exception as error:  # a library's own: anything can be raised over a file
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"transformers cannot read {header.path} (architecture {header.architecture!r}): {first:.200}. {_ELSE}"
        ) from error
    finally:
        logging.set_verbosity(before)
