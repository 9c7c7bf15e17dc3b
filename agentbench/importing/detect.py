"""Which format a file is of, told by what only that format has; and which files of a folder are logs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from agentbench.importing import appworld, chat, inspect_log, trl, verifiers, verl, verl_agent
from agentbench.importing.atif import ATIF
from agentbench.importing.claude_code import CLAUDE_CODE
from agentbench.importing.files import is_log_name, read_records, unpacked_name
from agentbench.importing.formats import Format
from agentbench.importing.langsmith import LANGSMITH
from agentbench.importing.openhands import OPENHANDS
from agentbench.importing.parts import Bad
from agentbench.importing.responses import RESPONSES
from agentbench.importing.step_table import is_step_table, read_step_table
from agentbench.importing.swe_agent import SWE_AGENT
from agentbench.importing.tau2 import TAU2
from envs.base.errors import UserError, unknown
from envs.base.plugins import PluginTable

_SPECIAL = ("swe-agent", "openhands", "claude-code", "responses", "langsmith", "appworld")
"""Formats that are asked first: some of their records have a field of the others too."""
_OWN = {
    "chat": Format(chat.read_chat, chat.is_chat, takes_fields=True),
    "inspect": Format(inspect_log.read_inspect, inspect_log.is_inspect),
    "verifiers": Format(verifiers.read_verifiers, verifiers.is_verifiers),
    "verl-agent": Format(verl_agent.read_verl_agent, verl_agent.is_verl_agent),
    "verl": Format(verl.read_verl, verl.is_verl),
    "trl": Format(trl.read_trl, trl.is_trl),
    "atif": ATIF,
    "tau2": TAU2,
    "steps": Format(read_step_table, is_step_table),
    "swe-agent": SWE_AGENT,
    "openhands": OPENHANDS,
    "claude-code": CLAUDE_CODE,
    "responses": RESPONSES,
    "langsmith": LANGSMITH,
    "appworld": appworld.APPWORLD,
}


def _read_plugin(point: EntryPoint) -> Format:
    found = point.load()
    if not isinstance(found, Format):
        raise TypeError(f"{point.value} is no agentbench.importing.Format")
    return found


FORMATS = PluginTable("format", "agentbench.importers", _OWN, _read_plugin)
"""Every format: ours, then those of plug-ins."""


def choose(
    source: Path, format: str, fields: Mapping[str, str] | None = None, with_outcomes: bool = False
) -> tuple[str, list[Path], list[Bad]]:
    """Return the format's name, the files to read, and those of a folder that are no log.

    Args:
        source: a file or folder.
        format: a name of :data:`FORMATS`, or ``auto``.
        fields: those that the user named (``messages``, ``reward``, …); with the messages it is a chat log.
        with_outcomes: whether the outcomes are in a file of their own.

    Raises:
        UserError: no such source or format, no log in it, logs of several formats, a link out of the folder.
    """
    if format != "auto" and format not in FORMATS:
        raise unknown("format", format, (*FORMATS, "auto"))
    if format == "auto" and fields and "messages" in fields:
        format = "chat"
    name, files, other = _chosen(source, format)
    if (fields or with_outcomes) and not FORMATS[name].takes_fields:
        if fields:
            raise UserError(
                f"--messages, --reward, --success and --model-field name fields of chat logs, not of {name}'s"
            )
        raise UserError(f"--outcomes is not for logs of {name}, which say how their episodes ended")
    return name, files, other


def _chosen(source: Path, format: str) -> tuple[str, list[Path], list[Bad]]:
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
    own = _endings(format)
    if named := [path for path in files if _by_name(path, own)]:
        files = named  # what lies beside logs of such names belongs to them
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


def _endings(format: str) -> dict[str, str]:
    """Return the format by the endings of names that it has to itself, of all formats or of one."""
    kinds = FORMATS.items() if format == "auto" else [(format, FORMATS[format])]
    return {ending: name for name, kind in kinds for ending in kind.files}


def _by_name(path: Path, endings: Mapping[str, str]) -> str | None:
    name = unpacked_name(path)
    return next((format for ending, format in endings.items() if name.endswith(ending)), None)


def _files_in(source: Path, format: str) -> list[Path]:
    """Return the files of a folder that could be logs, sorted by path."""
    own = _endings(format)
    files = sorted(path for path in source.rglob("*") if (is_log_name(path) or _by_name(path, own)) and path.is_file())
    for path in files:
        if not path.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{path} is a link out of the folder, to {path.resolve()}: remove it, or copy that file there"
            )
    results = {path.parent for path in files if path.name.startswith(("results.jsonl", "traces.jsonl"))}
    files = [path for path in files if not (path.name == "metadata.json" and path.parent in results)]
    if own and format != "auto":
        files = [path for path in files if _by_name(path, own)]
    elif format == "inspect":
        files = [path for path in files if path.suffix in (".eval", ".json")]
    elif format != "auto":
        files = [path for path in files if path.suffix != ".eval"]
    if not files:
        endings = " or ".join(own) if own and format != "auto" else ".jsonl, .json, .eval, .parquet or .csv"
        raise UserError(f"{source} holds no log: no file in it ends in {endings}")
    return files


def format_of(path: Path) -> str | Bad:
    """Return the format of a file, or why it is not known."""
    if inspect_log.is_zip(path) and inspect_log.is_archive(path):
        return "inspect"
    if path.name == appworld.LOG:
        return "appworld"  # no file of records
    seen: list[str] = []
    first_record: dict[str, Any] = {}
    damaged: list[Bad] = []
    for _, record in read_records(path):
        if isinstance(record, Bad):
            damaged.append(record)
            continue
        seen = seen or list(record)
        first_record = first_record or record
        for name, kind in (*((each, _OWN[each]) for each in _SPECIAL), *FORMATS.items()):
            with FORMATS.used(name):
                if kind.matches(record):
                    return name
    if not seen and not damaged:
        return Bad(path.name, "it holds no record: every line is an empty object, or there is none")
    if not seen:
        first = damaged[0]
        place = "" if first.where == path.name else f"{first.where}: "
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        return Bad(path.name, f"it holds no record: {place}{first.reason}{more}")
    names = ", ".join(_plain(name) for name in seen[:8])
    if path.suffix.lower() in (".csv", ".tsv"):
        return Bad(
            path.name, f"a table with the columns {names}, and no log: none of them holds the messages of episodes"
        )
    return Bad(
        path.name,
        f"cannot tell the format of {path} (its first record has {_described(first_record)}): {_advice(first_record)}"
        f"choose one of {', '.join(FORMATS)} with --format; docs/importing.md says what each needs",
    )


def _plain(name: str) -> str:
    return " ".join(str(name).split())[:40]


def _described(record: Mapping[str, Any]) -> str:
    """Say what fields a record has, and of what kind."""
    return ", ".join(f"{_plain(name)}: {_kind(value)}" for name, value in list(record.items())[:8])


def _kind(value: object) -> str:
    if isinstance(value, list):
        objects = sum(isinstance(each, dict) for each in value)
        return f"a list of {len(value)} objects" if value and objects == len(value) else f"a list of {len(value)}"
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "true or false"
    return "an object" if isinstance(value, dict) else "text" if isinstance(value, str) else "a number"


def _advice(record: Mapping[str, Any]) -> str:
    """Name the options that would read a record, where one of its fields could hold messages."""
    lists = [name for name, value in record.items() if _kind(value).endswith(" objects")]
    texts = [name for name, value in record.items() if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[ ")]
    if not (lists or texts):
        return ""
    asked = [f"--messages {_plain((lists + texts)[0])}"]
    numbers = [name for name, value in record.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    likely = [name for name in numbers if "reward" in name.lower() or "score" in name.lower()] or numbers
    truths = [name for name, value in record.items() if isinstance(value, bool)]
    if likely and not any(name in record for name in chat.OUTCOMES):
        asked.append(f"--reward {_plain(likely[0])}")
    elif truths and not any(name in record for name in chat.OUTCOMES):
        asked.append(f"--success {_plain(truths[0])}")
    return f"{' '.join(asked)} would read it as a chat log if these are its messages and its outcome; else "
