"""Tables that scripts put into published pages, between two marks, so that the words around them stay."""

from __future__ import annotations

from pathlib import Path

from envs.base.files import write_text


def put_between(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks ``<!-- NAME -->`` and ``<!-- end of NAME -->`` of a page.

    Raises:
        SystemExit: the page is not there, or has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin) if page.exists() else ("", "", "")
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{page} has no place for the table: write {begin.strip()} and {end.strip()}, a line each")
    write_text(page, f"{before}{begin}{text.strip()}\n{end}{after}")
