"""Fixtures for all tests: where the recorded reference data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Small networks are slower with several threads, and several test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of recorded reference data; skip where it is absent.

    It is ``$AGENTBENCH_SHARED``, or ``shared`` beside the repository.
    """
    folder = Path(os.environ.get("AGENTBENCH_SHARED") or REPOSITORY.parent / "shared")
    if not (folder / "reference").is_dir():
        pytest.skip(f"reference data not found at {folder}: set AGENTBENCH_SHARED to its folder")
    return folder


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty data folder of its own, so that no test sees what is installed here."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AGENTBENCH_HOME", str(home))
    return home
