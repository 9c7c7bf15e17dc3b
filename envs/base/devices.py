"""Is the device there that a model shall be on?"""

from __future__ import annotations

from envs.base.errors import UserError


def check_device(name: str) -> None:
    """Refuse a device of torch that this machine does not have, or that cannot hold numbers.

    Raises:
        UserError: it names the devices that are there.
    """
    import torch

    try:
        torch.empty(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError, TypeError) as error:
        there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            there.append("mps")
        raise UserError(f"there is no device {name!r} on this machine: there is {', '.join(there)}") from error
