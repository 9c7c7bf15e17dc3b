"""``agentbench train`` and ``agentbench clone``: make a policy better."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from envs.base.errors import UserError
from envs.base.terminal import ProgressLines, make_console, plain, progress, say

if TYPE_CHECKING:
    from agentbench.train.config import TrainConfig


def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="folder of the run")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; flags go over it")] = None,
    resume: Annotated[bool, typer.Option(help="continue with the run in --out")] = False,
    dry_run: Annotated[
        bool, typer.Option(help="print the settings and what the run would take; train nothing")
    ] = False,
) -> None:
    """Train a policy with a credit scheme.

    Every setting below is a flag, and a line of the file that --config names. --resume ends with the same weights as a
    run that was never stopped.
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
        _say_settings(settings)
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


def _say_settings(config: TrainConfig) -> None:
    """Print every setting, with what it means."""
    from agentbench.cli.settings import panels_of

    for heading, options in panels_of(type(config)).items():
        say(f"# {heading}")
        for name, option in options.items():
            say(f"{name} = {getattr(config, name)!r}  # {option.description}")


def clone(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="folder for the trained policy")],
    source: Annotated[Path, typer.Option("--from", help="run whose actions are imitated")],
    policy: Annotated[str, typer.Option(help="'scorer', hf:MODEL, or the folder of a saved policy")] = "scorer",
    policy_options: Annotated[str, typer.Option(help="JSON, as in '{\"constrained\": true}'")] = "{}",
    lora: Annotated[int, typer.Option(min=0, help="train adapters of this rank, not all weights")] = 0,
    passes: Annotated[
        int | None, typer.Option(min=1, help="times through all steps; 10, for large language models 2")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="steps an update; 128, for large language models 32")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=0, max=1e3, help="of AdamW; 1e-3, for large language models 1e-4 (adapters 2e-4)"),
    ] = None,
    schedule: Annotated[
        Literal["constant", "linear", "cosine"] | None,
        typer.Option(help="of the learning rate; constant, for large language models linear"),
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(min=0, help="updates over which it rises; 0, for large language models 10")
    ] = None,
    weight_decay: Annotated[float, typer.Option(min=0, max=1e3, help="of AdamW")] = 0.01,
    max_grad_norm: Annotated[float, typer.Option(min=0, max=1e9, help="a longer gradient is cut to this")] = 1.0,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="of computing, the weights stay as they are; auto: whichever is faster here"),
    ] = "auto",
    token_budget: Annotated[
        int | None, typer.Option(min=1, help="tokens a pass, more are accumulated; else what fits into --pass-memory")
    ] = None,
    pass_memory: Annotated[
        float | None,
        typer.Option(min=1, max=1e9, help="MB of the activations of a pass; 1024, or as much as the model"),
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(help="compute activations again; else only of episodes that would not fit otherwise"),
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="use only this many episodes")] = None,
    failures: Annotated[bool, typer.Option(help="imitate failed episodes too")] = False,
    held_out: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="share of the tasks kept for a held-out loss; 0, large models 0.05"),
    ] = None,
    eval_split: Annotated[str | None, typer.Option(help="held-out tasks to play; none: they are not played")] = None,
    eval_tasks: Annotated[int, typer.Option(min=1, help="how many of them, the first ones")] = 60,
    eval_every: Annotated[
        int | None, typer.Option(min=1, help="updates between measures of what is held out; else after each pass")
    ] = None,
    eval_temperature: Annotated[float, typer.Option(min=0, max=1e3, help="at which they are played")] = 0.0,
    env_options: Annotated[str, typer.Option(help="JSON, options of the environment of --eval-split")] = "{}",
    checkpoint_every: Annotated[int, typer.Option(min=1, help="updates between checkpoints")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="of the weights and the order")] = 0,
    device: Annotated[str, typer.Option(help="where the model is: cpu, cuda")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="of torch; else measured for language models")] = None,
    resume: Annotated[bool, typer.Option(help="continue with the clone in --out")] = False,
    dry_run: Annotated[bool, typer.Option(help="say what the clone would take; learn nothing")] = False,
) -> None:
    """Clone the behaviour of a stored run, as a warm start for training.

    What is not said follows from the size of the model (large: from 20 million weights on) and from the memory;
    --dry-run says what was chosen, the peak memory and the time. Stopped at any time, it continues with --resume and
    ends with the same weights. Of a clone with held-out episodes or tasks the best policy is kept, else the last.
    """
    from agentbench.train.clone_config import CHECKPOINTS, CloneRun, prepare
    from agentbench.train.clone_run import clone_run, described, estimate

    # Every field of a CloneRun is an option above, of the same name.
    given = {each.name: context.params[each.name] for each in fields(CloneRun)}
    parsed = {"policy_options": _json(policy_options), "env_options": _json(env_options, "--env-options")}
    config = CloneRun(**{**given, **parsed, "source": str(source)})
    if dry_run:
        prepared = prepare(config)
        for line in described(prepared):
            say(line)
        say(f"about {estimate(prepared) / 60:.1f} minutes (measured on one pass)")
        return
    try:
        with progress(f"cloning {source.name}", "steps") as report:
            losses = clone_run(config, out, resume=resume, on_progress=report, say=lambda line: say(line, err=True))
    except KeyboardInterrupt:
        if any((out / CHECKPOINTS).glob("step-*")):
            say("stopped: the last checkpoint is kept; the same command with --resume continues from it", err=True)
        else:
            say("stopped before the first update was done; the same command with --resume begins again", err=True)
        raise
    say(f"cloned {source.name}: loss {losses[0]:.3f} → {losses[-1]:.3f} nats")
    say(f"policy: {out}")


def _json(text: str, flag: str = "--policy-options") -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"{flag} must be JSON, got {text!r}: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{flag} must be a JSON object, got {text!r}")
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
                rows = read_metrics(out / METRICS_FILE)  # of a run that continues
                lines.report(rows[-1]["step"] if rows else 0, config.steps)
            return job(report)  # type: ignore[no-any-return]
        except KeyboardInterrupt:
            live.stop()
            console.print(f"stopped: the last checkpoint is in {out / 'checkpoints'}; add --resume to continue")
            raise
