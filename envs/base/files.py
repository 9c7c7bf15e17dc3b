"""Writing files and folders so that a reader never sees half of one."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path, *, flushed: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block ends well, flush it to disk and rename it to ``path``.

    When the block raises, the temporary file is removed and ``path`` stays as it was.

    Args:
        path: where the file is to be.
        flushed: wait until the disk holds it; without, a file that lives no longer than this program is sooner there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield temporary
        if flushed:
            flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, all or nothing."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path``; when the block ends well, flush it to disk and put it in ``path``'s place.

    When the block raises, the new folder is removed and ``path`` stays as it was. Of one that was killed the new folder
    stays, ``.NAME.part``, until the next attempt. One process at a time may write the same folder.
    """
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for each in [*temporary.iterdir(), temporary]:
            flush(each)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, before anything continues."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
