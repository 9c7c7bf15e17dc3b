"""AppWorld's official data: from its encrypted archive, from a folder, or by its own download; checked to be whole.

The licence asks that the data are passed on in public only in encrypted form: they are unpacked below the data folder
and nowhere else, and no error's text quotes what is in them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from envs.appworld.layout import COMMAND, DATA_VERSION, VERSION, Layout
from envs.appworld.package import Write, last_lines, run, run_appworld
from envs.base.errors import UserError

OFFICIAL_SPLITS = {"train": 90, "dev": 57, "test_normal": 168, "test_challenge": 417}
"""Split -> number of its tasks."""

BUNDLE = "data-0.1.0.bundle"
_PARTS = ("datasets", "tasks", "base_dbs", "api_docs")
_OF_A_TASK = (
    *("specs.json", "dbs"),
    *(f"ground_truth/{name}" for name in ("evaluation.py", "metadata.json", "test_data.json", "answer.json")),
)
_UNPACK = (
    "import sys; from appworld.common.constants import PASSWORD, SALT; from appworld.common.utils import unpack_bundle;"
    " unpack_bundle(bundle_file_path=sys.argv[1], base_directory=sys.argv[2], password=PASSWORD, salt=SALT)"
)


def fetch_official(place: Layout, given: str, root: Path, write: Write) -> None:
    """Put the official data below ``root`` (an empty folder) as ``root/data``, and check that they are whole.

    Args:
        place: the installation, whose package can unpack and download.
        given: the encrypted archive, a folder ``data`` (or one that holds it), or ``download``.
        root: where to.
        write: takes lines of text for the user.

    Raises:
        UserError: it is not all there, or of another version.
    """
    path = Path(given).expanduser().absolute()
    if given != "download" and path.is_dir():
        folder = path / "data" if (path / "data").is_dir() else path
        if link := next((each for each in folder.rglob("*") if each.is_symlink()), None):
            # What a link leads to would be copied to where model-written code can read it.
            raise UserError(
                f"{given} holds a link ({link.relative_to(folder)}): give AppWorld's {BUNDLE}, or a true copy"
            )
        _check(folder, given)
        shutil.copytree(folder, root / "data")
        return
    if given == "download":
        write("downloading AppWorld's data with its own command")
        _download(place, root)
    elif path.is_file():
        write(f"unpacking {path.name}")
        _unpack(place, path, root)
    else:
        raise UserError(f"there is no {path}: give AppWorld's {BUNDLE} or its folder 'data'")
    _check(root / "data", given)


def names_of(data: Path, split: str) -> list[str]:
    """Return the names of a split's tasks in the order of its list; a line may have a tag after a colon."""
    path = data / "datasets" / f"{split}.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line.partition(":")[0].strip() for line in lines if line.strip()]


def _download(place: Layout, root: Path) -> None:
    instead = f"is the network there? Or fetch {BUNDLE} elsewhere and give it with --data"
    what = f"AppWorld's own download of its data ({instead})"
    printed = run_appworld(place, ["download", "data", "--root", str(root)], what)
    if not any((root / "data").glob("*")):  # its command reports a refusal as a success
        raise UserError(f"AppWorld's own download gave no data: {last_lines(printed)} ({instead})")


def _unpack(place: Layout, bundle: Path, root: Path) -> None:
    try:
        run([str(place.python), "-c", _UNPACK, str(bundle), str(root)], "unpacking", place)
    except UserError as error:
        raise UserError(
            f"{bundle} cannot be unpacked: it is not AppWorld's encrypted {BUNDLE}, or only a part of it. Fetch it "
            f"again, whole, and type `{COMMAND} --data {bundle}`"
        ) from error


def _check(data: Path, given: str) -> None:
    for part in _PARTS:
        if not (data / part).is_dir():
            raise UserError(f"{given} is not AppWorld's data: it has no folder data/{part}")
    if not any((data / "base_dbs").iterdir()):
        raise UserError(f"{given} is not whole: data/base_dbs is empty. Get a whole copy")
    for split, number in OFFICIAL_SPLITS.items():
        names = names_of(data, split)
        if len(names) != number:
            raise UserError(
                f"{given}: split {split!r} has {len(names)} tasks and should have {number}: get a whole copy"
            )
        for name in names:
            if Path(name).name != name:
                raise UserError(
                    f"{given}: split {split!r} names the task {name!r:.80}, which is no name: get a whole copy"
                )
            _check_task(data / "tasks" / name, given)


def _check_task(task: Path, given: str) -> None:
    for part in _OF_A_TASK:
        if not (task / part).exists():
            raise UserError(f"{given} is not whole: task {task.name} has no {part}. Get a whole copy")
    try:
        found = json.loads((task / "specs.json").read_bytes())["db_version"]
        json.loads((task / "ground_truth" / "metadata.json").read_bytes())["difficulty"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{given}: task {task.name} is damaged. Get a whole copy") from None
    if found != DATA_VERSION:
        raise UserError(
            f"{given} has data of version {found}, and appworld {VERSION} plays version {DATA_VERSION}: get {BUNDLE}"
        )
