"""Is there room for a model, in memory and on the disk? Said before it is loaded, with the figures."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import psutil
import torch
from torch import nn

from envs.base.errors import UserError

SPARE = 64 * 2**20
"""Bytes that are left free in any case."""


def in_units(size: float) -> str:
    """Return a number of bytes in words: ``538 MB``, ``3.1 GB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def check_disk(wanted: int, what: str, folder: Path) -> None:
    """Make sure that ``wanted`` bytes can be written to ``folder``, which need not exist yet.

    Raises:
        UserError: there is less room; the text has both figures.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < wanted + SPARE:
        raise UserError(
            f"{what} takes {in_units(wanted)} on the disk of {place}, and {in_units(free)} are free: make room, or "
            "choose another --out"
        )


def check_memory(wanted: int, what: str, device: str, remedy: str = "") -> None:
    """Make sure that ``wanted`` bytes of memory are free.

    Args:
        wanted: bytes.
        what: needs them, in words.
        device: of torch; processors and CUDA devices are measured, others are not.
        remedy: what else can be done, in place of the usual.

    Raises:
        UserError: there is less; the text has both figures.
    """
    kind = torch.device(device).type
    if kind == "cpu":
        free = free_memory()
    elif kind == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        return
    if wanted > free:
        remedy = remedy or "take a smaller model, or precision = bfloat16, which halves it"
        raise UserError(f"{what} take {in_units(wanted)}, and {in_units(free)} of memory are free: {remedy}")


def free_of_gpu(module: nn.Module) -> int:
    """Return the bytes that are free on the GPU that a module lies on; 0 where it lies on none."""
    device = next(module.parameters()).device
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def free_memory() -> int:
    """Return the bytes of memory that this process can still have: the machine's, or its control group's."""
    free: int = psutil.virtual_memory().available
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control group, or one without a limit
        return free
    return min(free, limit - used)


def stored_weights(folder: Path) -> dict[str, int]:
    """Return how many weights a folder's safetensors hold, by their type as the format calls it (``BF16``).

    Only headers are read: 8 bytes with a length, then JSON. A file that is not whole counts for nothing here; loading
    it says so.
    """
    found: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, path.stat().st_size)))
            for name, entry in header.items():
                if name != "__metadata__":
                    count = 1
                    for size in entry["shape"]:
                        count *= int(size)
                    found[entry["dtype"]] = found.get(entry["dtype"], 0) + count
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
            continue
    return found
