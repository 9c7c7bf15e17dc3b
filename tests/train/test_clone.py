"""Cloning into a folder: chosen sizes, exact resume, what is held out, the best kept, and every refusal one line."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

from typer.testing import CliRunner  # noqa: E402

from agentbench import evaluate  # noqa: E402
from agentbench.cli.program import app  # noqa: E402
from agentbench.runs.lines import read_metrics  # noqa: E402
from agentbench.train import memory  # noqa: E402
from agentbench.train.clone import Cloner, CloneSettings, clone, log_likelihood, mean_loss, traces_of  # noqa: E402
from agentbench.train.clone_config import CloneRun, prepare  # noqa: E402
from agentbench.train.clone_run import clone_run  # noqa: E402
from agentbench.train.model_init import init_model  # noqa: E402
from agentbench.train.update import computing_in  # noqa: E402
from envs.base.errors import UserError  # noqa: E402
from policies import make_policy  # noqa: E402
from policies.language import room  # noqa: E402
from policies.trainable import read_policy  # noqa: E402

SPLIT = "generated:3:6:small"


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("taught")
    run = evaluate("alfworld", "expert", split=SPLIT, out=folder / "expert").run
    init_model(folder / "tiny", size="150k", tokenizer_from=folder / "expert", vocabulary=500)
    options = {"constrained": True, "show_actions": False, "max_tokens": 40}
    common = {"source": str(folder / "expert"), "policy": f"hf:{folder / 'tiny'}", "policy_options": options}
    return {"run": run, "common": {**common, "passes": 3, "batch_size": 12, "learning_rate": 3e-3, "threads": 1}}


def weights(folder: Path) -> dict[str, Any]:
    return read_policy(folder)[2]


def test_a_clone_in_a_folder_is_that_of_the_function(taught: dict[str, Any], tmp_path: Path) -> None:
    config = CloneRun(**taught["common"])
    losses = clone_run(config, tmp_path / "out")
    prepared = prepare(config)
    own = prepared.chosen.settings
    assert losses == clone(
        prepared.policy, prepared.learned, passes=3, batch_size=12, learning_rate=3e-3, token_budget=own.token_budget
    )
    assert losses[-1] < losses[0]
    mine, theirs = weights(tmp_path / "out"), prepared.policy.module.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert not (tmp_path / "out" / "checkpoints").exists()


class StoppedError(Exception):
    pass


def test_a_clone_that_was_stopped_goes_on_and_ends_with_the_same_weights(
    taught: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CloneRun(
        **taught["common"], held_out=0.3, checkpoint_every=2, schedule="cosine", warmup=2, eval_every=1, lora=0
    )
    clone_run(config, tmp_path / "whole")
    update = Cloner.update

    def stopping(self: Cloner, *arguments: Any) -> dict[str, Any]:
        if self.step == 5:
            raise StoppedError
        return update(self, *arguments)

    monkeypatch.setattr(Cloner, "update", stopping)
    with pytest.raises(StoppedError):
        clone_run(config, tmp_path / "cut")
    monkeypatch.setattr(Cloner, "update", update)
    with pytest.raises(UserError, match="not finished: add --resume"):
        clone_run(config, tmp_path / "cut")
    with pytest.raises(UserError, match=r"other settings \(passes: 3 → 4\)"):
        clone_run(
            CloneRun(
                **{
                    **taught["common"],
                    "passes": 4,
                    "held_out": 0.3,
                    "checkpoint_every": 2,
                    "schedule": "cosine",
                    "warmup": 2,
                    "eval_every": 1,
                }
            ),
            tmp_path / "cut",
            resume=True,
        )
    clone_run(config, tmp_path / "cut", resume=True)
    mine, theirs = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut")]
    kept = ("step", "pass", "loss", "grad_norm", "learning_rate", "held_out/loss", "tokens")
    assert [[row[name] for name in kept] for row in rows[0]] == [[row[name] for name in kept] for row in rows[1]]
    assert rows[0][0]["learning_rate"] < rows[0][1]["learning_rate"] > rows[0][-1]["learning_rate"]


@pytest.mark.parametrize(
    ("done", "said"), [(0, "before the first update was done"), (1, "the last checkpoint is kept")]
)
def test_what_the_command_says_of_a_stop_is_what_is_kept(
    taught: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int, said: str
) -> None:
    update = Cloner.update

    def stopping(self: Cloner, *arguments: Any) -> dict[str, Any]:
        if self.step == done:
            raise KeyboardInterrupt
        return update(self, *arguments)

    monkeypatch.setattr(Cloner, "update", stopping)
    common = taught["common"]
    options = json.dumps(common["policy_options"])
    found = CliRunner().invoke(
        app,
        ["clone", "--from", common["source"], "--policy", common["policy"], "--policy-options", options,
         "--out", str(tmp_path / "cut"), "--batch-size", "4"],
    )  # fmt: skip
    assert said in found.output
    assert len(list((tmp_path / "cut" / "checkpoints").glob("step-*"))) == done


def test_the_best_of_what_is_held_out_is_kept(taught: dict[str, Any], tmp_path: Path) -> None:
    said: list[str] = []
    config = CloneRun(
        **{**taught["common"], "passes": 6},
        held_out=0.3,
        eval_split="generated:9:2:small",
        eval_tasks=2,
        eval_every=6,
        env_options={"max_steps": 4},
    )
    clone_run(config, tmp_path, say=said.append)
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "held_out/loss" in row]
    best = max(rows, key=lambda row: (row["eval/success"], -row["held_out/loss"]))
    prepared = prepare(config)
    kept = make_policy(str(tmp_path), environment="alfworld").with_temperature(1.0)
    found = mean_loss(kept, prepared.held_out, prepared.chosen.settings)
    assert found == pytest.approx(best["held_out/loss"], abs=1e-5)
    assert any("held-out loss" in line and "held-out success" in line for line in said)
    record = json.loads((tmp_path / "clone.json").read_text())
    assert record["chosen"]["settings"]["precision"] == "float32"
    assert len(record["tasks"]) == 4


def test_the_size_of_a_pass_changes_no_gradient(taught: dict[str, Any], tmp_path: Path) -> None:
    found = {}
    for name, more in {
        "one": {"token_budget": 100_000, "gradient_checkpointing": False},
        "many": {"token_budget": 1, "gradient_checkpointing": False},
        "recomputed": {"token_budget": 100_000, "gradient_checkpointing": True},
        "some": {"token_budget": 500, "pass_memory": 4.0},
    }.items():
        clone_run(CloneRun(**{**taught["common"], "passes": 1, "batch_size": 100}, **more), tmp_path / name)
        found[name] = read_metrics(tmp_path / name / "metrics.jsonl")[0]
    record = json.loads((tmp_path / "some" / "clone.json").read_text())
    assert record["chosen"]["recompute_above"] > 0
    for row in found.values():
        assert row["loss"] == pytest.approx(found["one"]["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(found["one"]["grad_norm"], rel=1e-4)


def test_adapters_are_cloned_too(taught: dict[str, Any], tmp_path: Path) -> None:
    losses = clone_run(CloneRun(**taught["common"], lora=4), tmp_path)
    assert losses[-1] < losses[0]
    assert all("lora_" in name for name in weights(tmp_path))


def test_computing_in_bfloat16_stays_near_and_leaves_the_weights_in_float32(
    taught: dict[str, Any], tmp_path: Path
) -> None:
    prepared = prepare(CloneRun(**taught["common"]))
    exact, near = ({} for _ in range(2))
    for precision, found in (("float32", exact), ("bfloat16", near)):
        policy = prepare(CloneRun(**taught["common"])).policy
        with computing_in(precision, "cpu"):
            likelihood = policy.likelihood(prepared.traces)
        found["log_probs"] = likelihood.log_probs.float() * likelihood.mask
        (-found["log_probs"].sum()).backward()
        found["gradient"] = torch.cat([each.grad.flatten() for each in policy.module.parameters()])
        assert {each.grad.dtype for each in policy.module.parameters()} == {torch.float32}
    gap = (near["log_probs"] - exact["log_probs"]).abs()
    assert gap.max() < 0.1 and gap[prepared.policy.sampled(prepared.traces).mask].mean() < 0.01
    assert torch.cosine_similarity(near["gradient"], exact["gradient"], dim=0) > 0.999
    clone_run(CloneRun(**{**taught["common"], "passes": 1}, precision="bfloat16", episodes=2), tmp_path)
    assert {each.dtype for each in weights(tmp_path).values()} == {torch.float32}


def test_a_large_model_has_other_defaults(taught: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LARGE", 1_000)
    common = {name: taught["common"][name] for name in ("source", "policy", "policy_options", "threads")}
    prepared = prepare(CloneRun(**common))
    settings = prepared.chosen.settings
    assert (settings.passes, settings.batch_size, settings.learning_rate) == (2, 32, 1e-4)
    assert (settings.schedule, settings.warmup) == ("linear", 10)
    assert prepared.held_out and set(prepared.chosen.seconds) == {"float32", "bfloat16"}
    assert prepare(CloneRun(**common, lora=4)).chosen.settings.learning_rate == 2e-4


def test_what_does_not_fit_is_said_before_anything_is_learned(
    taught: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 3_000_000)
    with pytest.raises(UserError, match=r"training takes .* GB more .*and 0\.0 GB are free: train adapters"):
        prepare(CloneRun(**taught["common"]))


def test_the_command_says_what_a_clone_would_take(taught: dict[str, Any], tmp_path: Path) -> None:
    common = taught["common"]
    arguments = ["clone", "--from", common["source"], "--policy", common["policy"], "--out", str(tmp_path / "out")]
    arguments += ["--policy-options", json.dumps(common["policy_options"]), "--passes", "2", "--batch-size", "12"]
    said = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert said.exit_code == 0, said.output
    for part in ("6 episodes", "2 passes", "peak memory about", "computing in float32", "minutes"):
        assert part in said.stdout
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "nats" in done.stdout
    assert make_policy(str(tmp_path / "out"), environment="alfworld").name == "hf:tiny"


def test_an_unreadable_beginning_is_one_line(taught: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "clone-settings.json").write_text("{")
    with pytest.raises(UserError, match=r"cannot be read .* to begin again"):
        clone_run(CloneRun(**taught["common"]), tmp_path, resume=True)


def test_the_order_of_steps_follows_from_the_seed_alone(taught: dict[str, Any]) -> None:
    prepared = prepare(CloneRun(**taught["common"]))
    plans = [
        Cloner(prepared.policy, prepared.traces, CloneSettings(passes=2, batch_size=12, seed=seed)).plan
        for seed in (0, 0, 1)
    ]
    assert plans[0] == plans[1] != plans[2]
    rows = np.concatenate([rows for number, rows in plans[0] if number == 0])
    assert sorted(rows) == list(range(len(traces_of(prepared.policy, prepared.learned))))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed, and gives it back")
def test_memory_that_was_freed_before_is_no_part_of_the_promised_peak(taught: dict[str, Any]) -> None:
    before = prepare(CloneRun(**taught["common"])).chosen.parts_mb["program"]
    blocks = [bytearray(b"x") * 100_000 for _ in range(6_000)]
    last, cycle = blocks[-1], [blocks]
    cycle.append(cycle)  # type: ignore[arg-type]
    del blocks, cycle
    after = prepare(CloneRun(**taught["common"])).chosen.parts_mb["program"]
    assert len(last) == 100_000  # behind it nothing can go to the system by itself
    assert after < before + 200


def test_a_scorer_is_cloned_with_the_threads_that_are_said(taught: dict[str, Any]) -> None:
    common = {"source": taught["common"]["source"], "policy": "scorer"}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert prepare(CloneRun(**common)).chosen.threads == torch.get_num_threads() == 1
        assert prepare(CloneRun(**common, threads=2)).chosen.threads == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_add_a_scorer_s_gradient_up_in_one_order(taught: dict[str, Any]) -> None:
    """Two threads meet so seldom that a comparison of gradients shows it one time in a hundred: look at what runs."""
    prepared = prepare(CloneRun(source=taught["common"]["source"], policy="scorer"))
    loss = log_likelihood(prepared.policy, prepared.traces[:20], prepared.chosen.settings)
    found, todo = set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [each for each, _ in node.next_functions]
    names = {node.name() for node in found}
    assert "IndexSelectBackward0" in names and "IndexBackward0" not in names  # the latter's threads race
