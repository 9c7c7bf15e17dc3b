"""From a file to its records, whatever it is packed, encoded or laid out as; or the reason why there are none.

What a file is, its first bytes say and not its name: gzip, bzip2, xz, Zstandard; Parquet; UTF-8 (with a mark of the
byte order or without), UTF-16, UTF-32; one JSON object a line, one list of objects, one object, or several after each
other on any lines; a table of comma- or tab-separated values.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from agentbench.importing.parts import MAX_BYTES, Bad, BadPartError, parse_object, plain_list

Found = tuple[str, dict[str, Any] | Bad]

ENDINGS = (".jsonl", ".ndjson", ".json", ".eval", ".parquet", ".csv", ".tsv", ".traj")
PACKED = (".gz", ".bz2", ".xz", ".zst")
WRAPPERS = ("data", "episodes", "rollouts", "trajectories", "records", "results", "items", "examples", "rows")
"""Names under which an object holds the list of the records and nothing else of that kind."""

_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)
_HEAD = 1 << 16
_OTHER = (
    (b"PK", "a zip archive that is no log of Inspect: unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite format 3", "an SQLite database: write its rows as JSON lines"),
    (b"\x80\x04", "a Python pickle, which is never opened: it could run any program"),
    (b"\x80\x05", "a Python pickle, which is never opened: it could run any program"),
    (b"ARROW1", "an Arrow file: write it as Parquet or JSON lines"),
)


def is_log_name(path: Path) -> bool:
    """Return whether a file in a folder is one that could hold a log, by its ending; packed ones too."""
    return unpacked_name(path).lower().endswith(ENDINGS)


def unpacked_name(path: Path) -> str:
    """Return a file's name without the ending of what packed it."""
    name = path.name
    for ending in PACKED:
        name = name.removesuffix(ending)
    return name


def plain_name(path: Path) -> str:
    """Return a file's name without the endings that say what is in it."""
    name = unpacked_name(path)
    ending = next((each for each in ENDINGS if name.lower().endswith(each)), "")
    return name[: len(name) - len(ending)]


def read_records(path: Path) -> Iterator[Found]:
    """Yield ``(place, record)`` of every record of a file; what is none comes as :class:`Bad` with the reason.

    Places are ``file:line``, or ``file[index]`` in a list and in a table. Empty lines are skipped. No line longer
    than :data:`MAX_BYTES`, and no longer file that is not in lines, is held in memory.
    """
    try:
        yield from _records(path)
    except BadPartError as error:
        yield path.name, Bad(path.name, str(error))
    except _BROKEN as error:
        yield path.name, Bad(path.name, f"cannot be read to its end ({error or type(error).__name__}): it is damaged")


def _records(path: Path) -> Iterator[Found]:
    if path.stat().st_size == 0:
        raise BadPartError("the file is empty")
    with path.open("rb") as raw, _unpacked(raw) as file:
        head = file.peek(_HEAD)[:_HEAD]
        if head.startswith(b"PAR1"):
            yield from _parquet(path.name, file)
            return
        for magic, what in _OTHER:
            if head.startswith(magic):
                raise BadPartError(what)
        if head[257:262] == b"ustar":
            raise BadPartError("a tar archive: unpack it first")
        text = _as_utf8(file, head)
        start = text.peek(_HEAD)[:_HEAD].lstrip()
        if not start:
            raise BadPartError("the file is empty" if not head else "the file has only white space")
        yield from _text(path, text, start)


def _unpacked(raw: BinaryIO) -> io.BufferedReader:
    """Return the content of a file, unpacked if it is packed."""
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return io.BufferedReader(cast(Any, gzip.GzipFile(fileobj=raw)), _HEAD)
    if magic.startswith(b"BZh"):
        return io.BufferedReader(cast(Any, bz2.BZ2File(raw)), _HEAD)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return io.BufferedReader(cast(Any, lzma.LZMAFile(raw)), _HEAD)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        return io.BufferedReader(_Stream(pa.CompressedInputStream(raw, "zstd")), _HEAD)
    return cast(io.BufferedReader, raw) if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(Any, raw))


