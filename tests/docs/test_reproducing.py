"""docs/reproducing.md has a row for every published result, with a command that exists."""

from __future__ import annotations

import re
import shlex

import pytest
from documented_commands import REPOSITORY

PAGE = (REPOSITORY / "docs" / "reproducing.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\| .+? \| `([^`]+)` \|", PAGE, flags=re.MULTILINE)


def test_every_published_page_has_a_row() -> None:
    pages = {path.name for path in (REPOSITORY / "results" / "published").glob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"published/([\w-]+\.md)", PAGE))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_a_script_and_options_that_exist(command: str) -> None:
    words = shlex.split(command)
    options = [word for word in words if word.startswith("--")]
    if words[0] == "python":
        text = (REPOSITORY / words[1]).read_text(encoding="utf-8")
        assert all(f'"{option}"' in text for option in options)
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    else:
        assert words[0] == "agentbench"
        page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
        section = page.partition(f"\n## agentbench {words[1]}\n")[2].partition("\n## ")[0]
        settings = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")  # of evaluation and training
        fields = {f"--{name.replace('_', '-')}" for name in re.findall(r"^\| `(\w+)` \|", settings, flags=re.MULTILINE)}
        known = set(re.findall(r"`(--[\w-]+)`", section)) | fields | {"--goals", "--anchor"}  # options of the shop
        assert section and set(options) <= known
