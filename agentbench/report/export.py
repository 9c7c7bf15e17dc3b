"""Take results out of runs: tables as CSV or Parquet, a LaTeX table, episodes as chats."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from agentbench.report.inspect_log import log_path, write_inspect_log
from agentbench.report.messages import messages_of
from agentbench.report.runs import ReportRun, read_runs, warn_of_protected
from agentbench.report.steps import make_book
from agentbench.report.sweeps import run_folders
from agentbench.report.tables import result_tables, stacked
from agentbench.report.trajectories import write_atif, write_verifiers
from agentbench.runs.answers import answer_of
from agentbench.runs.episodes import Episode, is_judged
from agentbench.runs.run import Run
from envs.base.errors import UserError, unknown
from envs.base.files import replaced, write_text
from envs.base.journal import journal_of, lines


def export(folders: Sequence[Path], form: str, out: Path, schemes: Sequence[str] = ()) -> list[Path]:
    """Write runs in another form.

    Args:
        folders: of runs; a sweep stands for its runs.
        form: a key of :data:`FORMS`.
        out: a folder for ``csv`` and ``parquet`` (one file a table), ``atif`` and ``verifiers``, a file for the
            others; for ``inspect`` a folder too, in which the file gets the name that Inspect looks for.
        schemes: for ``csv`` and ``parquet``: also write a table ``credit``, one row a step, a column a scheme.

    Returns:
        What was written.

    Raises:
        UserError: an unknown form, a run that cannot be read, nothing to write, or a place that cannot be written.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    runs = read_runs(run_folders(folders))
    warn_of_protected(run.run for run in runs)
    try:
        written = FORMS[form](runs, out, schemes)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    return written


def _tables(runs: Sequence[ReportRun], schemes: Sequence[str]) -> dict[str, pd.DataFrame]:
    found, _ = result_tables(runs)
    tables = {name: pd.DataFrame(table) for name, table in found.items()}
    played = [run for run in runs if run.episodes is not None]
    if played:
        tables["episodes"] = stacked({run.name: run.run.episodes for run in played})
    if schemes and played:
        tables["credit"] = pd.concat([_credit(run, schemes) for run in played], ignore_index=True)
    if "answers" in tables:
        tables["answer_steps"] = pd.DataFrame([row for run in played for row in _answer_steps(run)])
    if not tables:
        raise UserError("the runs have no finished episodes and no metrics yet: there is nothing to export")
    return tables


def _answer_steps(run: ReportRun) -> Iterator[dict[str, Any]]:
    """One row for each answer of which something was recorded, with its whole text."""
    for episode in run.run.read_episodes():
        for index, step in enumerate(episode.steps):
            if (answer := answer_of(step.details)).is_known:
                facts = {"task_id": episode.task_id, "trial": episode.trial, "step": index, "action": step.action}
                yield {"run": run.name, **facts, "text": step.text, "is_valid": step.is_valid, **asdict(answer)}


def _credit(run: ReportRun, schemes: Sequence[str]) -> pd.DataFrame:
    book = make_book(run, schemes)
    facts = pd.DataFrame({name: book.rows.column(name) for name in ("task_id", "trial", "step", "action", "reward")})
    return pd.concat([pd.Series(run.name, facts.index, name="run"), facts, pd.DataFrame(book.credit)], axis=1)


def _csv(runs: Sequence[ReportRun], out: Path, schemes: Sequence[str]) -> list[Path]:
    return _files(runs, out, schemes, "csv", lambda table, path: table.to_csv(path, index=False))


def _parquet(runs: Sequence[ReportRun], out: Path, schemes: Sequence[str]) -> list[Path]:
    return _files(runs, out, schemes, "parquet", lambda table, path: table.to_parquet(path, index=False))


def _files(
    runs: Sequence[ReportRun],
    out: Path,
    schemes: Sequence[str],
    ending: str,
    write: Callable[[pd.DataFrame, Path], None],
) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name, table in _tables(runs, schemes).items():
        path = out / f"{name}.{ending}"
        with replaced(path) as temporary:
            write(table, temporary)
        written.append(path)
    return written


def _latex(runs: Sequence[ReportRun], out: Path, schemes: Sequence[str]) -> list[Path]:
    """One table for the packages booktabs: success in percent with its interval, a row a run."""
    tables = _tables(runs, ())
    if "rates" not in tables:
        raise UserError("the runs have no finished episodes: a LaTeX table shows success rates")
    rates = tables["rates"]
    types = [name for name in rates["task_type"].unique() if name != "overall"]
    columns = ["overall", *(types if len(types) > 1 else [])]
    head = " & ".join(["Run", "Tasks", *(_tex(name) for name in columns)]) + r" \\"
    lines = [rf"\begin{{tabular}}{{lr{'l' * len(columns)}}}", r"\toprule", head, r"\midrule"]
    for name, part in rates.groupby("run", sort=False):
        by_type = part.set_index("task_type")
        cells = [_tex_rate(by_type.loc[label]) if label in by_type.index else "--" for label in columns]
        lines.append(" & ".join([_tex(str(name)), str(by_type.loc["overall", "tasks"]), *cells]) + r" \\")
    note = "% Success in percent, mean over tasks, with 95 % intervals; episodes with errors are left out."
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "\n".join([note, *lines, r"\bottomrule", r"\end{tabular}"]) + "\n")
    return [out]


