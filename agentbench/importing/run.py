"""From a file or folder of logs to a run.

Logs are read once, into a file beside the run, which finds what there is: the models, the environments, what is no
episode, what is there twice. So the run's record says from the start how many episodes belong to it and what was left
out, and an import that was killed is known for what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

from agentbench.importing.detect import FORMATS, choose
from agentbench.importing.formats import Reader
from agentbench.importing.parts import Bad, Options, Part
from agentbench.importing.spool import Spool
from agentbench.importing.survey import Survey, survey
from agentbench.runs.episodes import Episode, Key, to_line
from agentbench.runs.journal import read_sorted
from agentbench.runs.provenance import describe
from agentbench.runs.run import Run, open_run
from agentbench.runs.writer import RunWriter
from envs.base.digest import digest_of_stream, sha256_of, short_digest
from envs.base.errors import UserError, unknown
from envs.base.safe_text import holds_secret, redacted

_OLD_OPTIONS = ("success_at", "anchor", "scorer")
_KEPT_REASONS = 20
_BATCH = 32
"""Episodes that wait for the disk together."""


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
        format: a key of :data:`FORMATS`, or ``auto``: by what only the format has.
        options: how logs are read.

    Raises:
        UserError: no such source or format, no episode in it, logs of several models or formats, a link out of the
            source's folder, an output folder that holds another run.
    """
    options = options or Options()
    name, files, other = choose(Path(source), format, options.fields, options.outcomes is not None)
    with Spool(Path(out)) as spool:
        found = survey(spool.passing(_parts(files, FORMATS[name].read, options)), options)
        bad = [*other, *found.bad]
        model = _model(found, source, options)
        if not found.kept:
            raise UserError(f"{source} holds no episode of the format {name!r} ({_reasons(bad) or 'it is empty'})")
        changed = {each.name for each in fields(Options) if getattr(options, each.name) != each.default}
        identity = {
            "env": f"imported:{name}",
            "policy": model or "unknown",
            "source_digest": _digest(files),
            "import_options": {
                field: value
                for field, value in asdict(options).items()
                if field in _OLD_OPTIONS or field in changed - {"outcomes"}
            },
            **({"outcomes_digest": _digest([options.outcomes])} if options.outcomes else {}),
        }
        record = {
            "kind": "import", "source": [path.name for path in files], "notes": found.notes,
            "imported": {"episodes": found.kept, "left_out": len(bad), "reasons": _recorded(bad)}, **describe(),
            **({"played": played} if (played := _played(found)) else {}),
            **({"protected": protected} if (protected := FORMATS[name].protected or found.protected) else {}),
        }  # fmt: skip
        with RunWriter(Path(out), identity, record) as writer:
            _store(writer, spool, found)
    return Imported(open_run(out), bad)


def _parts(files: list[Path], read: Reader, options: Options) -> Iterator[Part]:
    for path in files:
        yield from read(path, options)


def _model(found: Survey, source: str | Path, options: Options) -> str | None:
    """Return the model whose episodes these are.

    Raises:
        UserError: there are several, or the one that was asked for is not there.
    """
    if options.model is not None:
        if options.model not in found.models:
            raise unknown("model", options.model, found.models or ("none in these logs",))
        return options.model
    if len(found.models) > 1:
        raise UserError(
            f"{source} holds logs of several models ({', '.join(sorted(found.models))}): import each into a run of "
            "its own, with --model NAME"
        )
    return next(iter(found.models), None)


def _played(found: Survey) -> str | None:
    """Return the one environment of ours that all episodes are of."""
    return next(iter(found.played)) if len(found.played) == 1 else None


def _store(writer: RunWriter, spool: Spool, found: Survey) -> None:
    """Add the episodes that are kept, a task's trials in the order of the logs, and write the tables.

    Raises:
        UserError: the folder has one of them already, and another one than was read now.
    """
    from agentbench.runs.tables import further_of  # slow to import, and not needed to look at logs

    there = _stored(writer.folder) if writer.finished else {}
    keys: dict[int, Key] = {}
    further: set[tuple[bool, bool]] = set()

    def kept() -> Iterator[Episode]:
        trials: Counter[str] = Counter()
        for number in spool.numbers:
            if number in found.passed_over:
                continue
            episode = found.placed(*spool.read(number))
            episode.trial = trials[episode.task_id]
            trials[episode.task_id] += 1
            keys[number] = episode.key
            further.add(further_of(episode))
            if episode.key not in there:
                yield episode
            elif there[episode.key] != _line_digest(episode):
                raise UserError(
                    f"{writer.folder} holds these logs as another version of agentbench read them: choose another --out"
                )

    def in_order() -> Iterator[Episode]:
        for number, (_, trial) in sorted(keys.items(), key=lambda item: item[1]):
            episode = found.placed(*spool.read(number))
            episode.trial = trial
            yield episode

    new = kept()
    while batch := list(islice(new, _BATCH)):
        writer.add(*batch)
    writer.close_tables(in_order, (any(answers for answers, _ in further), any(branches for _, branches in further)))


def _stored(folder: Path) -> dict[Key, str]:
    return {episode.key: _line_digest(episode) for episode in read_sorted(folder)}


def _line_digest(episode: Episode) -> str:
    return short_digest(to_line(episode), 64)


def _gathered(bad: list[Bad]) -> dict[str, list[str]]:
    where: dict[str, list[str]] = {}
    for part in bad:
        where.setdefault(part.reason, []).append(part.where)
    return where


def _reasons(bad: list[Bad]) -> str:
    """Say each of the first three reasons once, and of how many parts it is true."""
    return "; ".join(
        f"{places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''}: {reason}"
        for reason, places in list(_gathered(bad).items())[:3]
    )


def _recorded(bad: list[Bad]) -> list[dict[str, Any]]:
    """Return the reasons as ``run.json`` keeps them: the commonest first, without secrets that a log may hold."""
    by_count = sorted(_gathered(bad).items(), key=lambda item: -len(item[1]))[:_KEPT_REASONS]
    told = [
        {"reason": redacted(reason)[:300], "count": len(places), "first": redacted(places[0])[:300]}
        for reason, places in by_count
    ]
    return [{**each, "reason": "it is not repeated here"} if holds_secret(each) else each for each in told]


def _digest(files: list[Path]) -> str:
    return digest_of_stream((bytes.fromhex(sha256_of(path)) for path in files), 12)


def options_from(success_at: float, anchor: str, scorer: str | None, **more: Any) -> Options:
    """Make the options from what the command line gives.

    Raises:
        UserError: an anchor, or a file of outcomes, that there is not.
    """
    if anchor not in ("observation", "history"):
        raise unknown("anchor", anchor, ("observation", "history"))
    if (outcomes := more.get("outcomes")) is not None and not outcomes.is_file():
        raise UserError(f"no file {outcomes}: --outcomes takes one that says how the episodes ended")
    checked: dict[str, Any] = {"success_at": success_at, "anchor": anchor, "scorer": scorer, **more}
    return Options(**checked)
