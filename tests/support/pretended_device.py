"""A GPU that is only pretended, on a machine without one: every tensor remembers where it would lie.

The numbers are computed on the processor, so they are real. Within a :class:`PretendedDevice` block

- ``device="cuda"`` is taken off every call, and what the call makes is marked, by its storage, as being on it;
  ``tensor.device`` then says ``cuda:0``;
- an operation on tensors of both sides raises what torch would raise on a GPU, and so does ``.numpy()`` of one there;
- launches (operations on the device that are no views) are counted, and so is what makes the host wait: reads (the
  device's numbers are wanted) and uploads (memory of the host is copied over, and not behind its back).

What it cannot show: speed, memory, the rounding of a GPU's kernels, and kernels that only a GPU has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any
from unittest.mock import patch

import torch
import torch.utils.checkpoint
from pretended_graphs import graphs_of
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("cuda", 0)
aten: Any = torch.ops.aten

NO_LAUNCH = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided", "lift_fresh", "detach", "alias"}
"""Operations, beside views, that start no work on a device."""

READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive"}
"""Operations whose result, or its shape, the host has to wait for."""


@dataclass(slots=True)
class Counts:
    """What happened on the device.

    Attributes:
        launches: operations that started work there.
        reads: how often the host waited for numbers of the device.
        uploads: how often it waited until its own memory was copied over.
        captures: graphs that were captured, or tried to be.
        replays: how often one was replayed; each is one launch.
    """

    launches: int = 0
    reads: int = 0
    uploads: int = 0
    captures: int = 0
    replays: int = 0

    @property
    def waits(self) -> int:
        """How often the host waited, for whatever reason."""
        return self.reads + self.uploads


class PretendedDevice:
    """A block of code for which there is a GPU; in threads of a pool that are given work within it, too.

    Args:
        free: bytes of its memory that are free.
        total: bytes of its memory.

    Attributes:
        counts: what has happened on it so far.
    """

    def __init__(self, free: int = 2**33, total: int = 2**34) -> None:
        self.counts = Counts()
        self._memory = (free, total)
        self._marked: dict[int, StorageWeakRef] = {}
        self._purge_at = 10_000
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def __enter__(self) -> PretendedDevice:
        for name, value in self._of_cuda().items():
            self._stack.enter_context(patch(f"torch.cuda.{name}", value))
        for module in ("torch", "torch.amp"):
            self._stack.enter_context(patch(f"{module}.autocast", _Autocast))
        real_enabled, real_submit = torch.is_autocast_enabled, ThreadPoolExecutor.submit

        def submit(pool: ThreadPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            def within() -> Any:
                with self._modes():
                    return function(*args, **kwargs)

            return real_submit(pool, within)

        # What is computed again is compared in places to which the answers for the device do not reach.
        compared = {"default": lambda tensor: {"shape": tensor.shape, "dtype": tensor.dtype}}
        self._stack.enter_context(patch.dict(torch.utils.checkpoint._allowed_determinism_checks_to_fns, compared))
        self._stack.enter_context(patch("torch.is_autocast_enabled", lambda *_: real_enabled("cpu")))
        self._stack.enter_context(patch.object(ThreadPoolExecutor, "submit", submit))
        self._stack.enter_context(self._modes())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def counted(self) -> Iterator[Counts]:
        """Count what happens within this block alone; the numbers are there when it ends."""
        found, before = Counts(), replace(self.counts)
        yield found
        for each in fields(Counts):
            setattr(found, each.name, getattr(self.counts, each.name) - getattr(before, each.name))

    def holds(self, tensor: Tensor) -> bool:
        """Tell whether a tensor lies on the device."""
        return tensor.untyped_storage()._cdata in self._marked

    def mark(self, tensor: Tensor) -> Tensor:
        """Put a tensor's storage on the device, and return the tensor."""
        storage = tensor.untyped_storage()
        # While the weak reference is there, no other storage gets this address.
        with self._lock:
            self._marked[storage._cdata] = StorageWeakRef(storage)
            if len(self._marked) > self._purge_at:
                self._marked = {place: each for place, each in self._marked.items() if not each.expired()}
                self._purge_at = 2 * len(self._marked) + 10_000
        return tensor

    @contextmanager
    def _modes(self) -> Iterator[None]:
        calls = _Calls(self)
        with _Operations(self, calls), calls:
            yield

    def _of_cuda(self) -> dict[str, Any]:
        def nothing(*_: Any, **__: Any) -> int:
            return 0

        names = ("max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved")
        names += ("reset_peak_memory_stats", "synchronize", "empty_cache")
        return {**dict.fromkeys(names, nothing), "mem_get_info": lambda *_: self._memory, **graphs_of(self)}


