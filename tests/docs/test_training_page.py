"""The tables of the training page are those that its script makes from the published runs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from documented_commands import REPOSITORY

PAGE = REPOSITORY / "results" / "published" / "training.md"


def test_the_tables_are_those_of_the_published_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = REPOSITORY / "tests" / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    script = runpy.run_path(str(folder / "training_tables.py"))
    page = PAGE.read_text(encoding="utf-8")
    assert script["published"]()
    for name in script["published"]():
        runs = script["read_runs"](name)
        table = script["table"](runs, script["compared"](runs, "success"), script["compared"](runs, "area")).strip()
        assert f"<!-- {name} -->\n{table}\n<!-- end of {name} -->" in page


def test_the_page_is_short_and_begins_with_its_picture() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("!["))
    assert len(lines) <= 150 and not any(line.startswith(("##", "|")) for line in lines[:first])
    assert Path(PAGE.parent / lines[first].partition("](")[2].rstrip(")")).is_file()
