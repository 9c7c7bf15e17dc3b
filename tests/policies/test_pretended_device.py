"""The pretended GPU catches what a real one would refuse, and counts what makes it wait."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="it is torch that is watched: pip install -e '.[train]'")

from pretended_device import PretendedDevice  # noqa: E402


def stray_mask(tensor: Any) -> Any:
    return tensor.masked_fill(torch.zeros(4, 4, dtype=torch.bool), 0.0)


def forgotten_layer(tensor: Any) -> Any:
    return torch.nn.Linear(4, 4)(tensor)


def forgotten_buffer(tensor: Any) -> Any:
    layer = torch.nn.BatchNorm1d(4).to("cuda").eval()
    layer.running_mean = torch.zeros(4)
    return layer(tensor)


def foreign_gradient(tensor: Any) -> Any:
    weight = torch.nn.Parameter(tensor.clone())
    (weight.sum() + torch.nn.Parameter(torch.ones(4, 4)).mul(weight).sum()).backward()


def foreign_moments(tensor: Any) -> Any:
    weight = torch.nn.Parameter(tensor.clone())
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    optimizer.state[weight]["exp_avg"] = torch.zeros(4, 4)
    optimizer.step()


def joined(tensor: Any) -> Any:
    return torch.cat([tensor, torch.from_numpy(np.zeros((2, 4), np.float32))])


@pytest.mark.parametrize(
    "fault", [stray_mask, forgotten_layer, forgotten_buffer, foreign_gradient, foreign_moments, joined]
)
def test_tensors_of_two_devices_do_not_mix(fault: Callable[[Any], Any]) -> None:
    with PretendedDevice(), pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        fault(torch.ones(4, 4, device="cuda"))


@pytest.mark.parametrize("read", [lambda tensor: tensor.numpy(), np.asarray], ids=["numpy", "asarray"])
def test_numbers_of_the_device_are_no_array(read: Callable[[Any], Any]) -> None:
    with PretendedDevice():
        with pytest.raises(TypeError, match="cuda:0 device type tensor to numpy"):
            read(torch.ones(4, device="cuda"))
        assert read(torch.ones(4, device="cuda").cpu()).tolist() == [1.0] * 4


WAITS: dict[str, tuple[Callable[[Any], Any], int, int]] = {
    "item": (lambda tensor: tensor[0, 0].item(), 1, 0),
    "float": (lambda tensor: float(tensor.sum()), 1, 0),
    "condition": (lambda tensor: bool((tensor > 0).all()), 1, 0),
    "tolist": (lambda tensor: tensor.tolist(), 1, 0),
    "cpu": (lambda tensor: tensor.cpu(), 1, 0),
    "nonzero": (lambda tensor: tensor.nonzero(), 1, 0),
    "by a mask": (lambda tensor: tensor[tensor > 0], 1, 0),
    "copied back": (lambda tensor: torch.empty(4, 4).copy_(tensor), 1, 0),
    "made of a list": (lambda tensor: torch.tensor([1, 2], device=tensor.device), 0, 1),
    "moved": (lambda tensor: torch.ones(4).to(tensor), 0, 1),
    "moved behind its back": (lambda tensor: torch.ones(4).to(tensor.device, non_blocking=True), 0, 0),
    "an index of the host's": (lambda tensor: tensor[torch.tensor([0, 1])], 0, 1),
    "made there": (lambda tensor: torch.arange(4, device=tensor.device), 0, 0),
    "computed": (lambda tensor: (tensor @ tensor).softmax(-1).view(-1)[None], 0, 0),
}


@pytest.mark.parametrize(("call", "reads", "uploads"), WAITS.values(), ids=WAITS.keys())
def test_what_makes_the_host_wait_is_counted(call: Callable[[Any], Any], reads: int, uploads: int) -> None:
    with PretendedDevice() as device:
        tensor = torch.ones(4, 4, device="cuda")
        with device.counted() as found:
            call(tensor)
    assert (found.reads, found.uploads) == (reads, uploads)


def test_launches_are_those_of_the_device_without_views() -> None:
    with PretendedDevice() as device:
        tensor = torch.ones(4, 4, device="cuda")
        with device.counted() as found:
            (tensor[None] + 1).view(-1)[2:] * 2
            torch.ones(3).mul(2)
    assert found.launches == 2


def test_a_model_moves_with_its_copies_and_its_gradients_and_computes_the_same() -> None:
    torch.manual_seed(0)
    layer, seen = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)), torch.randn(3, 4)
    expected = torch.autograd.grad(layer(seen).sum(), list(layer.parameters()))
    with PretendedDevice() as device:
        moved = copy.deepcopy(copy.deepcopy(layer).to("cuda"))
        moved(seen.to("cuda")).sum().backward()
        assert all(each.is_cuda and each.grad.device == torch.device("cuda", 0) for each in moved.parameters())
        assert not any(each.is_cuda for each in layer.parameters())
        found = [each.grad.cpu() for each in moved.parameters()]
        assert device.counts.uploads == 5 and device.counts.reads == 4
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert torch.ones(1).device.type == "cpu"


def captured(call: Callable[[], Any]) -> Any:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def test_a_graph_runs_what_was_captured_on_the_same_memory() -> None:
    with PretendedDevice() as device:
        number, out = torch.ones(3, device="cuda"), torch.zeros(3, device="cuda")
        of_the_host = 2

        def step() -> None:
            out.copy_((number * of_the_host).view(3, 1).squeeze(1) + torch.ones(3, device="cuda"))
            number.add_(1)

        graph = captured(step)
        assert number.tolist() == [1.0] * 3 and out.tolist() == [0.0] * 3  # a capture runs nothing
        of_the_host = 5
        with device.counted() as found:
            graph.replay()
            graph.replay()
        assert out.tolist() == [5.0] * 3 and number.tolist() == [3.0] * 3
        assert (found.launches, found.replays, found.captures) == (2, 2, 0)


@pytest.mark.parametrize("wait", [lambda each: each.sum().item(), lambda each: torch.tensor([1], device="cuda")])
def test_the_host_may_not_wait_in_a_capture(wait: Callable[[Any], Any]) -> None:
    with PretendedDevice():
        number = torch.ones(3, device="cuda")
        with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            captured(lambda: wait(number))


def test_a_graph_holds_no_memory_that_was_there_before() -> None:
    with PretendedDevice():
        numbers, out = [torch.ones(3, device="cuda")], torch.zeros(3, device="cuda")
        graph = captured(lambda: out.copy_(numbers[0]))
        numbers.clear()
        with pytest.raises(RuntimeError, match="given back"):
            graph.replay()
