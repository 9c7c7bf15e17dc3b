"""The packed journal: what is whole is read whatever surrounds it, and any program's gzip is."""

from __future__ import annotations

import gzip
import random
import shutil
from pathlib import Path

import journals
import pytest
from toy_environment import UpPolicy

from agentbench import UserError, evaluate, open_run
from agentbench.runs.episodes import from_line, key_of
from agentbench.runs.journal import read_sorted, repair
from envs.base.journal import PACKED, PLAIN, journal_of, lines_of, packed, parts
from policies.plain.replay import ReplayPolicy

TABLES = ("episodes.parquet", "steps.parquet")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    evaluate("toy", UpPolicy(), out=folder, inline=True, trials=2)
    return folder


@pytest.fixture
def run(played: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(played, tmp_path / "run"))


def test_zcat_reads_it_a_line_an_episode(run: Path) -> None:
    lines = gzip.decompress((run / PACKED).read_bytes()).splitlines(keepends=True)
    assert lines == journals.stored(run) and len(lines) == 12
    assert [key_of(line) for line in lines] == [from_line(line).key for line in lines]


def test_whatever_byte_it_ends_at_the_whole_lines_before_are_read_and_kept(run: Path) -> None:
    """A kill, a full disk and a torn page can end the file anywhere."""
    path, whole = run / PACKED, (run / PACKED).read_bytes()
    lines = journals.stored(run)
    ends = [part.position for part in parts(path)] + [len(whole)]
    for size in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:size])
        read = journals.stored(run)
        complete = sum(end <= size for end in ends[1:])
        assert read in (lines[:complete], lines[: complete + 1]), "a line that lacks its member's last bytes is a line"
        assert len(repair(path)) == len(read)
        assert path.read_bytes() == whole[: ends[len(read)]], "only what is torn is cut off"


def test_a_changed_byte_costs_no_other_line(run: Path) -> None:
    path, whole, draw = run / PACKED, (run / PACKED).read_bytes(), random.Random(0)
    keys = {from_line(line).key for line in journals.stored(run)}
    for _ in range(300):
        place = draw.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << draw.randrange(8)]) + whole[place + 1 :])
        assert len({episode.key for episode in read_sorted(run)} & keys) >= len(keys) - 1
        assert len(repair(path)) >= len(keys) - 1
        assert len(list(read_sorted(run))) == len(repair(path)), "what was repaired is whole"


@pytest.mark.parametrize("form", ["unpacked", "packed by gzip", "packed and gone on with", "two in one"])
def test_a_run_goes_on_with_a_journal_that_somebody_packed_or_unpacked(run: Path, form: str) -> None:
    whole, before = journals.stored(run), [(run / name).read_bytes() for name in TABLES]
    if form == "unpacked":
        journals.unpack(run).write_bytes(b"".join(whole[:7]))
    elif form == "packed by gzip":
        (run / PACKED).write_bytes(gzip.compress(b"".join(whole[:7])))
    elif form == "two in one":
        (run / PACKED).write_bytes(gzip.compress(b"".join(whole[:4])) + gzip.compress(b"".join(whole[4:7])))
    else:
        more = b"".join(packed(line, run / PACKED) for line in whole[5:7])
        (run / PACKED).write_bytes(gzip.compress(b"".join(whole[:5])) + more)
    assert journals.stored(run) == whole[:7] and len(open_run(run).episodes) == 7
    evaluate("toy", UpPolicy(), out=run, inline=True, trials=2)
    assert [from_line(line).key for line in journals.stored(run)[:7]] == [from_line(line).key for line in whole[:7]]
    assert [(run / name).read_bytes() for name in TABLES] == before
    assert (run / PLAIN).exists() == (form == "unpacked")


def test_a_torn_end_of_many_lines_packed_as_one_costs_the_last_alone(run: Path) -> None:
    whole = journals.stored(run)
    content = gzip.compress(b"".join(whole), compresslevel=0)
    (run / PACKED).write_bytes(content[:-50])
    assert len(repair(run / PACKED)) == 11
    assert journals.stored(run) == whole[:11]


def test_replay_reads_both_kinds(run: Path) -> None:
    digest = ReplayPolicy.from_run(run).digest
    journals.unpack(run)
    assert ReplayPolicy.from_run(run).digest == digest


def test_a_small_file_that_unpacks_to_more_than_any_episode_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envs.base.journal._LARGEST", 100_000)
    (run / PACKED).write_bytes(packed(b" " * 10**7, run / PACKED))
    with pytest.raises(UserError, match="unpacks to more than 1 GB"):
        list(read_sorted(run))
    with pytest.raises(UserError, match="unpacks to more than 1 GB"):
        evaluate("toy", UpPolicy(), out=run, inline=True, trials=2)


def test_a_version_that_knows_plain_lines_alone_does_not_take_the_run_for_an_empty_one(run: Path) -> None:
    """It refuses folders of a schema above 2."""
    assert open_run(run).config["schema"] == 3 and journal_of(run).name == PACKED


def test_equal_lines_are_equal_bytes() -> None:
    path = Path(PACKED)
    assert packed(b"{}\n", path) == packed(b"{}\n", path)
    assert lines_of(packed(b"{}\n", path), path) == ([b"{}\n"], True)
