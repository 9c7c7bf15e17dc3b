"""Write the page: one HTML file with its style, script and data, which needs no network and no server."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from agentbench.report.data import Report
from envs.base.errors import UserError
from envs.base.files import replaced, write_text

ASSETS = Path(__file__).with_name("assets")
SCRIPTS = ("dom", "tables", "charts", "steps", "overview", "sweeps", "episodes", "reader", "group", "graph", "app")
INLINE_BYTES = 4_000_000
"""Steps of more than this many bytes, packed, go to files beside the page and are read when they are looked at."""


def write_page(report: Report, out: Path) -> list[Path]:
    """Write the page to ``out``, and where there are many steps a folder of them beside it.

    Returns:
        What was written: the page, then the folder if there is one. They belong together when they are moved.

    Raises:
        UserError: it cannot be written.
    """
    folder = out.with_name(f"{out.stem}-steps")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        inline: dict[str, str] = {}
        packed = report.packed()
        for name, text in packed:
            inline[name] = text
            if sum(map(len, inline.values())) > INLINE_BYTES:
                break
        else:
            write_text(out, render(report.index, {"kind": "inline"}, inline))
            return [out]
        folder.mkdir(exist_ok=True)
        _write_chunks(folder, inline.items())
        _write_chunks(folder, packed)
        _remove_other_chunks(folder, {f"{run}-{chunk}" for run, chunk in report.chunk_names()})
        write_text(out, render(report.index, {"kind": "files", "prefix": f"{folder.name}/"}, {}))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    return [out, folder]


def render(index: dict[str, Any], source: dict[str, Any], packed: dict[str, str]) -> str:
    """Return the page's HTML.

    Args:
        index: of the report.
        source: where the page finds steps: ``{"kind": "inline"}``, ``{"kind": "files", "prefix": …}``, or
            ``{"kind": "live", …}`` for a page that is served and asks for news.
        packed: the chunks that are part of the page.
    """
    parts = {
        "title": html.escape(index["title"]),
        "style": (ASSETS / "page.css").read_text(encoding="utf-8"),
        "script": script(),
        "policy": html.escape(content_policy()),
        "data": json_for_html({"index": index, "source": source}),
        "packed": "".join(
            f'<script type="text/plain" id="steps-{html.escape(name)}">{html.escape(text)}</script>\n'
            for name, text in packed.items()
        ),
    }
    template = (ASSETS / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: parts[found[1]], template)


@cache
def script() -> str:
    """Return the page's script: its modules in one scope."""
    parts = [(ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


@cache
def content_policy() -> str:
    """Return the page's content security policy: our own script by its digest, and what that script itself loads.

    A script that came in with the data of a run would not run, even if it were not escaped.
    """
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' 'strict-dynamic'; style-src 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )


def json_for_html(value: Any) -> str:
    """Return JSON that may stand in a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def chunk_script(name: str, packed: str) -> str:
    """Return the script that gives a chunk to the page: files can be loaded this way without a server."""
    return f"agentbenchSteps({json.dumps(name)},{json.dumps(packed)});\n"


def _write_chunks(folder: Path, packed: Iterable[tuple[str, str]]) -> None:
    for name, text in packed:
        with replaced(folder / f"{name}.js") as temporary:
            temporary.write_text(chunk_script(name, text), encoding="ascii")


def _remove_other_chunks(folder: Path, names: set[str]) -> None:
    for old in folder.iterdir():
        if re.fullmatch(r"\d+-\d+\.js", old.name) and old.stem not in names:
            old.unlink()
