"""Several processes (``torchrun``): who does what, sums over all of them, weights split over them.

Every process plays its share of the episodes; all episodes are then handed round. So every process sees the whole
batch and computes the same advantages, also under schemes that look beyond a group or whiten over the batch, and
minibatches hold the same steps as with one process. Each process computes its share of a minibatch's steps; the steps'
weights are those of the whole batch, so the gradients are summed, not averaged, and equal those of one process.
"""

from __future__ import annotations

import atexit
import functools
import os
import time
import warnings
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from envs.base.devices import check_device
from envs.base.errors import UserError

T = TypeVar("T")
Sliceable = TypeVar("Sliceable", bound=Any)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together; by default it is alone.

    Attributes:
        rank: its number, from 0; number 0 alone writes files.
        count: how many there are.
        group: over what :meth:`gather` hands things round: apart from an update's sums.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    def apart(self) -> Ranks:
        """Return the same processes for a thread that gathers beside others. Every process must call this.

        Over one group, what two threads hand round at the same time would be taken for each other.
        """
        return self if self.count == 1 else replace(self, group=dist.new_group(backend="gloo"))

    def shares(self, items: Sliceable) -> list[Sliceable]:
        """Cut a list or an array into one run of neighbours a process, as even as can be."""
        cuts = [len(items) * place // self.count for place in range(self.count + 1)]
        return [items[start:end] for start, end in pairwise(cuts)]

    def gather(self, items: list[T]) -> list[T]:
        """Return the items of all processes, in order of rank. Every process must call this."""
        if self.count == 1:
            return items
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, items, group=self.group)
        return [item for part in found for item in part]

    def sum(self, numbers: dict[str, float]) -> dict[str, float]:
        """Return the sum over all processes of each number; all must give the same names in the same order.

        Not for a thread that runs beside an update: the update's own sums would be taken for this one.
        """
        if self.count == 1:
            return numbers
        total = torch.tensor(list(numbers.values()), dtype=torch.float64)
        dist.all_reduce(total)
        return dict(zip(numbers, total.tolist(), strict=True))

    def sum_gradients(self, module: nn.Module) -> None:
        """Replace the gradients by their sums over all processes."""
        if self.count == 1:
            return
        gradients = [each.grad for each in module.parameters() if each.grad is not None]
        for gradient in gradients:
            if _is_split(gradient):
                gradient.mul_(self.count)  # fully_shard has already put the mean of all processes here
        whole = [gradient for gradient in gradients if not _is_split(gradient)]
        if whole:
            total = torch.cat([gradient.flatten() for gradient in whole])
            dist.all_reduce(total)
            for gradient, part in zip(whole, torch.split(total, [each.numel() for each in whole]), strict=True):
                gradient.copy_(part.view_as(gradient))


ALONE = Ranks()


def _leave() -> None:
    """Part from the other processes.

    A thread of gloo that has finished its work still lets go of the work's tensors, for which it needs Python's lock.
    Where Python is being torn down by then, the thread aborts the process, and a finished run counts as a failed one.
    torch has no way to wait for these threads, so they get time in which nobody else holds the lock.
    """
    time.sleep(0.5)
    dist.destroy_process_group()


@functools.cache
def join(device: str) -> Ranks:
    """Meet the other processes that ``torchrun`` started, until this one ends; alone where it did not start this one.

    Args:
        device: of the training; with ``cuda`` every process gets the GPU of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        check_device(own := f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(own)
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    atexit.register(_leave)
    return Ranks(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo"))


def same_start(module: nn.Module, ranks: Ranks) -> None:
    """Give every process the weights of number 0."""
    if ranks.count > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


def split_weights(module: nn.Module, device: str, ranks: Ranks) -> None:
    """Split weights, gradients and the optimiser's state over the processes (torch's ``fully_shard``, FSDP2).

    The blocks of every ``ModuleList`` are fetched one by one, all other weights together. The weights are whole only
    within ``forward``: that of the module, or where it has none (it only holds others) that of those that it holds.

    Raises:
        UserError: there is only one process.
    """
    if ranks.count == 1:
        raise UserError("shard = true needs several processes: start with torchrun --nproc-per-node 2 -m agentbench …")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # It warns of writing into the module's outputs in place, which none of our losses does.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(torch.device(device).type, (ranks.count,))
    lists = [each for each in module.modules() if isinstance(each, nn.ModuleList)]
    for block in [block for blocks in lists for block in blocks]:
        fully_shard(block, mesh=mesh)
    for part in _with_forward(module):
        fully_shard(part, mesh=mesh)


def _with_forward(module: nn.Module) -> list[nn.Module]:
    if type(module).forward is not nn.Module.forward:
        return [module]
    return [part for child in module.children() for part in _with_forward(child)]


def full_tensor(tensor: Tensor) -> Tensor:
    """Return a tensor that may be split over the processes as a whole. Every process must call this."""
    return tensor.full_tensor() if _is_split(tensor) else tensor  # type: ignore[attr-defined]


def split_like(tensor: Tensor, example: Tensor) -> Tensor:
    """Split a whole tensor over the processes as ``example`` is. Every process must call this."""
    if not _is_split(example):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(example, DTensor)
    return distribute_tensor(tensor.to(example.device), example.device_mesh, example.placements)


def full_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return all weights of a module, whole. Every process must call this."""
    return {name: full_tensor(tensor) for name, tensor in module.state_dict().items()}


def load_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load whole weights into a module that may be split. Every process must call this."""
    own = module.state_dict()
    module.load_state_dict({name: split_like(tensor, own[name]) for name, tensor in weights.items()})


def _is_split(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")
