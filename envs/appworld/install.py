"""Installing AppWorld: ``agentbench install appworld [--data ARCHIVE_OR_FOLDER]``.

The package goes into a virtual environment of its own, because its requirements (pydantic 1) do not go together with
those of other packages. Its protected parts come encrypted and are unpacked there by its own command; its licence
asks that nothing unpacked is passed on in public.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from envs.appworld.layout import VERSION, Layout, layout
from envs.appworld.official import OFFICIAL_SPLITS, fetch_official, names_of
from envs.appworld.package import Write, install_package, run
from envs.base.digest import digest_of_stream, short_digest
from envs.base.files import write_text

MINI_SEED = 0
_REMOTE = Path(__file__).with_name("remote")


def install(source: str | None, write: Write, home: Path | None = None, *, data: str | None = None) -> None:
    """Install the AppWorld package, build the split ``mini`` and, where given, take in the official data.

    What is already there and whole is left as it is, so that the same command continues where it was cut short.

    Args:
        source: the same as ``data`` (the option ``--from`` that every environment's installation has).
        write: takes lines of text for the user.
        home: data folder, by default :func:`envs.base.home.data_home`.
        data: official data: AppWorld's encrypted archive (``data-0.1.0.bundle``), the folder ``data`` that its own
            ``appworld download data`` makes, or ``download`` to run that command (needs the network).

    Raises:
        UserError: a step failed; the text says which, and what to do.
    """
    place = layout(home)
    place.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(place.folder / ".lock"):
        package_digest = install_package(place, _recorded(place, "package_digest"), write)
        place.mount_point.mkdir(exist_ok=True)
        if not place.index("mini").is_file() or _recorded(place, "builder_digest") != _digest_of_builder():
            _build_mini(place, write)
        if given := data or source:
            _take_official(place, given, write)
        _write_record(place, package_digest)
    splits = "mini" + (", " + ", ".join(OFFICIAL_SPLITS) if place.index("official").is_file() else "")
    write(f"AppWorld {VERSION} is ready: splits {splits}")


# -- the collections of tasks --------------------------------------------------------------------------------


def _build_mini(place: Layout, write: Write) -> None:
    write("building the world and the tasks of the split mini (about 20 seconds)")
    with tempfile.TemporaryDirectory(dir=place.folder) as temporary:
        root = Path(temporary, "mini", "whole")
        builder = [str(place.python), str(_REMOTE / "build_mini.py"), str(root), str(MINI_SEED)]
        run(builder, "building the split mini", place, {"PYTHONHASHSEED": "0"})
        _finish_collection(place, "mini", root, ["mini"])


def _take_official(place: Layout, given: str, write: Write) -> None:
    with tempfile.TemporaryDirectory(dir=place.folder) as temporary:
        root = Path(temporary, "official", "whole")
        root.mkdir(parents=True)
        fetch_official(place, given, root, write)
        _finish_collection(place, "official", root, list(OFFICIAL_SPLITS))


def _finish_collection(place: Layout, name: str, root: Path, splits: list[str]) -> None:
    """List the tasks, make the copy without ground truth, and put all in place at once."""
    index = {}
    for split in splits:
        index[split] = [_entry(root, task) for task in names_of(root / "data", split)]
    shutil.copytree(root, root.parent / "shown", copy_function=_link, ignore=shutil.ignore_patterns("ground_truth"))
    _open_to_read(root.parent)
    (root.parent / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    target = place.folder / name
    if target.exists():
        shutil.rmtree(target)
    root.parent.replace(target)


def _entry(root: Path, task: str) -> dict[str, object]:
    folder = root / "data" / "tasks" / task
    specification, evaluation = (folder / "specs.json"), (folder / "ground_truth" / "evaluation.py")
    metadata = json.loads((folder / "ground_truth" / "metadata.json").read_bytes())
    digest = short_digest(specification.read_bytes() + evaluation.read_bytes(), 12)
    return {"name": task, "difficulty": metadata["difficulty"], "digest": digest}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def _open_to_read(folder: Path) -> None:
    """Let the user without rights that plays and judges read the collection (its sandbox shows what it may)."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


# -- the record ----------------------------------------------------------------------------------------------


def _write_record(place: Layout, package_digest: str) -> None:
    record = {
        "version": VERSION,
        "package_digest": package_digest,
        "mini_seed": MINI_SEED,
        "builder_digest": _digest_of_builder(),
        "collections": {
            name: short_digest(place.index(name).read_bytes())
            for name in ("mini", "official")
            if place.index(name).is_file()
        },
    }
    write_text(place.record, json.dumps(record, indent=1))


def _recorded(place: Layout, name: str) -> str | None:
    try:
        return str(json.loads(place.record.read_text(encoding="utf-8"))[name])
    except (OSError, ValueError, KeyError):
        return None


def _digest_of_builder() -> str:
    names = ("build_mini.py", "mini_world.py", "mini_tasks.py", "mini_evaluation.py")
    return digest_of_stream([str(MINI_SEED).encode(), *((_REMOTE / name).read_bytes() for name in names)])