class _Autocast(torch.amp.autocast_mode.autocast):
    """Autocast of the device is that of the processor."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


class _Calls(TorchFunctionMode):
    """Answers for the device in Python's calls: what is told of a tensor, and what moves it."""

    def __init__(self, device: PretendedDevice) -> None:
        self._device = device
        self.in_gradient = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        was, self.in_gradient = self.in_gradient, False
        try:
            return self._answer(func, args, kwargs or {})
        finally:
            self.in_gradient = was

    def _answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = getattr(func, "__name__", "")
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and name == "__get__" and func.__self__ in (Tensor.device, Tensor.is_cuda, Tensor.is_cpu):
            return self._told(func, first)
        if first is not None and (answer := _MOVES.get(name)) is not None:
            return answer(self._device, func, args, kwargs)
        if func is Tensor.backward and first is not None and not first.dim():
            # What is computed again in it needs these answers too, so the engine is called with them in force.
            self.in_gradient = self._device.holds(first)
            with self:
                run: Any = torch.autograd.graph._engine_run_backward
                return run(
                    (first,), (torch.ones_like(first),), False, False, (), allow_unreachable=True, accumulate_grad=True
                )
        if name != "_parse_to" and _is_cuda(kwargs.get("device")):  # that one only reads what a module shall become
            made = func(*args, **_here(kwargs))
            if name in ("tensor", "as_tensor", "asarray", "new_tensor"):
                self._device.counts.uploads += 1
            return self._device.mark(made) if isinstance(made, Tensor) else made
        return func(*args, **kwargs)

    def _told(self, func: Any, tensor: Tensor) -> Any:
        held = self._device.holds(tensor)
        if func.__self__ is Tensor.device:
            return DEVICE if held else func(tensor)
        return held == (func.__self__ is Tensor.is_cuda)


DEVICE_OF_HOST = torch.device("cpu")


def _here(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: DEVICE_OF_HOST if name == "device" else value for name, value in kwargs.items() if name != "pin_memory"
    }


def _to(device: PretendedDevice, func: Any, args: Any, kwargs: Any) -> Any:
    tensor, rest, given = args[0], list(args[1:]), dict(kwargs)
    here = device.holds(tensor)
    target, dtype = here, None
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
        target, dtype = device.holds(other), other.dtype
    else:
        asked = given.pop("device", None)
        if rest and (rest[0] is None or isinstance(rest[0], str | int | torch.device)):
            asked = rest.pop(0)
        target = here if asked is None else _is_cuda(asked)
        dtype = given.pop("dtype", None)
        if rest and (rest[0] is None or isinstance(rest[0], torch.dtype)):
            dtype = rest.pop(0)
    blocks = not given.pop("non_blocking", rest[0] if rest else False)
    copied = rest[1] if len(rest) > 1 else given.pop("copy", False)
    found = func(tensor, dtype or tensor.dtype, False, copied, **given)
    return found if target == here else _moved(device, found, target, blocks)


