"""docs/errors.md draws every exception class of the project, under its base and with its file."""

from __future__ import annotations

import ast
import builtins
import re

from documented_commands import REPOSITORY

ROOMS = ("agentbench", "credit", "envs", "policies")
LINE = re.compile(r"^(?P<lead>[│ ]*)[├└]── (?P<name>\w+)(?: +(?P<file>\S+\.py) +\S.*)?$")


def in_the_code() -> dict[str, tuple[str, str]]:
    """Return every exception class that is defined in the rooms: name -> base, file."""
    classes = {}
    for room in ROOMS:
        for path in sorted((REPOSITORY / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
                    classes[node.name, path.relative_to(REPOSITORY).as_posix()] = bases
    known = {
        name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
    }
    found: dict[str, tuple[str, str]] = {}
    while True:
        more = {
            name: (base, file)
            for (name, file), bases in classes.items()
            for base in bases
            if name not in found and base in known | found.keys()
        }
        if not more:
            return found
        found |= more


def on_the_page() -> dict[str, tuple[str, str]]:
    """Return the classes of ours in the tree of the page: name -> base, file."""
    page = (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8")
    tree = page.partition("```text\n")[2].partition("```")[0].splitlines()
    above = [tree[0]]
    drawn = {}
    for line in tree[1:]:
        match = LINE.match(line)
        assert match, f"a line of the tree that is none: {line}"
        depth = len(match["lead"]) // 4 + 1
        if match["file"]:
            drawn[match["name"]] = above[depth - 1], match["file"]
        above[depth:] = [match["name"]]
    return drawn


def test_every_exception_class_is_drawn_under_its_base_with_its_file() -> None:
    assert on_the_page() == in_the_code()
