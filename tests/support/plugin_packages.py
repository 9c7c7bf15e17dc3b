"""Packages with plug-ins, put into a folder as an installer would, and the program run with that folder on its path."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def write_package(folder, name, points, modules):
    """Put modules and the metadata of a package into a folder, as an installer would."""
    about = folder / f"{name}-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    groups = [
        f"[agentbench.{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in points.items()
    ]
    (about / "entry_points.txt").write_text("\n".join(groups))
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    return folder


def agentbench(folder, *arguments, module="agentbench"):
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


def install_examples(folder):
    """Install the worked examples of the documentation from their own pyproject.toml."""
    project = tomllib.loads((EXAMPLES / "pyproject.toml").read_text())["project"]
    points = {group.removeprefix("agentbench."): named for group, named in project["entry-points"].items()}
    write_package(folder, "agentbench_examples", points, {})
    for module in EXAMPLES.glob("*.py"):
        shutil.copy(module, folder)
    return folder
