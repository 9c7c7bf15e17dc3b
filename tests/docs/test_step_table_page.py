"""The page of the step table says of every column what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from credit import SCHEMES
from credit.steps import KINDS, OPTIONAL

PAGE = Path(__file__).parents[2] / "docs" / "step-table.md"
ALWAYS = ("group", "episode", "step", "reward")
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| .+ \| (?P<needed>.+) \|$", re.MULTILINE)
OWN = [name for name, scheme in SCHEMES.items() if scheme.function.__module__.startswith("credit.schemes.")]


def test_every_column_stands_on_the_page_with_its_type_and_the_schemes_that_need_it() -> None:
    rows = {row["name"]: row for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}
    kinds = {**KINDS, **OPTIONAL}
    assert set(rows) == set(kinds)
    words = {int: {"id", "integer"}, float: {"float"}, bool: {"boolean"}}
    for name, row in rows.items():
        assert row["kind"] in words[kinds[name]], name
        needed = [scheme for scheme in OWN if name in SCHEMES[scheme].needs]
        told = "all" if name in ALWAYS else sorted(re.findall(r"\w+", row["needed"]))
        assert told == ("all" if name in ALWAYS else sorted(needed)), name
