"""Fetching one file over HTTP, going on where an earlier attempt broke off."""

from __future__ import annotations

import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from envs.base.errors import UserError

_BLOCK = 1 << 20
_SECONDS_WITHOUT_DATA = 60
_RANGE_NOT_SATISFIABLE = 416
_PARTIAL_CONTENT = 206


def download(url: str, target: Path, instead: str, write: Callable[[str], None]) -> None:
    """Fetch ``url`` to ``target``; what has arrived is kept in ``target`` + ``.part`` until it is whole.

    Args:
        url: address of the file.
        target: where it goes; left alone if it exists.
        instead: what the user can do without a network, the end of the error message.
        write: takes lines about the progress.

    Raises:
        UserError: the file could not be fetched, or not to its end.
    """
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        missing = _fetch(url, part, write)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"cannot download {url} ({reason}): {instead}") from error
    except OSError as error:
        raise UserError(f"cannot write {part} ({error.strerror or error})") from error
    if missing:
        raise UserError(f"the download of {url} broke off {missing} bytes before its end: run again to continue")
    part.replace(target)


def _fetch(url: str, part: Path, write: Callable[[str], None]) -> int:
    """Append the rest of the file to ``part``; return how many bytes are still missing."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS_WITHOUT_DATA)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE and _total_size(error.headers.get("Content-Range")) == have:
            return 0  # everything had arrived already
        if error.code == _RANGE_NOT_SATISFIABLE:
            part.unlink()
            return _fetch(url, part, write)
        raise
    with answer:
        goes_on = answer.status == _PARTIAL_CONTENT
        expected = int(answer.headers.get("Content-Length") or 0) + (have if goes_on else 0)
        write(f"downloading {url} ({expected / 1e6:.1f} MB{f', {have / 1e6:.1f} MB here' if goes_on else ''})")
        with part.open("ab" if goes_on else "wb") as file:
            shutil.copyfileobj(answer, file, _BLOCK)
    return max(0, expected - part.stat().st_size)


def _total_size(content_range: str | None) -> int | None:
    total = (content_range or "").rpartition("/")[2]
    return int(total) if total.isdigit() else None
