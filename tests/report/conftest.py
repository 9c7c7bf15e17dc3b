"""Small runs to make pages of, and a real browser to look at them with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from report_runs import Writer, make_episode, write_run


@pytest.fixture
def weak(tmp_path: Path) -> Path:
    """A run of two tasks with two trials each, one success; one observation holds markup that would run."""
    return write_run(
        tmp_path / "weak",
        [
            make_episode(0, 0, ["hall", "cellar", "hall"], False, evil=True),
            make_episode(0, 1, ["hall", "attic"], True),
            make_episode(1, 0, ["porch", "garden"], False),
            make_episode(1, 1, ["porch", "garden"], False),
        ],
    )


@pytest.fixture
def strong(tmp_path: Path) -> Path:
    """A run of the same two tasks, all solved."""
    episodes = [make_episode(task, trial, ["hall", "attic"], True) for task in (0, 1) for trial in (0, 1)]
    return write_run(tmp_path / "strong", episodes)


@pytest.fixture
def train_run(tmp_path: Path) -> Writer:
    """Write a training run with one held-out success rate a step."""

    def write(name: str, rates: Sequence[float], **identity: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        settings = {"kind": "train", "env": "toy", "scheme": "gigpo", "seed": 0} | identity
        (folder / "run.json").write_text(json.dumps({"schema": 1, "identity": settings, "kind": "train"}))
        rows = [{"step": 10 * place, "eval/success": rate} for place, rate in enumerate(rates)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium; skips where it, its driver or selenium is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver on the path: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    switches = [
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
    ]
    switches += ["disable-component-update", "disable-sync", "window-size=1280,900"]
    for switch in [*switches, f"user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()
