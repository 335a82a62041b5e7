"""The processes that train one network together, through Accelerate; one alone needs nothing.

Every process sees the same numbers at the same step: what one of them decides by its own clock
or its own Ctrl-C is agreed upon first, or the others would wait for it forever.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ukiyoe.errors import InvalidInput, MissingExtra


@dataclass(frozen=True)
class Fleet:
    """Who trains.

    Attributes:
        rank: Number of this process, from 0; the first one writes files and speaks.
        world: How many processes there are.
        device: Where this one computes.
        accelerator: Accelerate's handle; None for a process alone.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  (immutable)
    accelerator: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network to run forward: its gradients become the mean over all processes."""
        if self.world == 1:
            return network
        prepared: nn.Module = self.accelerator.prepare(network)
        return prepared

    def keep_apart(self, wrapped: nn.Module) -> AbstractContextManager[Any]:
        """While it is open, gradients add up here and are not sent to the others."""
        if self.world == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self.accelerator.no_sync(wrapped)
        return context

    def mean(self, *values: float) -> list[float]:
        """Every number as its mean over all processes; all of them must ask."""
        if self.world == 1:
            return list(values)
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        return list(self.accelerator.reduce(own, "mean").tolist())

    def any(self, value: bool) -> bool:
        """Whether it is so in any process; all of them must ask."""
        return self.mean(float(value))[0] > 0

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.world > 1:
            self.accelerator.wait_for_everyone()

    def share(self, batch_size: int) -> range:
        """Which places of a batch are this process's.

        Args:
            batch_size: Pictures of all processes together.

        Returns:
            As many places as any other process has.

        Raises:
            InvalidInput: If the batch cannot be shared out evenly.
        """
        if batch_size % self.world:
            raise InvalidInput(
                f"batch-size: expected a multiple of the {self.world} processes, got {batch_size}."
            )
        each = batch_size // self.world
        return range(self.rank * each, (self.rank + 1) * each)


ALONE = Fleet()


def join_fleet() -> Fleet:
    """Meet the processes that ``torchrun`` or ``accelerate launch`` started beside this one.

    Returns:
        The fleet, on the best device Accelerate finds (``ACCELERATE_USE_CPU=true`` keeps it
        on the CPU).

    Raises:
        MissingExtra: If Accelerate is not installed.
    """
    try:
        from accelerate import Accelerator  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise MissingExtra(
            "train: accelerate is not installed; run pip install 'ukiyoe[train]'."
        ) from error
    accelerator = Accelerator(mixed_precision="no")  # the loop decides on precision
    device = accelerator.device
    if device.type == "cpu":
        device = torch.device("cpu")  # not "cpu:0", which torch.load does not know
    return Fleet(accelerator.process_index, accelerator.num_processes, device, accelerator)
