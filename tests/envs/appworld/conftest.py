"""Fixtures of AppWorld's tests: they play in the real engine where it is installed, and are skipped elsewhere.

Where ``AGENTBENCH_APPWORLD_HOME`` says that it is installed, it must be; and where the system lets a process be
isolated, ours must be: a failure of our own is never a skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envs.appworld import AppWorldEnv
from envs.appworld.layout import Layout, installed, layout
from envs.base.errors import UserError
from envs.base.home import data_home

# Read at import: later every test gets an empty data folder of its own.
_CHOSEN = os.environ.get("AGENTBENCH_APPWORLD_HOME")
_HOME = Path(_CHOSEN).expanduser() if _CHOSEN else data_home()
_MOST_KEPT = 2


@pytest.fixture(scope="session")
def appworld_home() -> Path:
    """Return the data folder with AppWorld installed; skip where there is none."""
    try:
        installed(_HOME)
    except UserError as error:
        if _CHOSEN:
            raise
        pytest.skip(f"{error} (`make appworld`); AGENTBENCH_APPWORLD_HOME names another data folder")
    if not _system_isolates():
        pytest.skip("this system gives no process a file system, process numbers and a network of its own")
    return _HOME


def _system_isolates() -> bool:
    """Ask the system's own command for what our sandbox needs."""
    if shutil.which("unshare") is None:
        return True
    spaces = ["unshare", "--mount", "--pid", "--net", "--fork"]
    mount = ["mount", "-t", "tmpfs", "none", "/tmp"]
    ways = ([*spaces, *mount], [*spaces, "--user", "--map-root-user", *mount])
    return any(subprocess.run(way, capture_output=True, check=False).returncode == 0 for way in ways)


@pytest.fixture(scope="session")
def _kept(appworld_home: Path) -> Iterator[dict[str, AppWorldEnv]]:
    environments: dict[str, AppWorldEnv] = {}
    yield environments
    for environment in environments.values():
        environment.close()


@pytest.fixture
def make_env(
    appworld_home: Path, monkeypatch: pytest.MonkeyPatch, _kept: dict[str, AppWorldEnv]
) -> Callable[..., AppWorldEnv]:
    """Return a maker of environments; equal options share one, since starting a player takes seconds."""
    monkeypatch.setenv("AGENTBENCH_HOME", str(appworld_home))

    def make(**options: Any) -> AppWorldEnv:
        key = repr(sorted(options.items()))
        environment = _kept.pop(key, None) or AppWorldEnv(**options)
        _kept[key] = environment
        while len(_kept) > _MOST_KEPT:
            _kept.pop(next(iter(_kept))).close()
        return environment

    return make


@pytest.fixture
def place(appworld_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Layout]:
    """Return an installation of a test's own that shares the package of the real one."""
    monkeypatch.setenv("AGENTBENCH_HOME", str(tmp_path / "home"))
    real, own = layout(appworld_home), layout()
    own.folder.mkdir(parents=True)
    own.venv.symlink_to(real.venv)
    shutil.copytree(real.folder / "mini", own.folder / "mini")
    shutil.copy(real.record, own.record)
    own.mount_point.mkdir()
    yield own
    shutil.rmtree(own.folder)
