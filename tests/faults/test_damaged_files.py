"""Truncated, flipped and replaced files of a run: the numbers stay right, or one clear message says what is wrong."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_environment  # registers the environment 'toy'

from agentbench import UserError, evaluate, open_run
from agentbench.episodes import from_line

FILES = ("run.json", "episodes.jsonl", "episodes.parquet", "steps.parquet", "tables.json")


def flip(content: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << generator.randrange(8)]) + content[place + 1 :]


def cut(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randrange(len(content))]


def replace(content: bytes, generator: random.Random) -> bytes:
    return generator.choice([b"", b"{}", b"[]", b"null", b'"text"', b"[" * 100_000, generator.randbytes(len(content))])


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {"flipped": flip, "cut": cut, "replaced": replace}


def play(out: Path) -> None:
    evaluate("toy", toy_environment.UpPolicy(lazy=[1]), out=out, inline=True)


def check(whole: Path, damaged: Path) -> str:
    """Read and resume a damaged run; say how it ended, or fail."""
    expected = open_run(whole)
    try:
        run = open_run(damaged)
        # A line that was lost counts as not finished; all that is shown must be what was played.
        shown = run.episodes.set_index(["task_id", "trial"]).drop(columns="episode")
        true = expected.episodes.set_index(["task_id", "trial"]).drop(columns="episode")
        assert shown.equals(true.loc[shown.index]), "a wrong number"
        assert len(run.step_table) == shown["steps"].sum(), "a step was lost or doubled"
        play(damaged)
        for name in ("episodes", "steps"):
            assert (damaged / f"{name}.parquet").read_bytes() == (whole / f"{name}.parquet").read_bytes()
    except UserError as error:
        assert "\n" not in str(error)
        return "told"
    return "mended"


def damage_often(folder: Path, times: int, seed: int) -> dict[str, int]:
    """Damage one file of a run at random, ``times`` times; return how often that was told and mended."""
    generator, counts = random.Random(seed), {"told": 0, "mended": 0}
    play(folder / "whole")
    for number in range(times):
        damaged = folder / "damaged"
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(folder / "whole", damaged)
        path = damaged / FILES[number % len(FILES)]
        damage = list(DAMAGES)[number // len(FILES) % len(DAMAGES)]
        path.write_bytes(DAMAGES[damage](path.read_bytes(), generator))
        counts[check(folder / "whole", damaged)] += 1
    return counts


@pytest.mark.parametrize("times", [30, pytest.param(600, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_damage_to_a_run_is_mended_or_told(tmp_path: Path, times: int) -> None:
    counts = damage_often(tmp_path, times, seed=times)
    assert counts["told"] and counts["mended"]


def test_a_changed_digit_in_a_line_is_noticed(tmp_path: Path) -> None:
    play(tmp_path)
    line = (tmp_path / "episodes.jsonl").read_bytes().splitlines()[0]
    assert from_line(line).score == 1.0
    with pytest.raises(ValueError, match="its checksum is another"):
        from_line(line.replace(b'"score":1.0', b'"score":0.0'))


def test_a_line_of_the_first_schema_is_read(tmp_path: Path) -> None:
    play(tmp_path)
    record = json.loads((tmp_path / "episodes.jsonl").read_bytes().splitlines()[0])
    del record["crc32"]
    with pytest.raises(ValueError, match="its checksum is missing"):
        from_line(json.dumps(record))
    assert from_line(json.dumps(record | {"schema": 1})).score == 1.0


def test_a_clock_that_jumps_back_leaves_no_old_table(tmp_path: Path) -> None:
    """The tables look newer than the lines that came after them: by content they are not current."""
    play(tmp_path)
    lines = (tmp_path / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "episodes.jsonl").write_bytes(b"".join(lines[:-1]))
    assert len(open_run(tmp_path).episodes) == 5
    (tmp_path / "episodes.jsonl").write_bytes(b"".join(lines))
    os.utime(tmp_path / "episodes.jsonl", (1, 1))
    assert len(open_run(tmp_path).episodes) == 6


@pytest.mark.parametrize("value", ['"x"', "null", "[]", "{}", "1e999", "-1"])
@pytest.mark.parametrize("name", ["schema", "steps", "task_id", "trial", "outcome", "score"])
def test_a_value_of_another_kind_is_no_episode(tmp_path: Path, name: str, value: str) -> None:
    record = '{"schema":1,"task_id":"a","task_name":"a","task_type":"","instruction":"","trial":0,"outcome":"failure",'
    record += '"won":false,"score":0.0,"steps":[]}'
    fields = json.loads(record) | {name: json.loads(value)}
    try:
        episode = from_line(json.dumps(fields))
    except ValueError:
        return
    assert isinstance(getattr(episode, name, 0), type(json.loads(record)[name]) | int)
