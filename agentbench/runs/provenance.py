"""Where a run comes from: versions, git revision, machine; and hashes that stay the same everywhere."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from functools import lru_cache
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


def step_seed(seed: int, task_id: str, trial: int, step: int) -> int:
    """Return ``stable_seed(seed, task_id, trial, step)``, of which only the last part is new at every step."""
    digest = _begun(seed, task_id, trial).copy()
    digest.update(b"%d]" % step)
    return int.from_bytes(digest.digest()[:8]) >> 1


@lru_cache(maxsize=4096)
def _begun(*parts: Any) -> hashlib._Hash:
    """Return the hash of all but the last part of what :func:`stable_seed` writes and hashes."""
    return hashlib.sha256(json.dumps([*parts, 0], default=str)[:-2].encode())


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
