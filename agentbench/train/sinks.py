"""Further places for the metrics beside ``metrics.jsonl``, which stays the truth: TensorBoard, wandb, trackio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from agentbench.runs.provenance import stable_seed
from agentbench.train.settings import CHOSEN
from envs.base.errors import UserError
from envs.base.log import log
from envs.base.safe_text import redacted

SinkName = Literal["tensorboard", "wandb", "trackio"]
PROJECT = "agentbench"

Metrics = dict[str, Any]


class Sink(Protocol):
    """Where the metrics of a training step go."""

    def log(self, metrics: Metrics, step: int) -> Any:
        """Take in the numbers of one training step."""

    def finish(self) -> Any:
        """Write out what is waiting."""


def check_sinks(names: Sequence[str]) -> None:
    """Refuse sinks whose package is missing.

    Raises:
        UserError: it says what to install.
    """
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"sink {name!r} needs a package that is not installed: pip install {name}")


@contextmanager
def open_sinks(names: Sequence[SinkName], settings: dict[str, Any], out: Path) -> Iterator[Callable[[Metrics], None]]:
    """Open the sinks and give a function that sends a training step's metrics to all of them.

    A sink that fails later (a server that is gone) is left out with a warning: it must not end the training.

    Args:
        names: which ones; a run is named after its folder, and continues under that name when resumed.
        settings: of the training, shown beside the curves.
        out: folder of the run.

    Raises:
        UserError: a sink cannot be opened.
    """
    opened: dict[str, Sink] = {}

    def send(metrics: Metrics) -> None:
        numbers = {name: value for name, value in metrics.items() if name != "step" and not name.startswith(CHOSEN)}
        for name in list(opened):
            _attempt(name, opened, lambda sink: sink.log(numbers, step=metrics["step"]))

    try:
        for name in names:
            try:
                opened[name] = _open(name, settings, out)
            except Exception as error:  # whatever a third party's package raises, in one line
                raise UserError(f"sink {name!r} cannot be opened: {redacted(str(error))}") from error
        yield send
    finally:
        for still_open in list(opened):
            _attempt(still_open, opened, lambda sink: sink.finish())


class _TensorBoard:
    def __init__(self, out: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"))

    def log(self, metrics: Metrics, step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self._writer.close()


def _open(name: str, settings: dict[str, Any], out: Path) -> Sink:
    if name == "tensorboard":
        return _TensorBoard(out)
    assert name in get_args(SinkName)
    # The folder names the run, so that a resumed run continues where it was; the number distinguishes equal names.
    run = f"{out.name}-{stable_seed(str(out.resolve())) % 16**6:06x}"
    where = {"id": run, "dir": str(out)} if name == "wandb" else {}
    opened: Sink = import_module(name).init(project=PROJECT, name=run, config=settings, resume="allow", **where)
    return opened


def _attempt(name: str, opened: dict[str, Sink], action: Callable[[Sink], Any]) -> None:
    try:
        action(opened[name])
    except Exception as error:  # telemetry of a third party never ends a training run
        log.warning("sink %r failed and is left out: %s: %s", name, type(error).__name__, redacted(str(error)))
        del opened[name]
