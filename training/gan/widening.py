"""Load a narrower network's weights into a wider one, so that it computes the same (Net2Net, arXiv 1511.05641)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def load_widened(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Load the weights of a generator that is equal, or equal but for fewer channels.

    The first channels are the narrower network's. The others keep their fresh weights, but nothing that was there reads
    from them yet, so the output is the narrower network's. (Net2Net copies channels instead; fresh ones differ.)

    Args:
        network: as models.networks.build_generator made it, with fresh weights.
        weights: a state_dict; tensors of any floating type.
    Returns: whether the network is wider than the weights.
    Raises: RuntimeError, the weights are of another network; nothing was loaded.
    """
    own = network.state_dict()
    if own.keys() != weights.keys():
        raise RuntimeError(f"it has other layers: {', '.join(sorted(own.keys() ^ weights.keys())[:3])}")
    for name, tensor in own.items():
        given = weights[name]
        if given.dim() != tensor.dim() or any(n > wanted for n, wanted in zip(given.shape, tensor.shape)):
            raise RuntimeError(f"{name} is {tuple(given.shape)}, which does not fit into {tuple(tensor.shape)}")
    for name, tensor in own.items():
        given = weights[name]
        if name.endswith("weight"):
            # Weights are (outputs, inputs, ...).
            tensor[: given.shape[0], given.shape[1] :] = 0
        tensor[tuple(slice(0, n) for n in given.shape)] = given
    return any(weights[name].shape != tensor.shape for name, tensor in own.items())
