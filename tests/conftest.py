"""Fixtures for all tests: where the recorded reference data lies, a home of their own, AppWorld, the program in this
process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from appworld_here import appworld_home, two_tasks  # noqa: F401  (fixtures)

from agentbench.cli import main

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


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the program in this process, in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agentbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
            raise SystemExit(0)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call
