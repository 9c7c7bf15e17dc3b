"""Hand a trainer's weights to vLLM, as a folder of safetensors that it reads again.

The only module that knows what vLLM calls this. Of its ways in, reading a folder is the one that works alike on
processors and GPUs, over HTTP and in process; those over NCCL and CUDA's shared memory changed their shape in
several versions. vLLM keeps keys and values of earlier prompts through both kinds of update, so they are dropped here.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from envs.base.errors import UserError
from envs.base.files import replaced

if TYPE_CHECKING:
    from torch import Tensor, nn

    from policies.language.engine import Servable

OLDEST = "0.20"
"""Versions before this one reload layers in another way. Tested: 0.32."""

ADAPTERS = "adapters"
"""What the adapters are called at a server."""

Post = Callable[[str, dict[str, Any]], Any]
"""Sends a JSON body to a path of a server and returns its JSON answer."""


def check_version(version: str) -> None:
    """Refuse a vLLM whose weights cannot be updated as this module does it.

    Raises:
        UserError: it is too old, or does not know its version (``dev``, where it was built without one).
    """
    try:
        is_old = Version(version) < Version(OLDEST)
    except InvalidVersion as error:
        raise UserError(
            f"vLLM says {version!r} in place of a version: install it as a package, {OLDEST} or newer"
        ) from error
    if is_old:
        raise UserError(f"vLLM {version} cannot be given new weights: {OLDEST} or newer is needed")


def reload_over_http(post: Post, folder: Path) -> None:
    """Have a server read all its weights from a folder."""
    post("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder.resolve())}})
    _forget_prompts(post)


def load_adapters_over_http(post: Post, folder: Path) -> None:
    """Have a server take adapters from a folder, in place of those it may have under that name."""
    body = {"lora_name": ADAPTERS, "lora_path": str(folder.resolve()), "load_inplace": True}
    post("/v1/load_lora_adapter", body)
    _forget_prompts(post)


def reload_in_process(engine: Any, folder: Path) -> None:
    """Have a ``vllm.LLM`` read all its weights from a folder."""
    import vllm

    check_version(vllm.__version__)
    engine.collective_rpc("reload_weights", kwargs={"weights_path": str(folder.resolve())})
    if not engine.reset_prefix_cache():
        raise UserError("vLLM kept what it had computed with the old weights: it is still answering")


def _forget_prompts(post: Post) -> None:
    if not post("/reset_prefix_cache", {})["success"]:
        raise UserError("vLLM's server kept what it had computed with the old weights: it is still answering others")


def write_model(policy: Servable, folder: Path, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Write a folder that vLLM can load or reload: configuration, tokenizer, weights without adapters.

    An output layer that is tied to the embedding is written as one of its own, with the same values: on processors
    vLLM keeps a repacked copy of a tied one, and a reload would leave that as it was.

    Args:
        policy: whose model it is.
        folder: made if needed; a reader never sees half of a file.
        tensors: the weights by the names of ``policy.module``, where that does not hold them as a whole.
    """
    from safetensors.torch import save_file

    model: Any = policy.weights.model.get_base_model() if policy.options.lora else policy.weights.model  # type: ignore[operator]
    from_model = tensors is None or policy.options.lora
    found = _without_adapters(model.state_dict()) if from_model else _of_model(tensors or {})
    found |= {name: found[first].clone() for name, first in _tied(model).items()}
    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = False
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    contiguous = {name: each.detach().contiguous() for name, each in found.items()}
    with replaced(folder / "model.safetensors", flushed=False) as temporary:  # handed over at every training step
        save_file(contiguous, temporary, metadata={"format": "pt"})


def write_adapters(policy: Servable, folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the adapters alone, as peft does; ``tensors`` by the names of ``policy.module``."""
    from safetensors.torch import save_file

    from policies.language.weights import ADAPTER

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model: Any = policy.weights.model
    model.peft_config[ADAPTER].save_pretrained(folder)
    found = {
        name.replace(f".{ADAPTER}.", "."): tensor.detach().contiguous() for name, tensor in _of_model(tensors).items()
    }
    save_file(found, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _of_model(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the model's weights under its own names, without a critic beside it."""
    return {name.removeprefix("model."): each for name, each in tensors.items() if name.startswith("model.")}


def _without_adapters(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's own weights under the names that they had before adapters were put on."""
    return {name.replace(".base_layer.", "."): each for name, each in tensors.items() if "lora_" not in name}


def _tied(model: nn.Module) -> dict[str, str]:
    """Return for every weight that is another one too the name of that one."""
    firsts = {id(parameter): name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: firsts[id(parameter)] for name, parameter in every if firsts[id(parameter)] != name}
