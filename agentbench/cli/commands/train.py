"""``agentbench train`` and ``agentbench clone``: make a policy better."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envs.base.errors import UserError
from envs.base.terminal import ProgressLines, make_console, plain, progress, say

if TYPE_CHECKING:
    from agentbench.train.config import TrainConfig


def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="folder of the run")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; flags go over it")] = None,
    resume: Annotated[bool, typer.Option(help="go on with the run in --out")] = False,
    dry_run: Annotated[
        bool, typer.Option(help="print the settings and what the run would take; train nothing")
    ] = False,
) -> None:
    """Train a policy with a credit scheme.

    Every setting is a flag: --env, --split, --policy, --scheme, --group-size, --tasks-per-step, --steps, --seed,
    --learning-rate and so on; --dry-run lists them all. --resume ends with the same weights as a run that was never
    stopped.
    """
    from agentbench.cli.commands.options import extra_options
    from agentbench.evaluation.held_out import say_notes
    from agentbench.runs.lines import METRICS_FILE
    from agentbench.train.config import flag_names, read_config
    from agentbench.train.run import estimate
    from agentbench.train.run import train as run
    from agentbench.train.soundness import training_notes

    settings = read_config(config, extra_options(context, flag_names(context.args)))
    if dry_run:
        for name, value in settings.model_dump().items():
            say(f"{name} = {value!r}")
        say_notes(training_notes(settings))
        measured = estimate(settings)
        say(
            f"about {measured['seconds'] / 60:.1f} minutes for {measured['environment_steps']} environment steps, "
            f"{measured['memory_mb']:.0f} MB of memory (measured on one small batch)"
        )
        return
    if int(os.environ.get("RANK", "0")) > 0:  # one of several processes: number 0 alone talks
        run(settings, out, resume=resume)
        return
    saved = _with_dashboard(lambda report: run(settings, out, resume=resume, on_metrics=report), settings, out)
    say(f"policy: {saved}\nmetrics: {out / METRICS_FILE}, curve: {out / 'curve.png'}")


def clone(
    out: Annotated[Path, typer.Option(help="folder for the trained policy")],
    source: Annotated[Path, typer.Option("--from", help="run whose actions are imitated")],
    policy: Annotated[str, typer.Option(help="'scorer', hf:MODEL, or the folder of a saved policy")] = "scorer",
    policy_options: Annotated[str, typer.Option(help="JSON, as in '{\"constrained\": true}'")] = "{}",
    passes: Annotated[int, typer.Option(min=1, help="times through all steps")] = 10,
    learning_rate: Annotated[float, typer.Option(min=0, max=1e3, help="of AdamW")] = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="steps an update")] = 128,
    episodes: Annotated[int | None, typer.Option(min=1, help="use only this many episodes")] = None,
    failures: Annotated[bool, typer.Option(help="imitate failed episodes too")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of the weights and the order")] = 0,
) -> None:
    """Clone the behaviour of a stored run, as a warm start for training."""
    from agentbench.evaluation.held_out import clone_notes, say_notes, write_clone_record
    from agentbench.runs.run import open_run
    from agentbench.train.clone import clone as run
    from agentbench.train.config import TrainConfig
    from agentbench.train.run import make_learner
    from policies.trainable import save_policy

    stored = open_run(source)
    chosen = [each for each in stored.read_episodes() if each.won or (failures and each.outcome == "failure")]
    env = stored.identity.get("env", "alfworld")
    say_notes(clone_notes(stored.identity.get("split")))
    learner = make_learner(TrainConfig(env=env, policy=policy, policy_options=_json(policy_options), seed=seed))
    settings = {"passes": passes, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    try:
        with progress(f"cloning {source.name}", "steps") as report:
            losses = run(learner, chosen[:episodes], on_progress=report, **settings)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        say("stopped: nothing is written; the same command begins again", err=True)
        raise
    save_policy(learner, out)
    write_clone_record(out, source, env, policy, chosen[:episodes])
    say(f"cloned {len(chosen[:episodes])} episodes: loss {losses[0]:.3f} → {losses[-1]:.3f} nats")
    say(f"policy: {out}")


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"--policy-options must be JSON, got {text!r}: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"--policy-options must be a JSON object, got {text!r}")
    return found


def _with_dashboard(job: Any, config: TrainConfig, out: Path) -> Path:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

    from agentbench.runs.lines import METRICS_FILE, read_metrics

    shown = ["success", "eval/success", "reward", "episode_steps", "entropy", "clip_share", "grad_norm"]
    shown += ["advantage/zero_share", "log_ratio", "steps_per_second", "seconds", "memory_mb"]
    console = make_console(stderr=True)
    latest: dict[str, Any] = {}

    def table() -> Group:
        title = f"{config.scheme} on {config.env}, training step {latest.get('step', 0)} of {config.steps}"
        grid = Table(box=None, show_header=False)
        for name in shown:
            if name in latest:
                grid.add_row(name, f"{latest[name]:.4g}")
        return Group(plain(title), grid)  # as the table's own title it would be folded to the table's width

    lines = ProgressLines(f"{config.scheme} on {config.env}", "training steps")
    live = Live(table(), console=console, refresh_per_second=4)
    with live if console.is_terminal else lines:

        def report(metrics: dict[str, Any]) -> None:
            latest.update(metrics)
            parts = ", ".join(f"{name} {metrics[name]:.3g}" for name in shown[:4] if name in metrics)
            if console.is_terminal:
                live.update(table())
                return
            lines.report(metrics["step"], config.steps, parts)
            if "eval/success" in metrics or metrics["step"] % 10 == 0:
                say(f"step {metrics['step']}/{config.steps}: {parts}", err=True)

        try:
            if not console.is_terminal:
                rows = read_metrics(out / METRICS_FILE)  # of a run that goes on
                lines.report(rows[-1]["step"] if rows else 0, config.steps)
            return job(report)  # type: ignore[no-any-return]
        except KeyboardInterrupt:
            live.stop()
            console.print(f"stopped: the last checkpoint is in {out / 'checkpoints'}; add --resume to go on")
            raise
