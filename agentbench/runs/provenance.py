"""Where a run comes from: versions, git revision, machine; and hashes that stay the same everywhere."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from envs.base.digest import number_of
from envs.base.version import __version__

PACKAGES = (
    "gymnasium",
    "numpy",
    "pandas",
    "pyarrow",
    "alfworld",
    "textworld",
    "torch",
    "transformers",
    "vllm",
)


def stable_seed(*parts: Any) -> int:
    """Mix ``parts`` into a seed in [0, 2**63): the same in every process and on every machine."""
    return number_of(json.dumps(parts, default=str)) >> 1


def describe() -> dict[str, Any]:
    """Return versions, git revision of the working tree's code, Python, host name and processor count."""
    versions = {"agentbench": __version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "git": git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cores": os.cpu_count(),
    }


def git_revision() -> str | None:
    """Return the commit of this package's checkout (``+changes`` if the tree differs), or None outside git."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(here)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changes = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
