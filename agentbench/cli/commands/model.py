"""``agentbench model``: make a small language model, or write a trained one as an ordinary folder of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agentbench.cli.commands.options import command
from envs.base.terminal import say

app = typer.Typer(no_args_is_help=True, help="Make and export language models.")


@app.command()
@command
def init(
    out: Annotated[Path, typer.Option(help="folder for the model")],
    tokenizer_from: Annotated[Path, typer.Option(help="run on whose texts the tokenizer is trained")],
    size: Annotated[str, typer.Option(help="about how many weights: 500k, 5m")] = "5m",
    family: Annotated[str, typer.Option(help="qwen3 or llama")] = "qwen3",
    vocabulary: Annotated[int, typer.Option(min=1, max=10_000_000, help="most tokens of the tokenizer")] = 2048,
    context: Annotated[int, typer.Option(min=128, help="longest sequence, in tokens")] = 8192,
    seed: Annotated[int, typer.Option(min=0, help="of the weights")] = 0,
) -> None:
    """Make a small model with random weights and a tokenizer of its own: for tests and for work without downloads."""
    from agentbench.train.model_init import init_model

    weights = init_model(
        out,
        size=size,
        tokenizer_from=tokenizer_from,
        family=family,
        vocabulary=vocabulary,
        context=context,
        seed=seed,
    )
    say(f"model: {out} ({weights:,} weights, {family}); train it with: agentbench clone --policy hf:{out}")


@app.command()
@command
def export(
    policy: Annotated[Path, typer.Argument(help="folder of a trained language policy, or of its run")],
    out: Annotated[Path, typer.Option(help="folder for the model")],
) -> None:
    """Write a trained language model as an ordinary folder of transformers, adapters merged in."""
    from envs.base.errors import UserError
    from policies.language.policy import LanguagePolicy
    from policies.registry import load_policy

    loaded = load_policy(policy)
    if not isinstance(loaded, LanguagePolicy):
        raise UserError(f"{policy} holds no language model: there is nothing to export")
    loaded.export(out)
    say(f"model: {out}")
