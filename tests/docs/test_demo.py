"""What `make demo` shows: learning on games that it was not taught by, and schemes whose intervals do not meet."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from documented_commands import REPOSITORY
from typer.testing import CliRunner

from agentbench.cli import app
from agentbench.evaluation.held_out import task_ids

RECIPE = tomllib.loads((REPOSITORY / "recipes" / "demo.toml").read_text(encoding="utf-8"))


def demo_commands(out: Path) -> dict[str, list[str]]:
    """Return the arguments of the demo's commands, by the folder in results/ that each writes to or reads first."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    variables = dict(re.findall(r"^(\w+) := (.*)$", text, re.MULTILINE))
    found = {}
    for line in re.findall(r"^\t\$\(BIN\)/agentbench (.*)$", text, re.MULTILINE):
        said = re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], ""), line)
        if match := re.search(r"results/demo-(\w+)", said):
            words = shlex.split(re.sub(r"\$\(wildcard (.*?)\)", r"\1", said))
            found[f"{words[0]} {match[1]}"] = [word.replace("results", str(out)) for word in words]
    return found


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_the_demo_is_taught_trained_and_judged_on_different_games(tmp_path: Path) -> None:
    taught = option(demo_commands(tmp_path)["eval games"], "--split")
    splits = [taught, RECIPE["split"], RECIPE["eval_split"]]
    games = [set(task_ids(RECIPE["env"], split, {})) for split in splits]
    assert sum(map(len, games)) == len(set.union(*games)) and len(games[2]) >= RECIPE["eval_tasks"]


def test_the_page_of_the_demo_has_its_sweep(tmp_path: Path) -> None:
    commands = demo_commands(tmp_path)
    sweep = option(commands["sweep sweep"], "--out")
    assert sweep in commands["report random"]
    assert RECIPE["policy"].replace("results", str(tmp_path)) == option(commands["clone games"], "--out")


@pytest.mark.slow
def test_the_demo_tells_schemes_apart_as_the_readme_shows(tmp_path: Path) -> None:
    commands, runner = demo_commands(tmp_path), CliRunner()
    assert runner.invoke(app, commands["truth exact"]).exit_code == 0
    said = runner.invoke(app, commands["quality exact"], env={"COLUMNS": "220"})
    assert said.exit_code == 0
    table = pd.read_csv(tmp_path / "demo-exact" / "quality.csv").set_index("scheme")
    assert table.loc["grpo", "pearson_high"] < table.loc["mapo", "pearson_low"]
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for scheme in option(commands["quality exact"], "--schemes").split(","):
        printed = next(line for line in said.output.splitlines() if line.startswith(f"{scheme} "))
        shown = next(line for line in readme.splitlines() if line.startswith(f"{scheme} "))
        assert printed.split()[:7] == shown.split()[:7]
