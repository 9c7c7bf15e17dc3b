"""Logs of Inspect: a ``.eval`` file (a zip of JSON), or the ``.json`` form; read without the package.

An ``.eval`` archive has ``header.json`` (``_journal/start.json`` while the evaluation runs) and one
``samples/<id>_epoch_<n>.json`` a sample. A sample has ``id``, ``epoch``, ``input`` (text or messages), ``messages``,
``scores`` (name -> ``{"value": …}``), ``error``, ``limit``, and ``attachments``: long texts, which messages name as
``attachment://<hash>``. Members are read in memory, by their names in the archive, and never written anywhere.
Source: inspect_ai, ``log/_recorders/eval.py``, ``log/_log.py``, ``log/_condense.py`` (log version 2); the values of
scores as in ``scorer/_metric.py`` (``value_to_float``).
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from agentbench.importing.chat import task_of
from agentbench.importing.conversation import Ending, checked_messages, first_answers, make_episode
from agentbench.importing.files import read_records
from agentbench.importing.own import own_episode
from agentbench.importing.parts import (
    MAX_BYTES,
    Bad,
    BadPartError,
    Options,
    Part,
    Read,
    number,
    parse_object,
    read_part,
    stated_error,
)

ATTACHMENT = "attachment://"
SCORER = "success"
"""The score that our own export writes."""
GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_EPOCH = re.compile(r"(.*)_epoch_(\d{1,9})\.json", re.DOTALL)
_ZSTANDARD = 93  # zipfile can read it from Python 3.14 on
_BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError)


def read_inspect(path: Path, options: Options) -> Iterator[Part]:
    """Yield the episode of every sample, an id's epochs in order, or why it is none."""
    try:
        header, samples = _open_log(path)
    except BadPartError as error:
        yield Bad(path.name, str(error))
        return
    about = _object(header.get("eval"))
    for where, read in samples:
        yield read_part(where, partial(_episode, read, about, options))


def is_inspect(record: Mapping[str, Any]) -> bool:
    """Return whether a record is a whole log in the ``.json`` form."""
    return isinstance(record.get("eval"), dict) and any(name in record for name in ("samples", "results", "status"))


def is_zip(path: Path) -> bool:
    """Tell the two forms apart by their first bytes, whatever the file is called."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def is_archive(path: Path) -> bool:
    """Return whether a zip archive is a log of Inspect, or damaged so that it cannot be seen."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _BROKEN:
        return True
    return path.suffix == ".eval" or "header.json" in names or "_journal/start.json" in names


Open = Callable[[], dict[str, Any]]


def _open_log(path: Path) -> tuple[dict[str, Any], list[tuple[str, Open]]]:
    """Return the header, and the name and reader of every sample.

    Raises:
        BadPartError: the file is no such log.
    """
    if not is_zip(path):
        if path.stat().st_size > MAX_BYTES:
            raise BadPartError(f"longer than {MAX_BYTES} bytes: convert it with `inspect log convert --to eval`")
        log = next((record for _, record in read_records(path)), Bad(path.name, "the file is empty"))
        if isinstance(log, Bad):
            raise BadPartError(log.reason)
        samples = log.get("samples") or []
        if "eval" not in log or not isinstance(samples, list):
            raise BadPartError("not a log of Inspect: it has no 'eval' and 'samples'")
        named = enumerate(map(_object, samples))
        return log, [(f"{path.name} sample {index}", partial(_object, sample)) for index, sample in named]
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
    except _BROKEN as error:
        raise BadPartError(f"not a whole zip archive ({error})") from None
    header = members.get("header.json") or members.get("_journal/start.json")
    if header is None:
        raise BadPartError("not a log of Inspect: it has neither header.json nor _journal/start.json")
    names = sorted((name for name in members if name.startswith("samples/") and name.endswith(".json")), key=_order)
    return _read_json(path, header), [
        (f"{path.name} {name!r:.120}", partial(_read_json, path, members[name])) for name in names
    ]


def _order(name: str) -> tuple[str, int]:
    """Sort epochs by their number, whatever its length."""
    found = _EPOCH.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, 0)


def _read_json(path: Path, info: zipfile.ZipInfo) -> dict[str, Any]:
    return parse_object(read_member(path, info))


def read_member(path: Path, info: zipfile.ZipInfo) -> bytes:
    """Return the content of one member of a zip archive, deflated, stored or Zstandard, checked by its CRC.

    Raises:
        BadPartError: it is damaged, or longer than :data:`MAX_BYTES`.
    """
    if info.file_size > MAX_BYTES:
        raise BadPartError(f"longer than {MAX_BYTES} bytes")
    try:
        if info.compress_type == _ZSTANDARD:
            return _read_zstandard(path, info)
        with zipfile.ZipFile(path) as archive:
            return archive.read(info)
    except _BROKEN as error:
        raise BadPartError(f"cannot be read ({error})") from None


def _read_zstandard(path: Path, info: zipfile.ZipInfo) -> bytes:
    import pyarrow as pa

    with path.open("rb") as file:
        file.seek(info.header_offset + 26)  # behind the fixed part of the member's header: two lengths
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        file.seek(info.header_offset + 30 + name + extra)
        packed = file.read(info.compress_size)
    content: bytes = pa.decompress(packed, decompressed_size=info.file_size, codec="zstd", asbytes=True)
    if zlib.crc32(content) != info.CRC:
        raise BadPartError("damaged: wrong checksum")
    return content


