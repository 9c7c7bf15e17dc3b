"""The file that finished records are added to, and that survives a torn end: lines of JSON, each compressed by itself.

``episodes.jsonl.gz`` is gzip with a member a line, one behind the other, as ``zcat`` and every library read it. What
the end of a line is in a plain file, the beginning of a member is here: a torn end costs the last record, and a changed
byte its own. Runs of earlier versions have plain lines in ``episodes.jsonl`` and go on with them; so does a run that
somebody unpacked. All that read or write such a file come here.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from envs.base.errors import UserError

PACKED, PLAIN = "episodes.jsonl.gz", "episodes.jsonl"
JOURNALS = (PACKED, PLAIN)
"""What a journal may be called; where a folder has both, the first counts."""

_LEVEL = 3
_GZIP = 31  # zlib's number for a window of 32 KB in gzip's form
_BEGIN = b"\x1f\x8b\x08\0\0\0\0\0"
"""How every member begins: gzip's sign, deflate, no name, no time. Compressed data hold it by chance once in 2**64."""

_LARGEST = 1 << 30
_BLOCK = 1 << 20


class Part(NamedTuple):
    """What is stored at one place of a journal: a line, or a gzip member of (usually) one.

    Attributes:
        position: its first byte in the file.
        content: its bytes, as they lie there.
    """

    position: int
    content: bytes


def journal_of(folder: Path) -> Path:
    """Return where the journal of a run lies, or would lie if there is none yet."""
    plain = folder / PLAIN
    return plain if plain.exists() and not (folder / PACKED).exists() else folder / PACKED


def packed(line: bytes, path: Path) -> bytes:
    """Return a line, with its end, as it is stored in a journal."""
    return zlib.compress(line, _LEVEL, _GZIP) if _is_packed(path) else line


def parts(path: Path) -> Iterator[Part]:
    """Yield what is stored in a journal, in order, whole or not; a file that does not exist has nothing."""
    if not path.exists():
        return
    sign, behind = (_BEGIN, 0) if _is_packed(path) else (b"\n", 1)  # a member ends before the next, a line behind it
    position, buffer = 0, bytearray()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            begin, unseen = 0, len(buffer) - len(sign) + 1
            buffer += block
            while (found := buffer.find(sign, max(unseen, begin + 1 - behind))) >= 0:
                yield Part(position + begin, bytes(buffer[begin : found + behind]))
                begin = found + behind
            position += begin
            del buffer[:begin]
    if buffer:
        yield Part(position, bytes(buffer))


def lines_of(part: bytes, path: Path) -> tuple[list[bytes], bool]:
    """Return the whole lines of a part, each with its end, and whether nothing of it is torn or damaged.

    Raises:
        UserError: it unpacks to more than 1 GB, as no episode of ours does.
    """
    text, is_whole = _unpacked(part, path) if _is_packed(path) else (part, True)
    *ended, rest = text.split(b"\n")
    return [line + b"\n" for line in ended], is_whole and not rest


def lines(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a journal; what is torn or damaged is passed over."""
    for part in parts(path):
        yield from lines_of(part.content, path)[0]


def count(path: Path) -> int:
    """Return about how many records a journal has, without reading them."""
    return sum(1 for _ in parts(path))


def _unpacked(part: bytes, path: Path) -> tuple[bytes, bool]:
    """Return what members hold as far as it can be read, and whether that is all."""
    stream = zlib.decompressobj(_GZIP)
    with contextlib.suppress(zlib.error):
        text = stream.decompress(part, _LARGEST)
        if stream.eof and not stream.unused_data:
            return text, True
    read = bytearray()  # torn, damaged, or written by another program, which may have put any number of lines into one
    try:
        with gzip.open(io.BytesIO(part)) as file:
            while block := file.read1(_BLOCK):
                read += block
                if len(read) > _LARGEST:
                    raise UserError(f"a part of {path} unpacks to more than 1 GB: if you trust it, unpack it (gunzip)")
    except (OSError, EOFError, zlib.error):
        return bytes(read), False
    return bytes(read), True


def _is_packed(path: Path) -> bool:
    return path.suffix == ".gz"
