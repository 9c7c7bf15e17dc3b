"""The credit commands on a small made-up run, as a user calls them."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toy_environment  # noqa: F401 (registers the environment)

from agentbench import cli, evaluate, open_run
from credit import SCHEMES, advantages
from policies.contract import Response


class Wavering:
    """Says ``up`` more often the later the trial, so that rollouts of a task differ."""

    name, digest = "wavering", "wavering-1"

    def act(self, prompts: Sequence[Any]) -> list[Response]:
        return [Response("up" if prompt.seed % 4 <= prompt.trial else "stay") for prompt in prompts]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    evaluate("toy", Wavering(), out=out, trials=4, workers=1, env_options={"max_steps": 6})
    return out


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agentbench", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return called


def test_every_scheme_is_listed_with_equation_and_source(call: Any) -> None:
    code, out, _ = call("schemes")
    assert code == 0
    for name, scheme in SCHEMES.items():
        assert f"\n{name}: " in out
        assert scheme.equation.splitlines()[0] in out
        assert " ".join(scheme.source.split()) in out
    _, one, _ = call("schemes", "gigpo")
    assert "step_weight = 1.0" in one and "compat='verl-agent'" in one
    code, _, err = call("schemes", "gipgo")
    assert code == 2 and "did you mean gigpo" in err


def test_advantages_are_written_one_row_a_step(call: Any, run: Path, tmp_path: Path) -> None:
    code, out, _ = call(
        "credit", run, "--scheme", "salt,gigpo,hgpo,mapo", "--gamma", "0.9", "--out", tmp_path / "a.parquet"
    )
    assert code == 0 and "24 episodes" in out and "6 groups" in out
    table = pd.read_parquet(tmp_path / "a.parquet")
    assert list(table.columns) == ["task_id", "trial", "step", "salt", "gigpo", "hgpo", "mapo"]
    steps = open_run(run).steps()
    np.testing.assert_array_equal(table["gigpo"], advantages("gigpo", steps, gamma=0.9))
    np.testing.assert_array_equal(table["salt"], advantages("salt", steps))
    assert not table.duplicated(["task_id", "trial", "step"]).any()
    call("credit", run, "--scheme", "grpo", "--out", tmp_path / "a.csv")
    assert len(pd.read_csv(tmp_path / "a.csv")) == len(table)


def test_columns_from_elsewhere_are_joined(call: Any, run: Path, tmp_path: Path) -> None:
    key = open_run(run).step_table[["task_id", "trial", "step"]]
    more = key.assign(value=0.25).sample(frac=1, random_state=0)
    more.to_csv(tmp_path / "value.csv", index=False)
    code, out, _ = call("credit", run, "--scheme", "gae", "--columns", tmp_path / "value.csv")
    assert code == 0 and "gae" in out
    more.iloc[1:].to_parquet(tmp_path / "short.parquet")
    code, _, err = call("credit", run, "--scheme", "gae", "--columns", tmp_path / "short.parquet")
    assert code == 2 and f"has no row for 1 of the run's {len(key)} steps" in err
    pd.concat([more, more.iloc[:1]]).to_csv(tmp_path / "twice.csv", index=False)
    code, _, err = call("credit", run, "--scheme", "gae", "--columns", tmp_path / "twice.csv")
    assert code == 2 and "several rows for one step" in err


def test_a_column_that_the_run_has_is_replaced_only_where_that_is_said(call: Any, run: Path, tmp_path: Path) -> None:
    key = open_run(run).step_table[["task_id", "trial", "step"]]
    key.assign(reward=0.0).to_csv(tmp_path / "reward.csv", index=False)
    code, _, err = call("credit", run, "--scheme", "grpo", "--columns", tmp_path / "reward.csv")
    assert code == 2 and "has a column 'reward', and so has the run: --replace" in err
    code, out, _ = call("credit", run, "--scheme", "grpo", "--columns", tmp_path / "reward.csv", "--replace")
    assert code == 0 and "grpo" in out
    for name in ("group", "episode"):
        key.assign(**{name: "x"}).to_csv(tmp_path / "fixed.csv", index=False)
        code, _, err = call("credit", run, "--scheme", "grpo", "--columns", tmp_path / "fixed.csv", "--replace")
        assert code == 2 and f"has a column '{name}', which the run itself decides" in err


@pytest.mark.parametrize("content", [b"", b"PAR1 cut", b"\xff\xfe\x00", b"task_id,trial,step\n,,\n", b'a,b\n"x'])
@pytest.mark.parametrize("ending", ["csv", "parquet", "txt"])
def test_a_broken_file_of_columns_is_one_clear_line(
    call: Any, run: Path, tmp_path: Path, content: bytes, ending: str
) -> None:
    (tmp_path / f"broken.{ending}").write_bytes(content)
    code, _, err = call("credit", run, "--scheme", "gae", "--columns", tmp_path / f"broken.{ending}")
    assert code == 2 and len(err.strip().splitlines()) == 1 and f"broken.{ending}" in err, err


def test_comparing_all_schemes_says_which_were_skipped_and_why(call: Any, run: Path, tmp_path: Path) -> None:
    code, out, _ = call("compare-schemes", run, "--out", tmp_path / "report.md")
    assert code == 0
    assert "skipped gae: gae needs the column 'value'" in out
    assert "where they differ most" in out and "seen: at " in out
    assert "correlation in %" in out
    report = (tmp_path / "report.md").read_text()
    assert "| 1 salt |" in report and "skipped empg" in report
    call("compare-schemes", run, "--schemes", "grpo,gigpo,hgpo", "--out", tmp_path / "pairs.csv")
    assert len(pd.read_csv(tmp_path / "pairs.csv")) == 3


def test_a_graph_is_drawn_and_exported(call: Any, run: Path, tmp_path: Path) -> None:
    task = str(open_run(run).episodes["task_id"].iloc[0])
    for ending in ("svg", "png", "graphml"):
        code, out, _ = call("graph", run, "--task", task, "--scheme", "gigpo", "--out", tmp_path / f"g.{ending}")
        assert code == 0 and "situations" in out
        assert (tmp_path / f"g.{ending}").stat().st_size > 500
    code, out, _ = call("graph", run, "--task", "toy:3", "--edges", "2", "--out", tmp_path / "few.svg")
    assert code == 0 and "2 of them shown" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("credit", "RUN", "--scheme", "gipgo"), "did you mean gigpo"),
        (("credit", "RUN", "--scheme", ","), "no scheme was named"),
        (("credit", "RUN", "--scheme", "gae"), "gae needs the column 'value'"),
        (("credit", "RUN", "--scheme", "gigpo", "--gama", "0.9"), "did you mean --gamma"),
        (
            ("credit", "RUN", "--scheme", "gigpo", "--gamma", "7"),
            "gamma of scheme 'gigpo' must be a number from 0 to 1",
        ),
        (("credit", "RUN", "--scheme", "gigpo", "--out", "a.txt"), "must end in .parquet or .csv"),
        (("credit", "RUN", "--scheme", "gae", "--columns", "no.csv"), "no file no.csv"),
        (("credit", "no-such-run", "--scheme", "gigpo"), "no run in no-such-run"),
        (("compare-schemes", "RUN", "--out", "a.txt"), "the name ends in .md or .csv"),
        (("compare-schemes", "RUN", "--schemes", "gae,empg"), "none of the schemes could be computed"),
        (("graph", "RUN", "--out", "g.svg"), "the run has 6 tasks: choose one with --task"),
        (("graph", "RUN", "--out", "g.jpg"), "the name ends in .svg"),
        (("graph", "RUN", "--task", "toy", "--out", "g.svg"), "6 tasks begin with 'toy'"),
        (("graph", "RUN", "--task", "nothing", "--out", "g.svg"), "unknown task of this run"),
        (("graph", "RUN", "--task", "toy:1", "--scheme", "salt,grpo", "--out", "g.svg"), "name one"),
    ],
)
def test_mistakes_get_one_clear_line(call: Any, run: Path, arguments: tuple[str, ...], message: str) -> None:
    code, _, err = call(*(run if argument == "RUN" else argument for argument in arguments))
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.reference
def test_the_recorded_vectors_are_verified_from_the_command_line(call: Any, shared: Path) -> None:
    code, out, _ = call("verify", "credit", "--reference", shared / "reference" / "credit")
    assert code == 0
    assert "vectors agree" in out.splitlines()[-1]


def page_maker(name: str) -> dict[str, Any]:
    site = Path(__file__).parents[2] / "docs" / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))  # as where it is run as a program
        return runpy.run_path(str(site / f"{name}.py"))


def test_the_document_of_schemes_is_up_to_date() -> None:
    maker = page_maker("schemes")
    assert maker["PATH"].read_text(encoding="utf-8") == maker["document"](), "run: python docs/site/schemes.py"


def test_the_page_of_settings_is_what_the_declarations_say() -> None:
    maker = page_maker("settings")
    assert maker["PATH"].read_text(encoding="utf-8") == maker["document"](), "run: python docs/site/settings.py"


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    maker = page_maker("commands")
    assert maker["PATH"].read_text(encoding="utf-8") == maker["document"](), "run: python docs/site/commands.py"


@pytest.mark.parametrize(
    ("rewards", "note"),
    [
        ((("one", 1), ("two", 0)), "schemes compare the episodes of one task, and every task has one episode"),
        ((("one", 1), ("one", 1), ("two", 0)), "the episodes of a task all earned the same"),
        ((("one", 1), ("one", 0), ("two", 1), ("two", 0)), None),
    ],
)
def test_where_no_scheme_gives_credit_it_is_said_why(
    call: Any, tmp_path: Path, rewards: tuple[tuple[str, int], ...], note: str | None
) -> None:
    said = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    lines = [json.dumps({**said, "task_id": task, "reward": reward}) for task, reward in rewards]
    (tmp_path / "logs.jsonl").write_text("\n".join(lines))
    assert call("import", tmp_path / "logs.jsonl", "--out", tmp_path / "run")[0] == 0
    for command in (("compare-schemes", "--schemes", "grpo,gigpo"), ("credit", "--scheme", "grpo")):
        code, out, _ = call(command[0], tmp_path / "run", *command[1:])
        assert code == 0
        assert ("No scheme gives any credit" in out) == (note is not None)
        assert note is None or note in out


def test_tasks_with_one_episode_and_schemes_that_say_nothing_are_counted(call: Any, tmp_path: Path) -> None:
    said = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}

    def imported(name: str, *rewards: tuple[str, float]) -> Path:
        lines = [json.dumps({**said, "task_id": task, "reward": reward}) for task, reward in rewards]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        assert call("import", tmp_path / f"{name}.jsonl", "--out", tmp_path / name)[0] == 0
        return tmp_path / name

    some = imported("some", ("one", 1), ("one", 0), ("two", 0))
    assert "1 of 2 tasks have one episode" in call("credit", some, "--scheme", "grpo")[1]
    alone = imported("alone", ("one", 1), ("two", 0))
    scored = tmp_path / "values.csv"
    scored.write_text("task_id,trial,step,value\none,0,0,0.5\ntwo,0,0,0.5\n")
    out = call("compare-schemes", alone, "--schemes", "grpo,gae", "--columns", scored)[1]
    assert "grpo: gives no step any credit" in out and "every task has one episode" in out
