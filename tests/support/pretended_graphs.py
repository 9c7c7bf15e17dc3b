"""CUDA graphs of a pretended device: what is captured is taken down, and played again on the same memory.

As on a GPU, a capture runs nothing: what it overwrites is put back at its end. The host may not wait within it. A
replay reads and writes the addresses of the capture, whatever the host has computed since; if such memory was given
back in the meantime, it says so, where a GPU would read what lies there now.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only


class _Lent:
    """A tensor that was there before the capture: its memory is not held, as a graph holds none."""

    def __init__(self, tensor: Tensor) -> None:
        self._storage = StorageWeakRef(tensor.untyped_storage())
        self._as = tensor.dtype, tensor.storage_offset(), tensor.size(), tensor.stride()

    def tensor(self) -> Tensor:
        """Return it again."""
        storage = torch.UntypedStorage._new_with_weak_ptr(self._storage.cdata)
        if storage is None:
            raise RuntimeError("a graph was replayed that reads memory which was given back since it was captured")
        dtype, *where = self._as
        return torch.empty(0, dtype=dtype).set_(storage, *where)


class PretendedGraph:
    """Stands for ``torch.cuda.CUDAGraph``."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.shared: Any = self

    def pool(self) -> Any:
        """Return the memory that it shares with others: the graph that was captured first."""
        return self.shared

    def reset(self) -> None:
        """Forget what was captured."""
        self.calls = []

    def replay(self) -> None:
        """Run what was captured."""
        with torch._C.DisableTorchFunction(), _disable_current_modes(), torch.no_grad():
            for function, args, kwargs, made in self.calls:
                args, kwargs = tree_map_only(_Lent, _Lent.tensor, (args, kwargs))
                found = function(*args, **kwargs)
                if made is not None:
                    for old, new in zip(tree_leaves(made), tree_leaves(found), strict=True):
                        if isinstance(old, Tensor):
                            old.copy_(new)


class _Capture(TorchDispatchMode):
    def __init__(self, graph: PretendedGraph) -> None:
        super().__init__()
        self._graph = graph
        self._own: dict[int, Tensor] = {}
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        schema = func._schema
        for place, argument in enumerate(schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[place] if place < len(args) else kwargs.get(argument.name)
                self._keep(given)
        lent = tree_map_only(Tensor, self._lend, (args, kwargs))
        made = func(*args, **kwargs)
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and not self._is_lent_view(each, args, kwargs):
                self._own[each.untyped_storage()._cdata] = each
        is_new = bool(schema.returns) and all(each.alias_info is None for each in schema.returns)
        is_view_of_lent = func.is_view and any(isinstance(each, _Lent) for each in tree_leaves(lent))
        if not is_view_of_lent:
            self._graph.calls.append((func, *lent, made if is_new else None))
        return made

    def _keep(self, tensor: Tensor) -> None:
        place = tensor.untyped_storage()._cdata
        if place not in self._own and place not in self._before:
            with torch._C.DisableTorchFunction(), _disable_current_modes():
                whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                self._before[place] = whole, whole.clone()

    def _lend(self, tensor: Tensor) -> Tensor | _Lent:
        return tensor if tensor.untyped_storage()._cdata in self._own else _Lent(tensor)

    def _is_lent_view(self, made: Tensor, args: Any, kwargs: Any) -> bool:
        place = made.untyped_storage()._cdata
        given = (each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor))
        return place not in self._own and any(each.untyped_storage()._cdata == place for each in given)

    def put_back(self) -> None:
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            for whole, before in self._before.values():
                whole.copy_(before)


class PretendedStream:
    """Stands for ``torch.cuda.Stream``: all is in order anyway."""

    def __init__(self, device: Any = None) -> None:
        self.device = device

    def wait_stream(self, other: PretendedStream) -> None:
        """Wait for nothing."""


def graphs_of(device: Any) -> dict[str, Any]:
    """Return what stands for the names of ``torch.cuda``.

    Args:
        device: a pretended one; its ``counts.captures`` and ``counts.replays`` are raised, a replay is one launch.
    """

    @contextmanager
    def graph(
        made: PretendedGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = ""
    ) -> Iterator[None]:
        before = copy.copy(device.counts)
        made.shared = pool or made
        recorder = _Capture(made)
        try:
            with recorder:
                yield
        finally:
            recorder.put_back()
        waits = device.counts.waits - before.waits
        device.counts.launches = before.launches
        device.counts.captures += 1
        if waits:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\n(the host waited)")

    class Graph(PretendedGraph):
        def replay(self) -> None:
            super().replay()
            device.counts.launches += 1
            device.counts.replays += 1

    @contextmanager
    def on(stream: PretendedStream) -> Iterator[None]:
        yield

    current: Callable[..., PretendedStream] = lambda *_: PretendedStream(device)  # noqa: E731
    names: dict[str, Any] = {"CUDAGraph": Graph, "graph": graph, "Stream": PretendedStream, "stream": on}
    return {**names, "current_stream": current}
