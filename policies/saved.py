"""Where a saved policy lies: a folder with :data:`POLICY_FILE`, or the folder of the training run around it."""

from __future__ import annotations

from pathlib import Path

POLICY_FILE, WEIGHTS_FILE = "policy.json", "weights.safetensors"
POLICY_FOLDER = "policy"
"""Within the folder of a training run."""


def is_saved(folder: Path) -> bool:
    """Return whether a policy was saved in a folder, or in the policy's folder of a run."""
    return any((place / POLICY_FILE).is_file() for place in (folder, folder / POLICY_FOLDER))


def saved_in(folder: Path) -> Path:
    """Return the policy's folder of a run, or the folder itself where it is no run's."""
    inner = folder / POLICY_FOLDER
    return inner if inner.is_dir() else folder