def _tex_rate(row: pd.Series) -> str:
    value, low, high = (100 * float(row[name]) for name in ("success_rate", "success_low", "success_high"))
    return "--" if math.isnan(value) else rf"{value:.1f} {{\footnotesize [{low:.1f}, {high:.1f}]}}"


def _tex(text: str) -> str:
    names = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(names.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def _chat(runs: Sequence[ReportRun], out: Path, schemes: Sequence[str]) -> list[Path]:
    """One line of JSON an episode, with its messages as chat models know them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for run in runs:
            file.writelines(json.dumps(chat(run, each), ensure_ascii=False) + "\n" for each in _episodes(run))
    return [out]


def chat(run: ReportRun, episode: Episode) -> dict[str, Any]:
    """Return an episode as messages: observations are the user's, answers (or else actions) the assistant's.

    Where anything was recorded of the answers (why one broke the format, whether it was cut, tokens, model), a list
    ``answers`` has it, one object for each of the assistant's messages.
    """
    facts: dict[str, Any] = {
        name: getattr(episode, name) for name in ("task_id", "task_name", "task_type", "trial", "outcome", "score")
    }
    if not is_judged(episode.outcome):
        facts["error"] = episode.error or "error"
    else:
        facts["success"] = episode.won
    facts["truncated"] = bool(episode.steps) and episode.steps[-1].truncated
    facts["rewards"] = [step.reward for step in episode.steps]
    if run.run.protected:
        facts["protected"] = run.run.protected
    if isinstance(policy := run.identity.get("policy"), str) and policy != "unknown":
        facts["model"] = policy
    messages = messages_of(episode, _chat_call, dict)
    answers = [answer_of(step.details) for step in episode.steps]
    known = {"answers": [asdict(answer) for answer in answers]} if any(each.is_known for each in answers) else {}
    return {"run": run.name, **facts, "instruction": episode.instruction, "messages": messages, **known}


def _chat_call(number: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(arguments, ensure_ascii=False)
    return {"id": number, "type": "function", "function": {"name": name, "arguments": text}}


def _jsonl(runs: Sequence[ReportRun], out: Path, schemes: Sequence[str]) -> list[Path]:
    """The finished episodes of a run as they are stored, a line each, whole ones alone."""
    if len(runs) != 1:
        raise UserError(f"a file of stored lines holds one run, got {len(runs)}: name one")
    out.parent.mkdir(parents=True, exist_ok=True)
    with replaced(out) as temporary, temporary.open("wb") as file:
        file.writelines(lines(journal_of(runs[0].run.folder)))
    return [out]


def _inspect(runs: Sequence[ReportRun], out: Path, schemes: Sequence[str]) -> list[Path]:
    if len(runs) != 1:
        raise UserError(f"an Inspect log holds one run, got {len(runs)}: name one")
    path = log_path(runs[0].run, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_inspect_log(runs[0].run, list(_episodes(runs[0])), path)
    return [path]


def _atif(runs: Sequence[ReportRun], out: Path, schemes: Sequence[str]) -> list[Path]:
    return _of_one(runs, out, write_atif)


def _verifiers(runs: Sequence[ReportRun], out: Path, schemes: Sequence[str]) -> list[Path]:
    return _of_one(runs, out, write_verifiers)


def _of_one(runs: Sequence[ReportRun], out: Path, write: Callable[[Run, Iterator[Episode], Path], None]) -> list[Path]:
    if len(runs) != 1:
        raise UserError(f"trajectories are written of one run, got {len(runs)}: name one")
    if out.suffix in (".json", ".jsonl"):
        raise UserError(f"{out} is no folder: trajectories are several files; give a folder as --out")
    write(runs[0].run, _episodes(runs[0]), out)
    return [out]


def _episodes(run: ReportRun) -> Iterator[Episode]:
    if run.episodes is None:
        raise UserError(f"the run in {run.run.folder} has no finished episodes")
    yield from run.run.read_episodes()


FORMS: dict[str, Callable[[Sequence[ReportRun], Path, Sequence[str]], list[Path]]] = {
    "csv": _csv,
    "parquet": _parquet,
    "latex": _latex,
    "chat": _chat,
    "inspect": _inspect,
    "atif": _atif,
    "verifiers": _verifiers,
    "jsonl": _jsonl,
}
"""Forms that runs can be written in, by name."""
