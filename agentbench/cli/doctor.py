"""What is installed here, what is missing, and what to type to fix it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from envs.base.extras import DISTRIBUTION, how_to_install
from envs.base.home import data_home
from envs.registry import ENVIRONMENTS

State = Literal["ok", "missing", "optional"]
EXTRAS = {
    "alfworld": "the original engine of ALFWorld, as reference back end",
    "train": "training",
    "language": "language models: sampling and training with transformers",
    "vllm": "fast rollouts of language models",
    "ray": "workers on a cluster of machines",
    "openenv": "our environments served to other programs (agentbench serve)",
    "inspect": "our environments as tasks of Inspect",
    "verifiers": "our environments in verifiers",
    "skyrl": "our environments in SkyRL",
    "trl": "our environments and schemes in TRL's trainer",
    "verl": "our environments and schemes in verl's trainer",
}
TRACKERS = ("tensorboard", "wandb", "trackio")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        what: the thing looked at.
        state: ``ok``; ``missing`` (something will not work); ``optional`` (only needed for what it names).
        detail: what was found.
        remedy: what to type, or empty.
    """

    what: str
    state: State
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at the machine, the packages and the data sets."""
    return [*_machine(), *_packages(), *_data()]


def _machine() -> Iterator[Finding]:
    yield Finding("Python", "ok", platform.python_version())
    memory = psutil.virtual_memory()
    gigabytes = 1024**3
    yield Finding(
        "machine",
        "ok",
        f"{os.cpu_count()} cores, {memory.available / gigabytes:.1f} of {memory.total / gigabytes:.1f} GB memory free",
    )
    home = data_home()
    exists = next(folder for folder in [home, *home.parents] if folder.exists())
    free = shutil.disk_usage(exists).free / gigabytes
    writable = os.access(exists, os.W_OK)
    yield Finding(
        "data folder",
        "ok" if writable else "missing",
        f"{home} ({free:.0f} GB free)" + ("" if writable else ", not writable"),
        "" if writable else "export AGENTBENCH_HOME=<a folder you may write to>",
    )
    gpu = shutil.which("nvidia-smi") is not None
    yield Finding(
        "GPU",
        "ok" if gpu else "optional",
        "nvidia-smi found" if gpu else "none found; nothing here needs one",
    )


def _packages() -> Iterator[Finding]:
    requirements = [Requirement(text) for text in _requirements()]
    core = [each for each in requirements if each.marker is None]
    faults = [fault for each in core if (fault := _fault(each))]
    yield Finding(
        "core packages",
        "missing" if faults else "ok",
        "; ".join(faults) or f"all {len(core)} are there",
        how_to_install() if faults else "",
    )
    for extra, purpose in EXTRAS.items():
        wanted = [each for each in requirements if each.marker and each.marker.evaluate({"extra": extra})]
        # An installation that is older than the code beside it does not know every extra of it.
        faults = [fault for each in wanted if (fault := _fault(each))] if wanted else ["not known to this installation"]
        detail = "; ".join(faults) + f" ({purpose})" if faults else "installed"
        yield Finding(
            f"extra [{extra}]",
            "optional" if faults else "ok",
            detail,
            how_to_install(extra) if faults else "",
        )
    trackers = [name for name in TRACKERS if _fault(Requirement(name)) is None]
    yield Finding(
        "trackers",
        "ok" if trackers else "optional",
        ", ".join(trackers) if trackers else f"none of {', '.join(TRACKERS)} (curves beside metrics.jsonl, --sinks)",
        "" if trackers else f"pip install {TRACKERS[0]}",
    )


def _requirements() -> list[str]:
    """Return what this installation asks for; nothing where the code lies beside no installation of its own."""
    try:
        return importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _fault(requirement: Requirement) -> str | None:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} is not {requirement.specifier}"
    return None


def _data() -> Iterator[Finding]:
    for name, environment in ENVIRONMENTS.items():
        if environment.installer is None:
            continue
        folder: Path = data_home() / name
        files = sorted(path for path in folder.glob("**/*") if path.is_file()) if folder.is_dir() else []
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        yield Finding(
            f"data of {name}",
            "ok" if files else "optional",
            f"{folder}: {len(files)} files, {megabytes:.1f} MB" if files else "not installed",
            "" if files else f"agentbench install {name}",
        )