def _episode(read: Open, about: dict[str, Any], options: Options) -> Read:
    sample = read()
    name, given = sample.get("id"), sample.get("input")
    if not isinstance(name, (str, int)):
        raise BadPartError("not a sample: it has no id")
    task = str(about.get("task") or "imported")
    attachments = _object(sample.get("attachments"))
    model = about.get("model")
    model = model if isinstance(model, str) and model else None
    ours = _object(_object(sample.get("metadata")).get("agentbench"))
    failed, stopped = stated_error(sample.get("error")), bool(sample.get("limit"))
    created = str(about.get("created") or "")
    if own := own_episode(ours, options, error=failed, truncated=stopped, model=model):
        return replace(own, same_as=_names(sample, about), created=created)
    _check_length(sample.get("messages"), attachments)
    said = sample.get("messages")
    if said is None and not isinstance(given, list):  # it failed before the first message
        said = [{"role": "user", "content": given}] if isinstance(given, str) else []
    messages = [_ours(each) for each in checked_messages(_with_attachments(said, attachments))]
    examples = map(_object, given) if isinstance(given, list) else ()
    chosen = None if options.task_field in (None, "messages") else task_of(sample, options)[1]
    made = make_episode(
        messages,
        _ending(sample, options),
        options,
        task_id=f"{task}:{name if chosen is None else chosen}",
        task_name=_text(ours.get("task_name")),
        task_type=_text(ours.get("task_type")) or task,
        instruction=given if ours and isinstance(given, str) else None,
        given=first_answers(messages, sum(message.get("role") == "assistant" for message in examples)),
        model=model,
    )
    return replace(made, by_message="", same_as=_names(sample, about), created=created)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _names(sample: dict[str, Any], about: dict[str, Any]) -> tuple[str, ...]:
    """Return the names that a sample keeps when its evaluation is tried again, or its log converted."""
    uuid, again = sample.get("uuid"), about.get("task_id")
    names = [f"uuid {uuid}"] if isinstance(uuid, str) and uuid else []
    if isinstance(again, str) and again:
        names.append(json.dumps([again, sample.get("id"), sample.get("epoch")]))
    return tuple(names)


def _ours(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with what our own export wrote beside it: what was done, where it is not the whole answer."""
    beside = _object(_object(message.get("metadata")).get("agentbench"))
    return {**message, **{name: beside[name] for name in ("action", "is_valid") if name in beside}}


def _check_length(messages: Any, attachments: dict[str, Any]) -> None:
    """Refuse messages that name long texts so often that together they would fill the memory."""
    waiting, length = [messages], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | dict):
            waiting.extend(value if isinstance(value, list) else value.values())
        elif isinstance(value, str) and value.startswith(ATTACHMENT):
            length += len(str(attachments.get(value[len(ATTACHMENT) :], "")))
            if length > MAX_BYTES:
                raise BadPartError(f"longer than {MAX_BYTES} characters with its attachments")


def _with_attachments(value: Any, attachments: dict[str, Any]) -> Any:
    """Put the long texts back where a message names them."""
    if isinstance(value, str) and value.startswith(ATTACHMENT):
        return attachments.get(value[len(ATTACHMENT) :], value)
    if isinstance(value, list):
        return [_with_attachments(item, attachments) for item in value]
    if isinstance(value, dict):
        return {name: _with_attachments(item, attachments) for name, item in value.items()}
    return value


def _ending(sample: dict[str, Any], options: Options) -> Ending:
    truncated = bool(sample.get("limit"))
    ours = _object(_object(sample.get("metadata")).get("agentbench"))
    if error := stated_error(sample.get("error")):
        return Ending(error=error, truncated=truncated)
    scores = _object(sample.get("scores"))
    if not scores and sample.get("score") is not None:  # logs of 2024 had one, and no name for it
        old = sample["score"]
        scores = {"score": old if isinstance(old, dict) else {"value": old}}
    if options.scorer is not None:
        if options.scorer not in scores:
            raise BadPartError(f"no scorer {options.scorer!r}: there is {', '.join(scores) or 'none'}")
        scores = {options.scorer: scores[options.scorer]}
    several: list[str] = []
    for name, score in scores.items():
        value = _object(score).get("value") if isinstance(score, dict) else score
        if isinstance(value, dict):
            several += [f"{each} of {name}" for each in value]
            value = value.get(options.score) if options.score is not None else None
        elif options.score not in (None, name):
            continue
        if isinstance(value, str):
            value = GRADES.get(value, GRADES.get(value.lower(), _as_number(value)))
        if isinstance(value, (bool, int, float)):
            found = Ending(number(value, "score"), truncated=truncated)
            return _with_rewards(found, ours) if name == SCORER and ours else found
    if options.score is not None and scores:
        raise BadPartError(f"no score {options.score!r} that is a number: there is {', '.join(several or scores)}")
    if several:
        raise BadPartError(
            f"no score that is a number but several values: choose one of {', '.join(several)} (--score)"
        )
    raise BadPartError("no score that is a number" if scores else "it was not scored")


def _with_rewards(found: Ending, ours: dict[str, Any]) -> Ending:
    """Return the ending with what our own export wrote beside the score: each step's reward, and progress."""
    rewards, score = ours.get("rewards"), ours.get("score")
    if not isinstance(rewards, list) or not isinstance(score, (int, float)):
        return found
    listed = [number(reward, "a reward") for reward in rewards]
    return Ending(listed, found.rewards == 1.0, number(score, "score"), found.truncated)


def _as_number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
