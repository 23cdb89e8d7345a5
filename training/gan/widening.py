"""Load what fits of another network's weights: into a wider one (Net2Net, arXiv 1511.05641), or for other classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.gan.encoders import ResNetEncoder


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


def adapt_classes(network: nn.Module, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Return another network's weights for this one's number of classes, and whether that was another number.

    The embedding of the classes is then this network's own, as are the encoder's weights for them; the rest is kept.
    """
    adapted = dict(weights)
    own = network.state_dict()
    name = "embed.weight"
    is_other = name in weights and name in own and weights[name].shape[1] != own[name].shape[1]
    if is_other:
        adapted[name] = own[name].clone()
    if isinstance(network, ResNetEncoder):
        given, fresh = weights["head.weight"], own["head.weight"].clone()
        # The classes come after the features.
        features = fresh.shape[1] - network.num_classes
        if given.shape[1] != fresh.shape[1] and given.shape[1] >= features and len(given) == len(fresh):
            fresh[:, :features] = given[:, :features]
            adapted["head.weight"] = fresh
            is_other = True
    return adapted, is_other


def fits(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Tell whether weights have the names and shapes of this network's."""
    own = network.state_dict()
    return own.keys() == weights.keys() and all(weights[name].shape == tensor.shape for name, tensor in own.items())
