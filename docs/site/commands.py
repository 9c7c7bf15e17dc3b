"""Make ``docs/commands.md`` from the commands' own help: ``python docs/site/commands.py``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from pages import cell, write

from agentbench.cli import app

PATH = Path(__file__).resolve().parents[1] / "commands.md"

INTRODUCTION = """\
# Commands

*Made by `python docs/site/commands.py` from what `agentbench COMMAND --help` prints: change that, not this file.*

The exit code is 0 if all went well, 1 if what was asked for is not so (a check that failed, a mismatch, something
missing, a run in which every episode ended in an error), 2 for a mistake that you can fix. Ctrl-C, SIGTERM and a
closed terminal end a command alike: what is finished is stored, workers end, and the exit code is 130, 143 or 129.
Messages go to the error stream, results to the output.

Commands that say "any other --name value" take the options of an environment, a policy, a scheme or a training run too:
`agentbench envs NAME`, `agentbench policies NAME` and `agentbench schemes NAME` list them, and [Settings](settings.md)
has those of evaluation and training. `on`, `off`, numbers and
JSON are read as such.
"""


def document() -> str:
    """Return the page."""
    root: Any = typer.main.get_command(app)
    commands = list(_commands(root, "agentbench"))
    lines = [INTRODUCTION, "| command | what it does |", "|:--|:--|"]
    for name, command in commands:
        lines.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {cell(_text(command)[0])} |")
    for name, command in commands:
        lines += ["", *_section(name, command)]
    return "\n".join(lines) + "\n"


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _text(command: Any) -> list[str]:
    """Return the paragraphs of a command's help, each as one line."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return [" ".join(paragraph.split()) for paragraph in paragraphs]


def _section(name: str, command: Any) -> list[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = [name, *(_argument(each) for each in arguments)]
    usage += [f"{each.opts[0]} {each.name.upper()}" for each in options if each.required]
    usage += ["[OPTIONS]"] if len(options) > sum(each.required for each in options) else []
    lines = [f"## {name}", "", *(f"{part}\n" for part in _text(command)), "```text", " ".join(usage), "```"]
    rows = [(f"`{_argument(each)}`", "", each.help) for each in arguments]
    rows += [(f"`{'`, `'.join([*each.opts, *each.secondary_opts])}`", _default(each), each.help) for each in options]
    if rows:
        lines += ["", "| | default | |", "|:--|:--|:--|"]
        lines += [f"| {' | '.join(cell(text or '') for text in row)} |" for row in rows]
    return lines


def _argument(argument: Any) -> str:
    name = argument.name.upper() + ("…" if argument.nargs == -1 or argument.multiple else "")
    return name if argument.required else f"[{name}]"


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.default in (None, (), [], "") or callable(option.default):
        return ""
    if isinstance(option.default, bool):
        return "yes" if option.default else "no"
    return f"`{option.default}`"


if __name__ == "__main__":
    write(PATH, document())
