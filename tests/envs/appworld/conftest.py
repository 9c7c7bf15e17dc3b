"""Fixtures of AppWorld's tests: they play in the real engine where it is installed, and are skipped elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envs.appworld import AppWorldEnv
from envs.appworld.layout import installed
from envs.errors import UserError
from envs.home import data_home

# Read at import: later every test gets an empty data folder of its own.
_CHOSEN = os.environ.get("AGENTBENCH_APPWORLD_HOME")
_HOME = Path(_CHOSEN).expanduser() if _CHOSEN else data_home()


@pytest.fixture(scope="session")
def appworld_home() -> Path:
    """Return the data folder with AppWorld installed; skip where there is none."""
    try:
        installed(_HOME)
    except UserError as error:
        pytest.skip(f"{error} (`make appworld`); AGENTBENCH_APPWORLD_HOME names another data folder")
    return _HOME


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
        if key not in _kept:
            try:
                _kept[key] = AppWorldEnv(**options)
                _kept[key].reset(options={"task": "alarmoff_1"})
            except UserError as error:
                _kept.pop(key, None)
                pytest.skip(str(error))
        return _kept[key]

    return make
