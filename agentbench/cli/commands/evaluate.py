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
    policy: Annotated[str, typer.Option(help="who acts; 'agentbench policies' lists them")] = "random",
    out: Annotated[Path | None, typer.Option(help="folder of the run; default: results/<env>-<split>-<policy>")] = None,
    task: Annotated[list[str] | None, typer.Option(help="play only this task (id or name); repeatable")] = None,
    retry_errors: Annotated[bool, typer.Option(help="play episodes that ended in an error again")] = False,
) -> None:
    """Evaluate a policy on the tasks of an environment, and store every step.

    The same command after an interruption continues where it stopped. The exit code is 1 if every episode ended in an
    error.

    Options of the policy (--base-url http://localhost:8000/v1) and of the environment (--max-steps 30) are given in the
    same way: 'agentbench policies NAME' and 'agentbench envs NAME' list them.
    """
    from agentbench.cli.commands.options import extra_options, take
    from agentbench.cli.commands.show import end_if_none_judged, print_runs
    from agentbench.evaluation.config import EvaluateConfig
    from envs.base.options import declared, resolve
    from envs.base.safe_text import refuse_secrets
    from envs.registry import option_names
    from policies.registry import POLICIES, options_of

    # Its tasks are --task here, so that an environment may have an option of that name.
    known = {name: option for name, option in declared(EvaluateConfig).items() if name != "tasks"}
    of_policy = options_of(policy)
    kind = name if (name := policy.partition(":")[0]) in POLICIES else "hf"  # a folder has those of a language model
    listed_by = (f"agentbench envs {env}", *([f"agentbench policies {kind}"] if of_policy else []))
    extra = extra_options(context, {*known, *option_names(env), *of_policy}, listed_by)
    refuse_secrets(extra, "the option")
    settings: dict[str, Any] = resolve("", known, take(extra, known), word="setting")
    settings["policy_options"] = settings.get("policy_options", {}) | take(extra, of_policy)
    settings["env_options"] = settings.get("env_options", {}) | extra
    result = _with_progress(env, policy, out, retry_errors, settings | {"tasks": task})
    print_runs([result.run])
    end_if_none_judged(result.run, "fix the cause; the same command with --retry-errors plays them again")


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
            "the same command continues from there",
            err=True,
        )
        raise
