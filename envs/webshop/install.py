"""Installing WebShop's files: ``agentbench install webshop [--size 1000|full] [--from FOLDER]``.

Everything is put together in a folder beside the final one, checked there, and moved into place at the end: an
installed catalogue is always whole, and an interrupted download continues where it broke off.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from envs.base.digest import sha256_of
from envs.base.errors import UserError, unknown
from envs.base.home import data_home
from envs.webshop.catalogue import Catalogue, human_instructions, load_catalogue, parse_products, read_json
from envs.webshop.nouns import TABLE_FILE
from envs.webshop.official import OFFICIAL, OfficialFile
from envs.webshop.packed import open_packed, pack, stream_array
from envs.webshop.search import SearchIndex, document
from envs.webshop.world import INDEX_FOLDER, PACKED_FOLDER, installed_folder

_NOTES_SHOWN = 20


def install(
    source: str | None, write: Callable[[str], None], size: str | int = "1000", home: Path | None = None
) -> None:
    """Install a catalogue from the authors' addresses or from a folder at hand, with its search index.

    A downloaded file must have the official digest. A file from a folder need not (a rebuilt catalogue has
    another one): it is used if every product in it is good, and every result says that it is not official. The
    human instructions and a noun table (``nouns.json``) are optional in a folder.

    Args:
        source: folder that holds the files under their official names; ``None`` downloads them.
        write: takes lines for the user.
        size: ``1000`` or ``full``.
        home: data folder, by default :func:`envs.base.home.data_home`.

    Raises:
        UserError: unknown size, no network, a file that is missing, damaged or not official, a bad product.
    """
    size = str(size)
    if size not in OFFICIAL:
        raise unknown("size", size, OFFICIAL)
    target = installed_folder(size, home or data_home())
    staging = target.with_name(f".{size}.part")
    staging.mkdir(parents=True, exist_ok=True)
    files = staging if source is None else Path(source).expanduser()
    if source is None:
        _download(size, staging, write)
    else:
        _check_folder(size, files)
    catalogue = _put_full(files, staging, write) if size == "full" else _put_small(files, staging, write)
    _build_index(catalogue, staging, write)
    _replace(staging, target)
    people = sum(len(entries) for entries in catalogue.human.values())
    write(f"{len(catalogue.products)} products and {people} human instructions installed at {target}")
    for note in (*catalogue.notes[:_NOTES_SHOWN], *(("…",) if len(catalogue.notes) > _NOTES_SHOWN else ())):
        write(f"note: {note}")


def _download(size: str, staging: Path, write: Callable[[str], None]) -> None:
    from envs.base.download import download

    for file in _files(size):
        path = staging / file.name
        instead = "fetch the files of WebShop on another machine and type `agentbench install webshop --from FOLDER`"
        download(file.url, path, instead, write)
        found = path.stat().st_size, sha256_of(path)
        if not file.is_official(*found):
            path.unlink()
            raise UserError(
                f"{file.name} came with {found[0]} bytes and sha256 {found[1]}, "
                f"not those of the official file: {instead}"
            )
        if file.sha256 is None:
            write(f"{file.name}: {found[0]} bytes as published; sha256 {found[1]} (the official one is not known)")


def _check_folder(size: str, source: Path) -> None:
    needed = [file.name for file in (OFFICIAL[size].items, OFFICIAL[size].attributes)]
    if not source.is_dir():
        raise UserError(f"{source} is not a folder: --from takes the folder that holds {' and '.join(needed)}")
    for name in needed:
        if not (source / name).is_file():
            raise UserError(f"{source} has no {name}: --from takes the folder that holds {' and '.join(needed)}")


def _put_small(source: Path, staging: Path, write: Callable[[str], None]) -> Catalogue:
    """Copy the files of the 1,000 products as they are, and load them."""
    for name in (*(file.name for file in _files("1000")), TABLE_FILE):
        _copy(source / name, staging / name, write)
    return load_catalogue(staging, "1000")


def _put_full(source: Path, staging: Path, write: Callable[[str], None]) -> Catalogue:
    """Pack the full catalogue, reading the products one by one; the files themselves are not kept.

    As the original does, it leaves out what is not a product and what repeats an id.
    """
    items, attributes, human = _files("full")
    digests: list[str] = []
    notes: list[str] = []
    extra = read_json(source, attributes, dict, digests, notes)
    people = read_json(source, human, dict, digests, notes) if (source / human.name).is_file() else {}
    length = (source / items.name).stat().st_size
    if length != items.size:
        notes.append(f"{items.name} is not the official file ({length} bytes)")
    write(f"reading {items.name} ({length / 1e6:.0f} MB)")
    products = parse_products(
        stream_array(source / items.name), extra, notes, where=str(source / items.name), on_bad="skip"
    )
    packed = staging / PACKED_FOLDER
    pack(products, lambda ids: human_instructions(people, ids, source / human.name), notes, packed)
    _copy(source / TABLE_FILE, staging / TABLE_FILE, write)
    for file in _files("full"):
        (staging / file.name).unlink(missing_ok=True)
    return open_packed(packed, "full")


def _copy(source: Path, target: Path, write: Callable[[str], None]) -> None:
    if source == target:
        return
    target.unlink(missing_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
        write(f"{target.name}: {target.stat().st_size} bytes from {source.parent}")
    elif target.name == OFFICIAL["1000"].human.name:
        write(f"{target.name} is not in {source.parent}: there will be no human goals")


def _build_index(catalogue: Catalogue, staging: Path, write: Callable[[str], None]) -> None:
    write(f"indexing {len(catalogue.products)} products for search")
    shutil.rmtree(staging / INDEX_FOLDER, ignore_errors=True)
    folder = staging / INDEX_FOLDER / catalogue.digest
    folder.parent.mkdir()
    SearchIndex.build(map(document, catalogue.products), folder)


def _replace(staging: Path, target: Path) -> None:
    """Put the new folder where the old one is, if there is one."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.replace(old)
    staging.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _files(size: str) -> tuple[OfficialFile, ...]:
    files = OFFICIAL[size]
    return files.items, files.attributes, files.human
