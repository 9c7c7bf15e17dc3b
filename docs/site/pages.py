"""What the programs that make pages of the documentation share."""

from __future__ import annotations

import sys
from pathlib import Path


def cell(text: str) -> str:
    """Return a text for a table of Markdown: on one line, and as it is."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def write(path: Path, text: str) -> None:
    """Write a page, or with ``--check`` end with a message if it is not up to date."""
    if "--check" in sys.argv[1:]:
        is_same = path.is_file() and path.read_text(encoding="utf-8") == text
        sys.exit(0 if is_same else f"{path.name} is out of date")
    path.write_text(text, encoding="utf-8")
