"""Make ``docs/settings.md`` from the declarations of all settings and options: ``python docs/site/settings.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer.main
from pages import cell, write

from agentbench.cli import app
from agentbench.cli.settings import panels_of
from agentbench.evaluation.config import EvaluateConfig
from agentbench.train.config import TrainConfig
from envs.base.options import REQUIRED, Option, declared
from envs.registry import ENVIRONMENTS
from envs.registry import options_of as env_options_of
from policies.registry import POLICIES

PATH = Path(__file__).resolve().parents[1] / "settings.md"

INTRODUCTION = """\
# Settings

*Made by `python docs/site/settings.py` from the declarations: change those, not this file.*

Every setting of evaluation and training, every option of the policies and environments. `group_size` is typed
`--group-size 8` on the command line and written `group_size = 8` in a file of settings (`train --config`);
`agentbench eval`, `clone`, `train` and `sweep` list theirs with `--help`. Options of a policy or an environment are
given to `eval` in the same way (`--max-steps 30`); a training has them as `policy_options` and `env_options`, in JSON.
`agentbench policies NAME`, `agentbench envs NAME` and `agentbench schemes NAME` list those of one, plug-ins' included.
In a column "may be", `none` means that nothing is chosen. The options of the schemes: [All schemes](schemes.md).
"""

HEAD = ("| | may be | default | |", "|:--|:--|:--|:--|")


def document() -> str:
    """Return the page."""
    root: Any = typer.main.get_command(app)
    lines = [INTRODUCTION]
    lines += ["## Evaluation", "", "`agentbench eval`, `agentbench.evaluate`.", *_panels(EvaluateConfig)]
    lines += ["", "## Cloning", "", "`agentbench clone`.", "", *_command(root.commands["clone"])]
    lines += ["", "## Training", "", "`agentbench train`, `agentbench.train`.", *_panels(TrainConfig)]
    lines += [
        "",
        "## Sweeps",
        "",
        "`agentbench sweep` takes the settings of training too, but for `scheme` and `seed`.",
    ]
    lines += ["", *_command(root.commands["sweep"])]
    lines += ["", "## Truth", "", "`agentbench truth`.", "", *_command(root.commands["truth"])]
    lines += ["", "## Policies", *_owners(POLICIES, lambda name: POLICIES[name].declared())]
    lines += ["", "## Environments", *_owners(ENVIRONMENTS, env_options_of)]
    return "\n".join(lines) + "\n"


def _panels(model: Any) -> Iterator[str]:
    for heading, options in panels_of(model).items():
        yield from ("", f"### {heading}", "", *HEAD, *_rows(options.values()))


def _owners(table: Any, options_of: Any) -> Iterator[str]:
    without = []
    for name in table.own:
        if options := options_of(name):
            yield from ("", f"### {name}", "", f"{cell(table[name].summary)}.", "", *HEAD, *_rows(options.values()))
        else:
            without.append(f"`{name}`")
    if without:
        yield from ("", f"No options: {', '.join(without)}.")


def _rows(options: Iterable[Option]) -> Iterator[str]:
    for each in options:
        yield _row(f"`{each.name}`", each, each.description)


def _command(command: Any) -> Iterator[str]:
    known = declared(command.callback)
    yield from HEAD
    for each in command.params:
        if each.name in known:
            yield _row(f"`{each.opts[0]}`", known[each.name], each.help or "")


def _row(name: str, option: Option, text: str) -> str:
    default = "needed" if option.default is REQUIRED else f"`{option.default_text}`" if option.default_text else ""
    return f"| {name} | {cell(option.brief)} | {default.replace('|', chr(92) + '|')} | {cell(text)} |"


if __name__ == "__main__":
    write(PATH, document())
