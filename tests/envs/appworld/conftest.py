"""Fixtures of AppWorld's tests: they play in the real engine where it is installed, and are skipped elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envs.appworld import AppWorldEnv
from envs.appworld.layout import Layout, layout

_MOST_KEPT = 2


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
