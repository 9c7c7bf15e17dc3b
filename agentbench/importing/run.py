"""From a file or folder of logs to a run: which reader, which trial, and what was left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agentbench.episodes import Episode
from agentbench.importing import chat, inspect_log, verifiers
from agentbench.importing.parts import Bad, Options, Part, is_list, read_lines
from agentbench.importing.verl_agent import read_verl_agent
from agentbench.provenance import describe
from agentbench.store import Run, RunWriter, open_run
from envs.errors import UserError, unknown

Reader = Callable[[Path, Options], Iterator[Part]]


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of log.

    Attributes:
        read: yields the episodes of one file.
        endings: of the files that are read in a folder.
        fields: a line with all fields of one of these sets is of this kind.
        model_of: finds the model's name.
    """

    read: Reader
    endings: tuple[str, ...]
    fields: tuple[tuple[str, ...], ...] = ()
    model_of: Callable[[Path], str | None] | None = None


FORMATS: dict[str, Format] = {
    "chat": Format(chat.read_chat, (".jsonl",), tuple((name,) for name in chat.LISTS)),
    "inspect": Format(inspect_log.read_inspect, (".eval", ".json"), model_of=inspect_log.model_of),
    "verifiers": Format(
        verifiers.read_verifiers, (".jsonl",), (("prompt", "completion"), ("task", "traces")), verifiers.model_of
    ),
    "verl-agent": Format(read_verl_agent, (".jsonl",), (("input", "output", "score"),)),
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import gave.

    Attributes:
        run: the stored run.
        bad: what was left out, and why.
    """

    run: Run
    bad: list[Bad]


def import_run(
    source: str | Path, out: str | Path, *, format: str = "auto", options: Options | None = None
) -> Imported:
    """Read logs that were made elsewhere into a run.

    A task's episodes get the trials 0, 1, … in the order of files and lines. Importing the same logs into the
    same folder again changes nothing.

    Args:
        source: a file, or a folder in which every file of the format is read, sorted by path.
        out: folder of the run.
        format: a key of :data:`FORMATS`, or ``auto``: by the file's ending or the fields of its first good line.
        options: how logs are read.

    Raises:
        UserError: no such source or format, no episode in it, logs of several models or formats, a link out of the
            source's folder, an output folder that holds another run.
    """
    options = options or Options()
    name, files = _choose(Path(source), format)
    models = {model for path in files if (find := FORMATS[name].model_of) and (model := find(path))}
    if len(models) > 1:
        raise UserError(
            f"{source} holds logs of several models ({', '.join(sorted(models))}): import each into a run of its own"
        )
    identity = {
        "env": f"imported:{name}",
        "policy": next(iter(models), "unknown"),
        "source_digest": _digest(files),
        "import_options": asdict(options),
    }
    bad: list[Bad] = []
    episodes = _numbered(_episodes(files, FORMATS[name].read, options, bad))
    first = next(episodes, None)
    if first is None:
        raise UserError(f"{source} holds no episode of the format {name!r} ({_reasons(bad) or 'it is empty'})")
    record = {"kind": "import", "source": [path.name for path in files], "notes": [], **describe()}
    with RunWriter(Path(out), identity, record) as writer:
        for episode in _chain(first, episodes):
            if episode.key not in writer.finished:
                writer.add(episode)
        writer.close_tables()
    return Imported(open_run(out), bad)


def _reasons(bad: list[Bad]) -> str:
    """Say each of the first three reasons once, and of how many parts it is true."""
    where: dict[str, list[str]] = {}
    for part in bad:
        where.setdefault(part.reason, []).append(part.where)
    return "; ".join(
        f"{places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''}: {reason}"
        for reason, places in list(where.items())[:3]
    )


def _chain(first: Episode, rest: Iterator[Episode]) -> Iterator[Episode]:
    yield first
    yield from rest


def _episodes(files: list[Path], read: Reader, options: Options, bad: list[Bad]) -> Iterator[Episode]:
    """Yield the episodes; put what is none into ``bad``."""
    for path in files:
        for part in read(path, options):
            if isinstance(part, Bad):
                bad.append(part)
            else:
                yield part


def _numbered(episodes: Iterator[Episode]) -> Iterator[Episode]:
    trials: Counter[str] = Counter()
    for episode in episodes:
        episode.trial = trials[episode.task_id]
        trials[episode.task_id] += 1
        yield episode


def _choose(source: Path, format: str) -> tuple[str, list[Path]]:
    """Return the format's name and the files to read."""
    if format != "auto" and format not in FORMATS:
        raise unknown("format", format, (*FORMATS, "auto"))
    if source.is_file():
        return (_format_of(source) if format == "auto" else format), [source]
    if not source.is_dir():
        raise UserError(f"{source} does not exist: give the file or folder of the logs")
    endings = {ending for kind in FORMATS.values() for ending in kind.endings}
    wanted = endings - {".json"} if format == "auto" else set(FORMATS[format].endings)
    files = sorted(path for path in source.rglob("*") if path.suffix in wanted and path.is_file())
    for path in files:
        if not path.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{path} is a link out of the folder, to {path.resolve()}: remove it, or copy that file there"
            )
    if not files:
        raise UserError(f"{source} holds no log: no file in it ends in {' or '.join(sorted(wanted))}")
    if format != "auto":
        return format, files
    kinds = {_format_of(path) for path in files}
    if len(kinds) > 1:
        raise UserError(f"{source} holds logs of several formats ({', '.join(sorted(kinds))}): choose with --format")
    return kinds.pop(), files


def _format_of(path: Path) -> str:
    if path.suffix in FORMATS["inspect"].endings and not is_list(path):
        return "inspect"
    seen: list[str] = []
    for _, record in read_lines(path):
        if isinstance(record, dict):
            seen = seen or list(record)
            for name, kind in FORMATS.items():
                if any(all(field in record for field in fields) for fields in kind.fields):
                    return name
    names = [" ".join(name.split())[:40] for name in seen[:8]]
    found = f" (its first line has {', '.join(names)})" if names else ""
    raise UserError(
        f"cannot tell the format of {path}{found}: choose one of {', '.join(FORMATS)} with --format; docs/importing.md "
        "says what each needs"
    )


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def options_from(success_at: float, anchor: str, scorer: str | None) -> Options:
    """Make the options from what the command line gives.

    Raises:
        UserError: an anchor that there is not.
    """
    if anchor not in ("observation", "history"):
        raise unknown("anchor", anchor, ("observation", "history"))
    checked: dict[str, Any] = {"success_at": success_at, "anchor": anchor, "scorer": scorer}
    return Options(**checked)
