"""Where AppWorld's parts lie below the data folder, and whether they are whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.base.errors import UserError
from envs.base.home import data_home

VERSION = "0.1.3.post1"
"""Of the ``appworld`` package: the one that is installed and that results are about."""

DATA_VERSION = "0.1.0"
"""Of the official data that this package plays; every task names it."""

COMMAND = "agentbench install appworld"


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of one installation."""

    folder: Path

    @property
    def venv(self) -> Path:
        """AppWorld's own virtual environment."""
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv / "bin" / "python"

    @property
    def record(self) -> Path:
        """What was installed, with digests; written last."""
        return self.folder / "install.json"

    @property
    def mount_point(self) -> Path:
        """An empty folder, on which sandboxes build what they see."""
        return self.folder / "empty"

    def whole(self, collection: str) -> Path:
        """Return the root of a collection (``mini`` or ``official``) with its ground truth: for the judge."""
        return self.folder / collection / "whole"

    def shown(self, collection: str) -> Path:
        """Return the root of the same collection without ground truth: for the player."""
        return self.folder / collection / "shown"

    def index(self, collection: str) -> Path:
        """Return the file that lists the tasks of a collection."""
        return self.folder / collection / "index.json"


def layout(home: Path | None = None) -> Layout:
    """Return the layout below ``home``, by default :func:`envs.base.home.data_home`."""
    return Layout((home or data_home()).absolute() / "appworld")


def installed(home: Path | None = None) -> tuple[Layout, dict[str, Any]]:
    """Return the layout and the record of a finished installation.

    Raises:
        UserError: there is none, a part of it is missing, or it is of another version.
    """
    place = layout(home)
    if not place.record.is_file():
        raise UserError(f"AppWorld is not installed: type `{COMMAND}` (about 2 minutes; it needs pip's package index)")
    try:
        record: dict[str, Any] = json.loads(place.record.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{place.record} is damaged: type `{COMMAND}` to install again") from None
    if record.get("version") != VERSION:
        raise UserError(
            f"AppWorld {record.get('version')} is installed and this version plays {VERSION}: type `{COMMAND}`"
        )
    missing = [path for path in (place.python, place.mount_point, place.index("mini")) if not path.exists()]
    if missing:
        raise UserError(f"the installation of AppWorld lacks {missing[0]}: type `{COMMAND}` to fix it")
    return place, record
