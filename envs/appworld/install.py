"""Installing AppWorld: ``agentbench install appworld [--data ARCHIVE_OR_FOLDER]``.

The package goes into a virtual environment of its own, because its requirements (pydantic 1) do not go together with
those of other packages. Its protected parts come encrypted and are unpacked there by its own command; its licence
asks that nothing unpacked is passed on in public.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from envs.appworld.layout import COMMAND, VERSION, Layout, layout
from envs.errors import UserError

MINI_SEED = 0
OFFICIAL_SPLITS = {"train": 90, "dev": 57, "test_normal": 168, "test_challenge": 417}
"""Split -> number of tasks of the official data."""

_REMOTE = Path(__file__).with_name("remote")
_UNPACK = (
    "import sys; from appworld.common.constants import PASSWORD, SALT; from appworld.common.utils import unpack_bundle;"
    " unpack_bundle(bundle_file_path=sys.argv[1], base_directory=sys.argv[2], password=PASSWORD, salt=SALT)"
)

Write = Callable[[str], None]


def install(source: str | None, write: Write, home: Path | None = None, *, data: str | None = None) -> None:
    """Install the AppWorld package, build the split ``mini`` and, where given, take in the official data.

    What is already there and whole is left as it is, so that the same command goes on where it was cut short.

    Args:
        source: the same as ``data`` (the option ``--from`` that every environment's installation has).
        write: takes lines of text for the user.
        home: data folder, by default :func:`envs.home.data_home`.
        data: official data: AppWorld's encrypted archive (``data-0.1.0.bundle``), the folder ``data`` that its own
            ``appworld download data`` makes, or ``download`` to run that command (needs the network).

    Raises:
        UserError: a step failed; the text says which, and what to do.
    """
    place = layout(home)
    place.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(place.folder / ".lock"):
        _install_package(place, write)
        place.mount_point.mkdir(exist_ok=True)
        if not place.index("mini").is_file() or _built_from(place) != _digest_of_builder():
            _build_mini(place, write)
        if given := data or source:
            _take_official(place, given, write)
        _write_record(place)
    splits = "mini" + (", " + ", ".join(OFFICIAL_SPLITS) if place.index("official").is_file() else "")
    write(f"AppWorld {VERSION} is ready: splits {splits}")


# -- the package -------------------------------------------------------------------------------------------


def _install_package(place: Layout, write: Write) -> None:
    if _installed_version(place) != VERSION:
        write(f"installing appworld {VERSION} into {place.venv} (about a minute)")
        _make_environment(place)
    if not _unpacked(place):
        write("unpacking AppWorld's apps")
        _run([str(place.python), "-m", "appworld.cli", "install"], "unpacking AppWorld's encrypted apps", place)
        if not _unpacked(place):
            raise UserError(f"AppWorld's apps are only half unpacked: remove {place.venv} and type `{COMMAND}` again")


def _make_environment(place: Layout) -> None:
    wanted = f"appworld=={VERSION}"
    if uv := shutil.which("uv"):
        _run([uv, "venv", "--quiet", "--python", sys.executable, "--clear", str(place.venv)], "uv venv", place)
        _run(
            [uv, "pip", "install", "--quiet", "--python", str(place.python), wanted], f"uv pip install {wanted}", place
        )
    else:
        venv.create(place.venv, clear=True, with_pip=True)
        pip = [str(place.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
        _run(pip, f"pip install {wanted}", place)


def _installed_version(place: Layout) -> str | None:
    found = list(place.venv.glob("lib/python3*/site-packages/appworld-*.dist-info"))
    return found[0].name.removeprefix("appworld-").removesuffix(".dist-info") if len(found) == 1 else None


def package_folder(place: Layout) -> Path:
    """Return the folder of the installed package."""
    return next(place.venv.glob("lib/python3*/site-packages/appworld"))


def _unpacked(place: Layout) -> bool:
    apps = package_folder(place) / "apps"
    return all(
        (apps / app / name).is_file() for app in ("venmo", "todoist", "spotify") for name in ("apis.py", "models.py")
    )


def _run(command: list[str], what: str, place: Layout, environment: Mapping[str, str] | None = None) -> None:
    """Run a command quietly; its last lines become part of the error if it fails."""
    full = {**os.environ, "APPWORLD_ROOT": str(place.folder), **(environment or {})}
    full.pop("PYTHONPATH", None)
    done = subprocess.run(command, capture_output=True, text=True, env=full, cwd=place.folder, check=False)
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).strip().splitlines() if line.strip()]
        reason = "; ".join(line.strip() for line in lines[-2:])[-500:]
        raise UserError(f"{what} failed: {reason}. Mend this and type `{COMMAND}` again; it goes on from here")


# -- the collections of tasks --------------------------------------------------------------------------------


def _build_mini(place: Layout, write: Write) -> None:
    write("building the world and the tasks of the split mini (about 20 seconds)")
    with tempfile.TemporaryDirectory(dir=place.folder) as temporary:
        root = Path(temporary, "mini", "whole")
        builder = [str(place.python), str(_REMOTE / "build_mini.py"), str(root), str(MINI_SEED)]
        _run(builder, "building the split mini", place, {"PYTHONHASHSEED": "0"})
        _finish_collection(place, "mini", root, ["mini"])


def _take_official(place: Layout, given: str, write: Write) -> None:
    with tempfile.TemporaryDirectory(dir=place.folder) as temporary:
        root = Path(temporary, "official", "whole")
        root.mkdir(parents=True)
        if given == "download":
            write("downloading AppWorld's data with its own command")
            _run([str(place.python), "-m", "appworld.cli", "download", "data"], "AppWorld's own download of its data "
                 "(no network? fetch data-0.1.0.bundle elsewhere and give it with --data)", place,
                 {"APPWORLD_ROOT": str(root)})  # fmt: skip
        else:
            _unpack_official(place, Path(given).expanduser().absolute(), root)
        _check_official(root, given)
        _finish_collection(place, "official", root, list(OFFICIAL_SPLITS))


def _unpack_official(place: Layout, given: Path, root: Path) -> None:
    if given.is_dir():
        folder = given / "data" if (given / "data").is_dir() else given
        shutil.copytree(folder, root / "data")
    elif given.is_file():
        unpack = [str(place.python), "-c", _UNPACK, str(given), str(root)]
        _run(unpack, f"unpacking {given.name} as AppWorld's data bundle", place)
    else:
        raise UserError(f"there is no {given}: give AppWorld's data-0.1.0.bundle or its folder 'data'")


def _check_official(root: Path, given: str) -> None:
    for part in ("datasets", "tasks", "base_dbs", "api_docs"):
        if not (root / "data" / part).is_dir():
            raise UserError(f"{given} is not AppWorld's data: it has no folder data/{part}")
    for split, number in OFFICIAL_SPLITS.items():
        path = root / "data" / "datasets" / f"{split}.txt"
        found = len(path.read_text(encoding="utf-8").split()) if path.is_file() else 0
        if found != number:
            raise UserError(f"{given}: split {split!r} has {found} tasks and should have {number}: get a whole copy")


def _finish_collection(place: Layout, name: str, root: Path, splits: list[str]) -> None:
    """List the tasks, make the copy without ground truth, and put all in place at once."""
    index = {}
    for split in splits:
        names = (root / "data" / "datasets" / f"{split}.txt").read_text(encoding="utf-8").split()
        index[split] = [_entry(root, task) for task in names]
    shutil.copytree(root, root.parent / "shown", copy_function=_link, ignore=shutil.ignore_patterns("ground_truth"))
    _open_to_read(root.parent)
    (root.parent / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    target = place.folder / name
    if target.exists():
        shutil.rmtree(target)
    root.parent.replace(target)


def _entry(root: Path, task: str) -> dict[str, object]:
    folder = root / "data" / "tasks" / task
    try:
        specification = (folder / "specs.json").read_bytes()
        metadata = json.loads((folder / "ground_truth" / "metadata.json").read_bytes())
        evaluation = (folder / "ground_truth" / "evaluation.py").read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"task {task} is damaged or not whole ({error}): get a whole copy of the data") from error
    digest = hashlib.sha256(specification + evaluation).hexdigest()[:12]
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


def _write_record(place: Layout) -> None:
    record = {
        "version": VERSION,
        "package_digest": _digest_of_folder(package_folder(place)),
        "mini_seed": MINI_SEED,
        "builder_digest": _digest_of_builder(),
        "collections": {
            name: hashlib.sha256(place.index(name).read_bytes()).hexdigest()[:16]
            for name in ("mini", "official")
            if place.index(name).is_file()
        },
    }
    temporary = place.record.with_suffix(".new")
    temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    temporary.replace(place.record)


def _built_from(place: Layout) -> str | None:
    try:
        return str(json.loads(place.record.read_text(encoding="utf-8"))["builder_digest"])
    except (OSError, ValueError, KeyError):
        return None


def _digest_of_builder() -> str:
    whole = hashlib.sha256(str(MINI_SEED).encode())
    for name in ("build_mini.py", "mini_world.py", "mini_tasks.py", "mini_evaluation.py"):
        whole.update((_REMOTE / name).read_bytes())
    return whole.hexdigest()[:16]


def _digest_of_folder(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        whole.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16]
