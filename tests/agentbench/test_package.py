"""The package itself: its public face, registration with Gymnasium, and its guard against shadowed rooms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import agentbench


def test_every_public_name_is_there() -> None:
    for name in agentbench.__all__:
        assert getattr(agentbench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = agentbench.evaluat


def test_importing_registers_the_environments() -> None:
    script = "import gymnasium, agentbench; print('agentbench/ALFWorld-v0' in gymnasium.registry)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    assert "agentbench/ALFWorld-v0" in gymnasium.registry


def test_a_folder_that_shadows_a_room_is_named(tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", "import agentbench"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    assert "needs its own package 'envs'" in done.stderr and str(tmp_path / "envs") in done.stderr
