"""The package itself: its public face, registration with Gymnasium, and its guard against shadowed rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import gymnasium
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import agentbench

ROOT = Path(__file__).parents[2]
ROOMS = ("agentbench", "envs", "policies", "credit")


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


def imported() -> Iterator[tuple[str, Path]]:
    """Every other package that a module of ours imports by name, with the module."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Import):
                    yield from ((name.name.partition(".")[0], file) for name in node.names)
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    yield node.module.partition(".")[0], file


def test_mypy_finds_the_same_whatever_else_is_installed() -> None:
    """What is imported comes with our own requirements, or mypy is told that it may be missing.

    Else the linters pass as long as another package happens to bring it along, and fail on the next machine.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in ("train", "language", "ray", "trl"):
        asked += project["project"]["optional-dependencies"][extra]
    ours = {canonicalize_name(Requirement(each).name) for each in asked}
    told = {name.partition(".")[0] for each in project["tool"]["mypy"]["overrides"] for name in each["module"]}
    brought = packages_distributions()
    known = {*ROOMS, *told, *sys.stdlib_module_names}
    known |= {name for name, givers in brought.items() if ours & set(map(canonicalize_name, givers))}
    unsure = {name: str(file.relative_to(ROOT)) for name, file in imported() if name not in known}
    assert not unsure, f"no requirement of ours is sure to bring {unsure}"