class _Stream(io.RawIOBase):
    """What pyarrow unpacks, as a file of Python's."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._source.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


class _Recoded(io.RawIOBase):
    """A file in another encoding, as UTF-8."""

    def __init__(self, source: BinaryIO, encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ended = False
        while not self._waiting and not ended:
            found = self._source.read(_HEAD)
            ended = not found
            self._waiting = self._decoder.decode(found, final=ended).encode("utf-8", "surrogatepass")
        given, self._waiting = self._waiting[: len(buffer)], self._waiting[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)


def _as_utf8(file: io.BufferedReader, head: bytes) -> io.BufferedReader:
    """Return a text file as UTF-8 without a mark of the byte order."""
    if head.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
        return file
    encoding = None
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif head[1:2] == b"\0" and head[:1] in b"[{":
        encoding = "utf-16-le"
    elif head[:1] == b"\0" and head[1:2] in (b"[", b"{"):
        encoding = "utf-16-be"
    if encoding:
        return io.BufferedReader(_Recoded(cast(BinaryIO, file), encoding), _HEAD)
    return file


def _text(path: Path, file: io.BufferedReader, start: bytes) -> Iterator[Found]:
    first = start.split(b"\n", 1)[0].strip()
    if first[:1] not in b"[{" and path.suffix.lower() in (".csv", ".tsv"):
        yield from _table(path.name, file, "\t" if path.suffix.lower() == ".tsv" else ",")
    elif first[:1] == b"[" or (first[:1] == b"{" and b"\n" in start and not _is_json(first)):
        yield from _whole(path.name, file)
    else:
        yield from _lines(path.name, file)


def _is_json(line: bytes) -> bool:
    """Return whether a line is JSON by itself; a line that is longer than what was looked at counts as such."""
    try:
        json.loads(line)
    except RecursionError:
        return True
    except ValueError:
        return len(line) >= _HEAD - 1
    return True


def _lines(name: str, file: BinaryIO) -> Iterator[Found]:
    number = 0
    while line := file.readline(MAX_BYTES):
        number += 1
        where = f"{name}:{number}"
        if len(line) == MAX_BYTES and not line.endswith(b"\n"):
            yield where, Bad(where, f"longer than {MAX_BYTES} bytes; the rest of the file is not read")
            return
        if line.strip():
            try:
                record = parse_object(line)
            except BadPartError as error:
                yield where, Bad(where, str(error))
                continue
            yield from _unwrapped(where, record)


def _whole(name: str, file: BinaryIO) -> Iterator[Found]:
    """Read a file that is one list, one object, or several objects after each other on any lines."""
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BadPartError(f"longer than {MAX_BYTES} bytes: write one object a line, as .jsonl")
    lines = content.split(b"\n")
    try:
        text, error = _decoded(content), None
    except BadPartError:
        if not any(map(_is_object, lines)):
            raise
        yield from _lines(name, io.BytesIO(content))  # a file of lines of which some are in another encoding
        return
    decoder, position, values = json.JSONDecoder(), 0, 0
    while (position := _after_space(text, position)) < len(text):
        try:
            value, end = decoder.raw_decode(text, position)
        except RecursionError:
            error = "nested too deeply"
            break
        except ValueError as problem:
            error = f"not JSON ({problem})"
            break
        line = 1 + text.count("\n", 0, position)
        position, values = end, values + 1
        if isinstance(value, list) and values == 1 and not text[end:].strip():
            yield from plain_list(name, value)
        elif isinstance(value, dict):
            yield from _unwrapped(name if values == 1 and not text[end:].strip() else f"{name}:{line}", value)
        else:
            yield f"{name}:{line}", Bad(f"{name}:{line}", f"not a JSON object but {type(value).__name__}")
    if error is None:
        return
    if values == 0 and any(map(_is_object, lines)):
        yield from _lines(name, io.BytesIO(content))  # a file of lines whose first one is damaged
        return
    if values == 0 and text[position] == "[":
        yield from _begun_list(name, text, position + 1)
        return
    where = f"{name}:{1 + text.count(chr(10), 0, position)}"
    cut = " — the file ends in the middle of it" if _is_cut(error, text) else ""
    yield where, Bad(where, f"{error}{cut}")


def _begun_list(name: str, text: str, position: int) -> Iterator[Found]:
    """Yield the records of a damaged list as far as they are whole, then what is wrong and where."""
    decoder, index = json.JSONDecoder(), 0
    while True:
        where = f"{name}[{index}]"
        try:
            position = _after_space(text, position)
            value, position = decoder.raw_decode(text, position)
        except RecursionError:
            yield where, Bad(where, "nested too deeply; the rest of the file is not read")
            return
        except ValueError as problem:
            cut = " — the file ends in the middle of it" if _is_cut(str(problem), text) else ""
            yield where, Bad(where, f"not JSON ({problem}){cut}; the rest of the file is not read")
            return
        yield from ((where, each) for _, each in plain_list(name, [value]))
        index += 1
        position = _after_space(text, position)
        if text[position : position + 1] != ",":
            where = f"{name}[{index}]"
            yield where, Bad(where, "the list ends in the middle, or has no comma here; the rest is not read")
            return
        position += 1


def _is_cut(error: str, text: str) -> bool:
    """Return whether JSON is wrong at its very end alone."""
    at = error.rpartition("(char ")[2].rstrip(")")
    return "Unterminated" in error or (at.isdigit() and int(at) >= len(text.rstrip()) - 1)


def _is_object(line: bytes) -> bool:
    if not line.strip().startswith(b"{"):
        return False
    try:
        parse_object(line)
    except BadPartError:
        return False
    return True


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise BadPartError(f"not UTF-8 text (byte 0x{content[error.start]:02x} in line {line})") from None


def _after_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _unwrapped(where: str, record: dict[str, Any]) -> Iterator[Found]:
    """Yield a record, or those that it holds as its one list of objects and nothing else in such a list."""
    lists = {
        name: value
        for name, value in record.items()
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
    }
    name = next(iter(lists), "")
    if len(lists) == 1 and name in WRAPPERS and "eval" not in record and not _is_message(lists[name][0]):
        yield from plain_list(f"{where} {name}", lists[name])
    else:
        yield where, record


def _is_message(value: dict[str, Any]) -> bool:
    return "role" in value or "from" in value


def _table(name: str, file: io.BufferedReader, separator: str) -> Iterator[Found]:
    """Read comma-separated values: every row is a record, cells that are JSON are what they say."""
    csv.field_size_limit(MAX_BYTES)
    lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        for row in (reader := csv.DictReader(lines, delimiter=separator)):
            where = f"{name}:{reader.line_num}"
            yield where, {key: _cell(value) for key, value in row.items() if isinstance(key, str) and value}
    except UnicodeDecodeError as error:
        raise BadPartError(f"not UTF-8 text ({error})") from None
    except csv.Error as error:
        raise BadPartError(f"no table of comma-separated values ({error})") from None


def _cell(text: str) -> object:
    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text) if text[:1] in '[{-"' or text[:1].isdigit() or text in ("true", "false") else text
    except (ValueError, RecursionError):
        return text


def _parquet(name: str, file: io.BufferedReader) -> Iterator[Found]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source: Any = file if file.seekable() else io.BytesIO(file.read(MAX_BYTES))
        number = 0
        for batch in pq.ParquetFile(source).iter_batches(batch_size=64):
            for row in batch.to_pylist():
                yield f"{name}[{number}]", _from_parquet(row)
                number += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadPartError(f"no whole Parquet file ({str(error).splitlines()[0] if str(error) else error!r})") from None


def _from_parquet(value: Any) -> Any:
    """Return a value of a table as JSON has it: a field that a row lacks is a null there."""
    if isinstance(value, dict):
        return {name: _from_parquet(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_from_parquet(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
