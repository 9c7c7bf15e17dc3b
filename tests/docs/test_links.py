"""Every relative link and anchor of README, docs and published results leads somewhere.

The repository's rule for anchors is GitHub's; the site is built with ``make docs``, which stops at a link that the site
does not have (the last test here runs the same).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documented_commands import FENCE, REPOSITORY

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted((REPOSITORY / "results" / "published").glob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """Return a page without its blocks of code and code in lines."""
    return re.sub(r"`[^`\n]+`(?!\])", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(
        r"^#{1,6} (.+?)\s*$", FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE
    ):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = found.get(slug, 0)
        found[slug] = number + 1
        names.add(f"{slug}-{number}" if number else slug)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.is_relative_to(REPOSITORY) or not there.is_file():
            broken.append(f"{target}: no such file (a link to a folder works only where the repository is browsed)")
        elif anchor and anchor not in anchors(there):
            broken.append(f"{target}: no such heading")
    assert not broken, "\n".join(broken)


def test_every_command_block_says_its_language() -> None:
    bare = [
        f"{page.name}:{page.read_text(encoding='utf-8').count(chr(10), 0, fence.start()) + 1}"
        for page in PAGES
        for fence in FENCE.finditer(page.read_text(encoding="utf-8"))
        if not fence["language"]
    ]
    assert not bare, f"blocks without a language (bash, python, text, …) after their fence: {bare}"


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    pytest.importorskip("material", reason="the site is not built here: pip install -e '.[docs]'")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = sorted(tmp_path.rglob("*.html"))
    assert (tmp_path / "results" / "published" / "training.html") in pages
    loads = re.compile(
        r"""<(script|img|iframe|source)[^>]+src=["']?https?:"""
        r"""|<link[^>]+(stylesheet|preload|preconnect)[^>]+href=["']?https?:"""
    )
    assert not [page.name for page in pages if loads.search(page.read_text(encoding="utf-8"))]
    styles = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.css"))
    assert not re.search(r"url\(['\"]?https?:", styles)
