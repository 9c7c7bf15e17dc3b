"""Columns that go to and from Arrow without pandas are what pyarrow makes with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentbench.runs import arrow

TEXTS = st.none() | st.text("abä€🙂", max_size=6)
KINDS = {
    "whole": (pa.int64(), st.none() | st.integers(-(2**53), 2**53)),
    "number": (pa.float64(), st.none() | st.floats(allow_nan=False)),
    "truth": (pa.bool_(), st.none() | st.booleans()),
    "text": (pa.string(), TEXTS),
    "texts": (pa.list_(pa.string()), st.none() | st.lists(TEXTS, max_size=3)),
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in KINDS.items()], metadata={"a": "b"})
ROWS = st.lists(st.fixed_dictionaries({}, optional={name: values for name, (_, values) in KINDS.items()}), max_size=12)


@settings(deadline=None)
@given(ROWS)
def test_a_table_is_the_one_that_pyarrow_makes_of_rows(rows: list[dict[str, object]]) -> None:
    made = arrow.table(rows, SCHEMA)
    made.validate(full=True)
    assert made.equals(pa.Table.from_pylist(rows, schema=SCHEMA), check_metadata=True)
    for begin in (0, 1, 5):  # what is read has offsets, and its columns are in pieces
        part = pa.concat_tables([made.slice(begin, 3), made.slice(begin + 3)])
        read = arrow.columns(part)
        assert {name: column.tolist() for name, column in read.items()} == part.to_pydict()


def test_columns_without_nulls_have_types_of_their_own() -> None:
    rows: list[dict[str, object]] = [
        {"whole": 1, "number": 0.5, "truth": True, "text": "a"},
        {"whole": 2, "number": 1.0, "truth": False},
    ]
    read = arrow.columns(arrow.table(rows, SCHEMA))
    kinds = {name: column.dtype for name, column in read.items()}
    objects = dict.fromkeys(("text", "texts"), np.dtype(object))
    assert kinds == {"whole": np.int64, "number": np.float64, "truth": np.bool_, **objects}
    with pytest.raises(ValueError, match="1 values are missing"):
        arrow.numbers(pa.chunked_array([pa.array([1, None])]))


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=12), st.integers(0, 4))
def test_texts_that_repeat_themselves_are_places_among_the_different_ones(texts: list[str | None], begin: int) -> None:
    coded = pa.chunked_array([pa.array(part, pa.string()).dictionary_encode() for part in (texts[:3], texts[3:])])
    places, different = arrow.codes(coded.slice(begin))
    known = [*different.to_pylist(), None]
    assert [known[place] for place in places] == texts[begin:]


def test_playing_summing_up_showing_and_a_page_need_no_pandas(tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    played = ["eval", "--split", "generated:0:3", "--trials", "2", "--inline", "--out", run]
    script = (
        "import sys\nfrom agentbench.cli import main\n"
        f"for words in ({played!r}, ['show', {run!r}]):\n"
        "    sys.argv = ['agentbench', *words]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "print([name for name in ('pandas', 'pyarrow.compute', 'credit') if name in sys.modules])\n"
        f"sys.argv = ['agentbench', 'report', {run!r}, '--out', {run + '.html'!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('pandas',) if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("[")] == ["[]", "[]"]
    assert (tmp_path / "run.html").stat().st_size > 50_000
    assert "pass@k" in done.stdout
    assert pq.read_table(tmp_path / "run" / "episodes.parquet").num_rows == 6
