"""Training in several processes, started by torchrun.

Each process draws the whole batch's random numbers and uses its own rows, so training does not depend on
the number of processes.
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
    """This process and the number of all processes.

    Attributes:
        rank: 0 .. size - 1; only the main process, 0, writes and prints.
        size: number of processes; with 1 no method communicates.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """Return this process's part of a batch; `size` must divide it."""
        share = batch // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean over the processes; all get the same bits."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients])):
            gradient.copy_(part.reshape(gradient.shape))

    def gather(self, rows: Tensor) -> Tensor:
        """Return all processes' rows in the batch's order: (..., n) to (..., size * n)."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts, dim=-1)

    def gather_named(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gather several rows of equal length in one exchange, without gradients: (n,) to (size * n,) each."""
        gathered = self.gather(torch.stack(list(rows.values())).detach())
        return dict(zip(rows, gathered.unbind()))

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether the flag is set in any process."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag), device=device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def wait(self) -> None:
        """Wait until every process has called this."""
        if self.size > 1:
            dist.barrier()


SINGLE = ProcessGroup()


@contextlib.contextmanager
def init_distributed(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started; without torchrun there is only this one.

    Args: device, this process's torch device name.
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
    """Return the device of this process: "cuda" means one GPU for each process."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


@contextlib.contextmanager
def main_process_output() -> Iterator[None]:
    """Discard what other processes than the main one print."""
    if os.environ.get("RANK", "0") == "0":
        yield
        return
    with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null):
        yield
