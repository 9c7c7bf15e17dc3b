"""The plan of the code in ``docs/design.md`` is true, and what is imported is asked for: read from the imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

import networkx as nx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
ROOMS = ("agentbench", "credit", "policies", "envs")
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path.relative_to(REPOSITORY)
    for room in ROOMS
    for path in (REPOSITORY / room).rglob("*.py")
}


def imports(module: str) -> list[str]:
    """Return the dotted names that a module imports, those inside functions and for types alone too."""
    names = []
    for node in ast.walk(ast.parse((REPOSITORY / MODULES[module]).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            names += [f"{node.module}.{each.name}" for each in node.names]
    return names


NAMES = {module: imports(module) for module in MODULES}


def imported(module: str) -> set[str]:
    """Return the modules of ours that a module imports."""
    found = set()
    for name in NAMES[module]:
        while name and name not in MODULES:
            name = name.rpartition(".")[0]  # of a name inside a module, the module
        found |= {name} - {"", module}
    return found


IMPORTS = {module: imported(module) for module in MODULES}


def place(module: str) -> str:
    """Return the entry of the listing that a module belongs to: ``agentbench/runs``, ``credit/steps``."""
    room, *rest = MODULES[module].with_suffix("").parts
    return f"{room}/{rest[0]}"


def arrows() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {place(module): set() for module in MODULES}
    for module, targets in IMPORTS.items():
        here = place(module)
        for target in map(place, targets):
            if target != here:
                same_room = target.split("/")[0] == here.split("/")[0]
                found[here].add(target.split("/")[1] if same_room else target.split("/")[0])
    return found


def planned() -> dict[str, set[str]]:
    found, room = defaultdict(set), ""
    for line in (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[1:] == ["what is there", "imports"]:
            room = cells[0].rstrip("/")
        elif not line.startswith("|"):
            room = ""
        elif room and not cells[0].startswith(":"):
            found[f"{room}/{cells[0].strip('`')}"] = set(re.findall(r"\w+", cells[2]))
    return dict(found)


def test_no_import_goes_in_a_circle() -> None:
    graph = nx.DiGraph([(module, target) for module, targets in IMPORTS.items() for target in targets])
    assert [circle for circle in nx.strongly_connected_components(graph) if len(circle) > 1] == []


@pytest.mark.parametrize("entry", sorted({*arrows(), *planned()}))
def test_who_imports_whom_is_as_planned(entry: str) -> None:
    assert planned().get(entry) == arrows().get(entry), f"docs/design.md and the imports of {entry} do not agree"


def test_folders_do_not_import_each_other_in_a_circle() -> None:
    pairs = {(place(module), place(target)) for module, targets in IMPORTS.items() for target in targets}
    graph = nx.DiGraph([pair for pair in pairs if pair[0] != pair[1]])
    assert [circle for circle in nx.strongly_connected_components(graph) if len(circle) > 1] == []


def test_the_rooms_know_only_what_lies_below() -> None:
    below = {"envs": {"envs"}, "credit": {"credit"}, "policies": {"policies", "envs"}, "agentbench": set(ROOMS)}
    for module, targets in IMPORTS.items():
        room = module.split(".")[0]
        # the one exception: the foundation, which knows nobody
        reached = {target.split(".")[0] for target in targets if not target.startswith("envs.base")}
        assert reached <= below[room], module


def test_the_top_of_the_package_is_a_table_of_contents() -> None:
    entries = [path for path in (REPOSITORY / "agentbench").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 16
    loose = {path.name for path in entries if path.is_file()}
    assert loose == {"__init__.py", "__main__.py", "py.typed"}


def test_mypy_finds_the_same_whatever_else_is_installed() -> None:
    """What is imported comes with what ``make install`` asks for, or mypy is told that it may be missing.

    Else the linters pass as long as another package happens to bring it along, and fail on the next machine.
    """
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in ("train", "language", "ray", "trl"):
        asked += project["project"]["optional-dependencies"][extra]
    ours = {canonicalize_name(Requirement(each).name) for each in asked}
    told = {name.partition(".")[0] for each in project["tool"]["mypy"]["overrides"] for name in each["module"]}
    known = {*ROOMS, *told, *sys.stdlib_module_names}
    known |= {name for name, givers in packages_distributions().items() if ours & set(map(canonicalize_name, givers))}
    unsure = {name: module for module, names in NAMES.items() for name in names if name.partition(".")[0] not in known}
    assert not unsure, f"no requirement of ours is sure to bring {unsure}"
