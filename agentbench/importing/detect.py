"""Which format a file is of, told by what only that format has; and which files of a folder are logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentbench.importing import chat, inspect_log, trl, verifiers, verl, verl_agent
from agentbench.importing.files import is_log_name, read_records
from agentbench.importing.parts import Bad, Options, Part
from envs.base.errors import UserError, unknown

Reader = Callable[[Path, Options], Iterator[Part]]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of log.

    Attributes:
        read: yields the episodes of one file.
        matches: says whether a record is of this kind.
    """

    read: Reader
    matches: Callable[[Mapping[str, Any]], bool]


FORMATS: dict[str, Format] = {
    "chat": Format(chat.read_chat, chat.is_chat),
    "inspect": Format(inspect_log.read_inspect, inspect_log.is_inspect),
    "verifiers": Format(verifiers.read_verifiers, verifiers.is_verifiers),
    "verl-agent": Format(verl_agent.read_verl_agent, verl_agent.is_verl_agent),
    "verl": Format(verl.read_verl, verl.is_verl),
    "trl": Format(trl.read_trl, trl.is_trl),
}


def choose(source: Path, format: str) -> tuple[str, list[Path], list[Bad]]:
    """Return the format's name, the files to read, and those of a folder that are no log.

    Raises:
        UserError: no such source or format, no log in it, logs of several formats, a link out of the folder.
    """
    if format != "auto" and format not in FORMATS:
        raise unknown("format", format, (*FORMATS, "auto"))
    if source.is_file():
        if format != "auto":
            return format, [source], []
        found = format_of(source)
        if isinstance(found, Bad):
            raise UserError(f"{source}: {found.reason}")
        return found, [source], []
    if not source.is_dir():
        raise UserError(f"{source} does not exist: give the file or folder of the logs")
    files = _files_in(source, format)
    if format != "auto":
        return format, files, []
    kinds: dict[str, list[Path]] = {}
    other: list[Bad] = []
    for path in files:
        found = format_of(path)
        if isinstance(found, Bad):
            other.append(found)
        else:
            kinds.setdefault(found, []).append(path)
    if len(kinds) > 1:
        raise UserError(f"{source} holds logs of several formats ({', '.join(sorted(kinds))}): choose with --format")
    if not kinds:
        first = "; ".join(f"{bad.where}: {bad.reason}" for bad in other[:3])
        raise UserError(f"{source} holds no log that can be read: {first}")
    ((name, known),) = kinds.items()
    return name, known, other


def _files_in(source: Path, format: str) -> list[Path]:
    """Return the files of a folder that could be logs, sorted by path."""
    files = sorted(path for path in source.rglob("*") if is_log_name(path) and path.is_file())
    for path in files:
        if not path.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{path} is a link out of the folder, to {path.resolve()}: remove it, or copy that file there"
            )
    results = {path.parent for path in files if path.name.startswith(("results.jsonl", "traces.jsonl"))}
    files = [path for path in files if not (path.name == "metadata.json" and path.parent in results)]
    if format == "inspect":
        files = [path for path in files if path.suffix in (".eval", ".json")]
    elif format != "auto":
        files = [path for path in files if path.suffix != ".eval"]
    if not files:
        raise UserError(f"{source} holds no log: no file in it ends in .jsonl, .json, .eval, .parquet or .csv")
    return files


def format_of(path: Path) -> str | Bad:
    """Return the format of a file, or why it is not known."""
    if inspect_log.is_zip(path) and inspect_log.is_archive(path):
        return "inspect"
    seen: list[str] = []
    damaged: list[Bad] = []
    for _, record in read_records(path):
        if isinstance(record, Bad):
            damaged.append(record)
            continue
        seen = seen or list(record)
        for name, kind in FORMATS.items():
            if kind.matches(record):
                return name
    if not seen and not damaged:
        return Bad(path.name, "it holds no record: every line is an empty object, or there is none")
    if not seen:
        first = damaged[0]
        place = "" if first.where == path.name else f"{first.where}: "
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        return Bad(path.name, f"it holds no record: {place}{first.reason}{more}")
    names = ", ".join(" ".join(name.split())[:40] for name in seen[:8])
    if path.suffix.lower() in (".csv", ".tsv"):
        return Bad(
            path.name, f"a table with the columns {names}, and no log: none of them holds the messages of episodes"
        )
    return Bad(
        path.name,
        f"cannot tell the format of {path} (its first line has {names}): choose one of {', '.join(FORMATS)} with "
        "--format; docs/importing.md says what each needs",
    )