def _moved(device: PretendedDevice, tensor: Tensor, target: bool, blocks: bool = True) -> Tensor:
    """Copy a tensor to the other side."""
    with _Quiet():
        made = tensor.clone()
    if target:
        device.counts.uploads += blocks
        return device.mark(made)
    device.counts.reads += 1
    device._marked.pop(made.untyped_storage()._cdata, None)
    return made


def _cpu(device: PretendedDevice, func: Any, args: Any, kwargs: Any) -> Any:
    return _moved(device, args[0], False) if device.holds(args[0]) else args[0]


def _cuda(device: PretendedDevice, func: Any, args: Any, kwargs: Any) -> Any:
    return args[0] if device.holds(args[0]) else _moved(device, args[0], True)


def _tolist(device: PretendedDevice, func: Any, args: Any, kwargs: Any) -> Any:
    device.counts.reads += device.holds(args[0])
    return func(*args, **kwargs)


def _numpy(device: PretendedDevice, func: Any, args: Any, kwargs: Any) -> Any:
    if device.holds(args[0]):
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() to copy it first.")
    return func(*args, **kwargs)


def _alike(device: PretendedDevice, func: Any, args: Any, kwargs: Any) -> Any:
    """Call what makes a tensor beside another one, out of the dispatcher's sight."""
    made = func(*args, **_here(kwargs) if "device" in kwargs else kwargs)
    on_device = _is_cuda(kwargs["device"]) if kwargs.get("device") is not None else device.holds(args[0])
    device.counts.uploads += on_device and func.__name__ == "new_tensor"
    return device.mark(made) if on_device else made


_MOVES: dict[str, Callable[..., Any]] = {
    "to": _to,
    "cpu": _cpu,
    "cuda": _cuda,
    "tolist": _tolist,
    "numpy": _numpy,
    "__array__": _numpy,
    "__deepcopy__": _alike,
    "new_tensor": _alike,
}


class _Quiet(TorchDispatchMode):
    """Operations that are not counted: those that a copy between the two sides is played with."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    """Sees every operation: refuses two sides in one, counts, and marks what comes out."""

    def __init__(self, device: PretendedDevice, calls: _Calls) -> None:
        super().__init__()
        self._device, self._calls = device, calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device, counts = self._device, self._device.counts
        name = func.overloadpacket.__name__
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        held = [device.holds(each) for each in tensors]
        target = any(held)
        if "device" in kwargs and kwargs["device"] is not None:
            # The formulas of a gradient make tensors where the gradient lies, which they take for the processor here.
            target = _is_cuda(kwargs["device"]) or self._calls.in_gradient
            kwargs = _here(kwargs)
        if name in ("copy_", "_to_copy"):
            before, after = held[-1], held[0] if name == "copy_" else target
            counts.reads += before and not after
            counts.uploads += after and not before
            counts.launches += before and after
            made = func(*args, **kwargs)
            return device.mark(made) if after else made
        if target:
            self._check(name, tensors, held, args)
            if not func.is_view and name not in NO_LAUNCH:
                counts.launches += name != "_local_scalar_dense"
                counts.reads += name in READS or (name in ("index", "index_put", "index_put_") and _by_mask(args))
        made = func(*args, **kwargs)
        return tree_map_only(Tensor, device.mark, made) if target else made

    def _check(self, name: str, tensors: list[Tensor], held: list[bool], args: Any) -> None:
        """Refuse tensors of both sides; a lone number of the host's may come along, and indices may lie there."""
        strangers = [each for each, is_held in zip(tensors, held, strict=True) if not is_held and each.dim()]
        if strangers and name in ("index", "index_put", "index_put_"):
            indices = {id(each) for each in args[1] if each is not None}
            self._device.counts.uploads += sum(id(each) in indices for each in strangers)
            strangers = [each for each in strangers if id(each) not in indices]
        if strangers:
            shapes = ", ".join(str(tuple(each.shape)) for each in strangers[:3])
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! "
                f"(in {name}; of the host: {shapes})"
            )


def _by_mask(args: Any) -> bool:
    return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1])
