"""``agentbench eval``: play every task, show how far it is, print the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envs.base.terminal import progress, say

if TYPE_CHECKING:
    from agentbench.evaluation.evaluate import Result


def evaluate(
    context: typer.Context,
    env: Annotated[str, typer.Option(help="environment; 'agentbench envs' lists them")] = "alfworld",
    split: Annotated[str | None, typer.Option(help="set of tasks; default: the environment's own")] = None,
    policy: Annotated[str, typer.Option(help="who acts; 'agentbench policies' lists them")] = "random",
    trials: Annotated[int, typer.Option(help="times each task is played")] = 1,
    workers: Annotated[int, typer.Option(help="episodes at the same time, each in a process of its own")] = 2,
    executor: Annotated[str, typer.Option(help="where workers and vLLM run: local, ray, or ray:HOST:PORT")] = "local",
    inline: Annotated[bool, typer.Option(help="play in this process: less work, but no supervision")] = False,
    seed: Annotated[int, typer.Option(help="seed of every random draw")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder of the run; default: results/<env>-<split>-<policy>")] = None,
    limit: Annotated[int | None, typer.Option(help="play only this many tasks, drawn with the seed")] = None,
    task: Annotated[list[str] | None, typer.Option(help="play only this task (id or name); repeatable")] = None,
    retry_errors: Annotated[bool, typer.Option(help="play episodes that ended in an error again")] = False,
    step_timeout: Annotated[float, typer.Option(help="seconds a step of the environment may take")] = 60.0,
    episode_timeout: Annotated[float, typer.Option(help="seconds an episode's environment may take")] = 600.0,
    memory_limit: Annotated[float, typer.Option(help="MB at which a worker is replaced")] = 2048.0,
    attempts: Annotated[int, typer.Option(help="tries before an episode counts as an error")] = 3,
    max_text: Annotated[int, typer.Option(help="characters of an action or answer that are stored")] = 20_000,
) -> None:
    """Evaluate a policy on the tasks of an environment, and store every step.

    The same command after an interruption goes on where it stopped. Any other --name value is an option of the
    policy (--base-url http://localhost:8000/v1) or of the environment (--max-steps 30, --engine textworld). The exit
    code is 1 if every episode ended in an error.
    """
    from agentbench.cli.commands.options import check_names, parse_extra, take
    from agentbench.cli.commands.show import end_if_none_judged, print_runs
    from envs.base.safe_text import refuse_secrets
    from envs.registry import option_names
    from policies.registry import options_of

    extra = parse_extra(context.args)
    refuse_secrets(extra, "the option")
    check_names(context, extra, {*option_names(env), *options_of(policy)})
    of_policy = take(extra, options_of(policy))
    settings: dict[str, Any] = {
        "split": split,
        "trials": trials,
        "workers": workers,
        "seed": seed,
        "limit": limit,
        "tasks": task,
        "env_options": extra,
        "policy_options": of_policy,
        "inline": inline,
        "executor": executor,
        "step_timeout": step_timeout,
        "episode_timeout": episode_timeout,
        "memory_limit": memory_limit,
        "attempts": attempts,
        "max_text": max_text,
    }
    result = _with_progress(env, policy, out, retry_errors, settings)
    print_runs([result.run])
    end_if_none_judged(result.run, "mend the cause; the same command with --retry-errors plays them again")


def _with_progress(env: str, policy: str, out: Path | None, retry_errors: bool, settings: dict[str, Any]) -> Result:
    from agentbench.evaluation.evaluate import Progress
    from agentbench.evaluation.evaluate import evaluate as run

    latest = Progress(0, 0, 0, 0)
    try:
        with progress(f"{policy} on {env}") as show:

            def report(now: Progress) -> None:
                nonlocal latest
                latest = now
                show(now.finished, now.total, now.note)

            return run(env, policy, out=out, retry_errors=retry_errors, on_progress=report, **settings)
    except KeyboardInterrupt:
        say(
            f"stopped: {latest.finished} of {latest.total} episodes are finished and stored; "
            "the same command goes on from there",
            err=True,
        )
        raise
