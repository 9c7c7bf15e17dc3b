"""Reading many games: from the official folder tree, an archive of it, or a compact file of one game a line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from envs.alfworld.games import BadGameError, Damaged, Game, parse_compact_line, parse_game_file
from envs.base.errors import UserError

GAME_FILE = "game.tw-pddl"

_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_COMPACT_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.xz")
_LARGEST = 1 << 26
"""Longest game file of an archive that is read, in bytes (64 MB): what is longer is none, and would fill the memory."""

# RuntimeError: an encrypted or unknown kind of member, or JSON that is nested too deeply.
_BROKEN_FILE = (OSError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


def read_games(source: Path) -> Iterator[Game | Damaged]:
    """Yield every game that ``source`` holds, one at a time; what cannot be read is reported and skipped.

    Args:
        source: a folder with the official layout ``<split>/<task>/<trial>/game.tw-pddl`` anywhere below it, a
            zip or tar archive of one, or a compact file (``.jsonl``, ``.jsonl.gz``, ``.jsonl.xz``).

    Yields:
        Games and :class:`Damaged` parts, in the order of their names (folder, zip) or of the archive.

    Raises:
        UserError: ``source`` does not exist, is none of these, or has no game at all.
    """
    parts = _choose_reader(source)(source)
    first = next(parts, None)
    if first is None:
        raise UserError(f"{source} holds no ALFWorld game: expected <split>/<task>/<trial>/{GAME_FILE} in it")
    yield first
    yield from parts


def _choose_reader(source: Path) -> Callable[[Path], Iterator[Game | Damaged]]:
    if source.is_dir():
        return _read_tree
    if not source.is_file():
        raise UserError(f"{source} does not exist: give the folder or the archive of the ALFWorld games")
    for endings, reader in (((".zip",), _read_zip), (_TAR_ENDINGS, _read_tar), (_COMPACT_ENDINGS, _read_compact)):
        if source.name.endswith(endings):
            return reader
    known = ", ".join((".zip", *_TAR_ENDINGS, *_COMPACT_ENDINGS))
    raise UserError(f"{source} is not a known kind of file: give a folder, or a file that ends in {known}")


def find_game_files(folder: Path) -> list[Path]:
    """Return the game files below ``folder``, sorted by path."""
    return sorted(folder.rglob(GAME_FILE), key=lambda path: path.relative_to(folder).as_posix())


def _read_tree(folder: Path) -> Iterator[Game | Damaged]:
    for path in find_game_files(folder):
        yield from _read_game(_game_name(path.resolve().as_posix()), path.read_bytes)


def _read_zip(source: Path) -> Iterator[Game | Damaged]:
    try:
        with zipfile.ZipFile(source) as archive:
            sizes = {part.filename: part.file_size for part in archive.infolist()}
            for member in sorted(name for name in sizes if PurePosixPath(name).name == GAME_FILE):
                if sizes[member] > _LARGEST:
                    yield _too_long(member)
                else:
                    yield from _read_game(_game_name(member), partial(archive.read, member))
    except zipfile.BadZipFile as error:
        raise UserError(f"{source} is not a whole zip archive ({error}): get it again") from error


def _read_tar(source: Path) -> Iterator[Game | Damaged]:
    count = 0
    try:
        with _unpacked(source) as unpacked, tarfile.open(fileobj=_Bounded(unpacked), mode="r:") as archive:
            for member in archive:
                if not member.isfile() or PurePosixPath(member.name).name != GAME_FILE:
                    continue
                if member.size > _LARGEST:
                    yield _too_long(member.name)
                else:
                    # The bytes are read here: a break in the archive ends it, and is no fault of one game.
                    file = archive.extractfile(member)
                    content = file.read() if file else b""
                    yield from _read_game(_game_name(member.name), partial(bytes, content))
                    count += 1
    except _BROKEN_FILE as error:
        yield _broken(source, count, error)


def _read_compact(source: Path) -> Iterator[Game | Damaged]:
    count = 0
    try:
        with _unpacked(source) as lines:
            for count, line in enumerate(iter(lambda: lines.readline(_LARGEST + 1), b""), start=1):
                if len(line) > _LARGEST:
                    yield _too_long(f"{source.name} line {count}")
                    return
                try:
                    yield parse_compact_line(line)
                except (BadGameError, RecursionError) as error:
                    yield Damaged(f"{source.name} line {count}", str(error))
    except _BROKEN_FILE as error:
        yield _broken(source, count, error)


class _Bounded(io.RawIOBase):
    """What a tar archive is read from: no single part of it fills the memory, whatever length its header names."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST:
            raise tarfile.ReadError(f"a part of it is longer than {_LARGEST} bytes")
        return self._file.read(size)


def _unpacked(source: Path) -> BinaryIO:
    """Open a file, unpacked if its first bytes say that it is packed."""
    with source.open("rb") as file:
        start = file.read(6)
    openers: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip), (b"\xfd7zXZ\0", lzma), (b"BZh", bz2))
    opener = next((module.open for mark, module in openers if start.startswith(mark)), Path.open)
    opened: BinaryIO = opener(source, "rb")
    return opened


def _read_game(name: str, read: Callable[[], bytes]) -> Iterator[Game | Damaged]:
    """Yield the game of one file, or why it is damaged, or nothing where it is not a playable one."""
    try:
        game = parse_game_file(name, read())
    except (BadGameError, *_BROKEN_FILE) as error:
        yield Damaged(f"{name}/{GAME_FILE}", str(error))
    else:
        if game is not None:
            yield game


def _game_name(path: str) -> str:
    """Return ``<split>/<task>/<trial>`` of the path of a game file."""
    return "/".join(PurePosixPath(path).parts[-4:-1])


def _too_long(member: str) -> Damaged:
    return Damaged(member, f"longer than {_LARGEST} bytes: no game")


def _broken(source: Path, count: int, error: Exception) -> Damaged:
    return Damaged(str(source), f"it breaks off after {count} games ({error or type(error).__name__})")
