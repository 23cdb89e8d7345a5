"""Independent labels: what a network knows of a class is put together from what it knows of each label's value.

A conditional network has a layer from class weights to an embedding, with a column for each class. Where the classes
are the combinations of several labels, the rows of this layer are divided among the labels, and in a label's rows all
classes of one value have the same weights. So it is an embedding for each label, concatenated, written as one for each
class: whatever reads the network sees an ordinary layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def tie(network: nn.Module, sizes: Sequence[int]) -> None:
    """Make the class embeddings of a network equal for classes of one value, now and in training.

    The gradient of a shared weight is the sum over its classes. Equal weights with equal gradients stay equal.

    Args:
        network: its layers `embed` map class weights, (N, classes), to an embedding.
        sizes: the number of values of each label; the classes are their combinations, the last label's values alternate
            fastest.
    """
    for embed in find_embeddings(network):
        with torch.no_grad():
            embed.weight.copy_(share_columns(embed.weight, sizes))
        embed.weight.register_hook(lambda gradient: _share(gradient, sizes, _sum))  # type: ignore[no-untyped-call]


def share_columns(weight: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return an embedding (rows, classes) in which classes of one value have the weights of the first of them.

    Args: sizes, as for `tie`.
    """
    return _share(weight, sizes, _first)


def find_embeddings(network: nn.Module) -> list[nn.Linear]:
    """Return the layers of a network that map class weights to an embedding."""
    modules = network.named_modules()
    return [m for name, m in modules if name.rpartition(".")[2] == "embed" and isinstance(m, nn.Linear)]


def _share(weight: Tensor, sizes: Sequence[int], reduce: Callable[[Tensor, list[int]], Tensor]) -> Tensor:
    """Reduce each label's rows over all classes with one value of it, and give the result to all of these.

    Args:
        weight: (rows, classes).
        sizes: as for `tie`.
        reduce: from (n, *sizes) and dimensions to the same with 1 in these dimensions.
    """
    shared = []
    for k, rows in enumerate(weight.tensor_split(len(sizes))):
        grid = rows.reshape(len(rows), *sizes)
        others = [dim for dim in range(1, grid.ndim) if dim != k + 1]
        shared.append(reduce(grid, others).expand_as(grid).flatten(1))
    return torch.cat(shared)


def _first(grid: Tensor, dims: list[int]) -> Tensor:
    for dim in dims:
        grid = grid.narrow(dim, 0, 1)
    return grid


def _sum(grid: Tensor, dims: list[int]) -> Tensor:
    return grid.sum(dims, keepdim=True)
