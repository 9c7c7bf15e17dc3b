"""Every part of the fault campaign in its small form; ``-m slow`` makes as many faults as the published table."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from campaign import PARTS, page, run_part


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if part.few])
def test_the_promise_holds(tmp_path: Path, name: str) -> None:
    check(tmp_path, name, PARTS[name].few)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", PARTS)
def test_the_promise_holds_often(tmp_path: Path, name: str) -> None:
    check(tmp_path, name, PARTS[name].times)


def check(folder: Path, name: str, times: int) -> None:
    part = PARTS[name]
    if why := part.why_not():
        pytest.skip(why)
    tally = part.make(folder, times, random.Random(times))
    assert tally.is_clean, tally.notes
    assert tally.faults >= times * 0.5  # on some disks there is room after all


def test_a_page_is_written() -> None:
    rows = [run_part(PARTS["alfworld"], 0.001, 0)]
    assert "| hostile action in ALFWorld | 10 |" in page(rows)
