"""AppWorld's package in a virtual environment of its own, with its encrypted parts unpacked there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from envs.appworld.layout import COMMAND, VERSION, Layout
from envs.base.digest import digest_of_stream
from envs.base.errors import UserError
from envs.base.safe_text import redacted

Write = Callable[[str], None]


def install_package(place: Layout, whole: str | None, write: Write) -> str:
    """Install the package, where that is not done yet, and return a digest of its source code.

    Args:
        place: where to.
        whole: the digest that an earlier call returned; where the package still has it, nothing is done.
        write: takes lines of text for the user.

    Raises:
        UserError: it cannot be fetched or unpacked.
    """
    if _installed_version(place) != VERSION:
        write(f"installing appworld {VERSION} into {place.venv} (about a minute)")
        _make_environment(place)
    elif whole is not None and digest_of_package(place) == whole:
        return whole
    write("unpacking AppWorld's apps")
    run_appworld(place, ["install"], "unpacking AppWorld's encrypted apps")
    return digest_of_package(place)


def run_appworld(place: Layout, arguments: Sequence[str], what: str) -> str:
    """Run AppWorld's own command and return what it printed."""
    return run([str(place.python), "-m", "appworld.cli", *arguments], what, place)


def run(command: Sequence[str], what: str, place: Layout, environment: Mapping[str, str] | None = None) -> str:
    """Run a command quietly and return what it printed.

    Raises:
        UserError: it failed; its last lines are part of the text.
    """
    own = {"APPWORLD_ROOT": str(place.folder), "APPWORLD_CACHE": str(place.folder / "cache")}
    full = {**os.environ, **own, **(environment or {})}
    full.pop("PYTHONPATH", None)
    done = subprocess.run(command, capture_output=True, text=True, env=full, cwd=place.folder, check=False)
    if done.returncode != 0:
        reason = last_lines(done.stderr + done.stdout)
        raise UserError(f"{what} failed: {reason}. Fix this and type `{COMMAND}` again; it continues from here")
    return done.stdout


def last_lines(text: str) -> str:
    """Return the last two lines that are not empty, as one of at most 500 characters."""
    lines = [line.strip() for line in redacted(text).splitlines() if line.strip()]
    return "; ".join(lines[-2:])[-500:] or "no message"


def _make_environment(place: Layout) -> None:
    wanted = f"appworld=={VERSION}"
    if uv := shutil.which("uv"):
        run([uv, "venv", "--quiet", "--python", sys.executable, "--clear", str(place.venv)], "uv venv", place)
        to_venv = ["--python", str(place.python), wanted]
        run([uv, "pip", "install", "--quiet", *to_venv], f"uv pip install {wanted}", place)
    else:
        venv.create(place.venv, clear=True, with_pip=True)
        pip = [str(place.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
        run(pip, f"pip install {wanted}", place)


def _installed_version(place: Layout) -> str | None:
    found = list(place.venv.glob("lib/python3*/site-packages/appworld-*.dist-info"))
    return found[0].name.removeprefix("appworld-").removesuffix(".dist-info") if len(found) == 1 else None


def digest_of_package(place: Layout) -> str:
    """Return a digest of the names and contents of the package's source files."""
    folder = next(place.venv.glob("lib/python3*/site-packages/appworld"), Path("missing"))
    files = sorted(folder.rglob("*.py"))
    return digest_of_stream(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() for path in files)
