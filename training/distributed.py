"""Several processes as one, started by torchrun.

Knows: which rows of a batch are this process's, how gradients, figures and stop requests are shared,
and who writes. Does not know: networks, losses, files.

Each process draws the whole batch's random numbers and takes its own rows, so that what is shown
does not depend on the number of processes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ProcessGroup:
    """This process among its equals.

    Attributes:
        rank: 0 .. size - 1; 0 is_main: it alone writes and prints.
        size: number of processes; 1 makes every method do nothing.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """This process's part of a batch, which `size` must divide."""
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes; the same bits everywhere."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients])):
            gradient.copy_(part.reshape(gradient.shape))

    def gather(self, rows: Tensor) -> Tensor:
        """All processes' rows in the batch's order: (..., n) to (..., size * n)."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts, dim=-1)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is up in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag), device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


SINGLE = ProcessGroup()


@contextlib.contextmanager
def init_distributed(device: str) -> Iterator[ProcessGroup]:
    """The processes that torchrun started this one with; alone without torchrun.

    Args: device, a torch device name, of this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield SINGLE
        return
    is_cuda = device.startswith("cuda")
    if is_cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if is_cuda else "gloo")
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def local_device(device: str) -> str:
    """The GPU of this process, where "cuda" means one for each."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


@contextlib.contextmanager
def main_process_output() -> Iterator[None]:
    """Drops what other processes than the first print to stdout."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield
