"""Make one site of files that are written for a repository: MkDocs calls these functions while it builds.

The pages link to each other, to ``results/published/`` and to source files by paths within the repository, so that the
links work where the repository is browsed. Here the published results join the site, every source file that a page
links to gets a page that shows it, and the links are changed to match.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PUBLISHED = "results/published"
LINK = re.compile(r"(?<!`)(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
FENCE = re.compile(r"^(```+|~~~+).*?^\1\s*?$", re.MULTILINE | re.DOTALL)
LANGUAGES = {".py": "python", ".toml": "toml", ".md": "markdown", ".json": "json", ".csv": "text"}


def on_files(files: Any, config: Any) -> Any:
    """Add the published results and a page for every source file that is linked to."""
    for path in sorted((REPOSITORY / PUBLISHED).iterdir()):
        files.append(File(f"{PUBLISHED}/{path.name}", str(REPOSITORY), config.site_dir, config.use_directory_urls))
    known = {file.src_uri for file in files}
    for page in list(files.documentation_pages()):
        folder = posixpath.dirname(_in_repository(page.src_uri))
        for _, target, _, _ in LINK.findall(FENCE.sub("", page.content_string)):
            place = _on_site(_resolved(folder, target))
            if place and place.startswith("source/") and place not in known:
                known.add(place)
                files.append(File.generated(config, place, content=_listing(_resolved(folder, target))))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Change links between files of the repository to links between pages of the site."""
    folder = posixpath.dirname(_in_repository(page.file.src_uri))
    here = posixpath.dirname(page.file.src_uri)

    def changed(match: re.Match[str]) -> str:
        before, target, anchor, after = match.groups()
        place = _on_site(_resolved(folder, target))
        return before + (posixpath.relpath(place, here or ".") if place else target) + (anchor or "") + after

    pieces, end = [], 0
    for fence in FENCE.finditer(markdown):
        pieces += [LINK.sub(changed, markdown[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*pieces, LINK.sub(changed, markdown[end:])])


def _in_repository(place: str) -> str:
    """Say where a page of the site lies in the repository."""
    return place if place.startswith((PUBLISHED, "source/")) else f"docs/{place}"


def _resolved(folder: str, target: str) -> str | None:
    """Return a link's target as a path within the repository; None for an address elsewhere."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    return posixpath.normpath(posixpath.join(folder, target))


def _on_site(path: str | None) -> str | None:
    """Say where a file of the repository lies on the site; None if it has no place there."""
    if path is None or not (REPOSITORY / path).is_file():
        return None
    if path == "README.md":
        return "README.md"
    if path.startswith("docs/") and not path.endswith((".py", ".toml")):
        return path.removeprefix("docs/")
    return path if path.startswith(f"{PUBLISHED}/") else f"source/{path}.md"


def _listing(path: str | None) -> str:
    assert path is not None
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    language = LANGUAGES.get(PurePosixPath(path).suffix, "text")
    return f"# {path}\n\n````{language}\n{text.rstrip()}\n````\n"
