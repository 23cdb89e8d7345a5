"""Load what fits of another network's weights: into a wider one (Net2Net, arXiv 1511.05641), or for other classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def adapt_classes(
    network: nn.Module, weights: Mapping[str, Tensor], constrain: Callable[[Tensor], Tensor] | None = None
) -> tuple[dict[str, Tensor], bool]:
    """Return another network's weights for this one's classes, and whether what it knows of the classes is left out.

    An embedding for another number of classes, or one that the labels do not allow, is this network's own instead, as
    are the encoder's weights for another number; the rest is kept.

    Args: constrain, as in training.gan.learners.Learners.
    """
    adapted = dict(weights)
    own = network.state_dict()
    is_other = False
    for name in own.keys() & weights.keys():
        if not f".{name}".endswith(".embed.weight"):
            continue
        allowed = _allow(weights[name].to(own[name]), own[name], constrain)
        is_other |= allowed is None
        adapted[name] = own[name].clone() if allowed is None else allowed
    if isinstance(network, ResNetEncoder):
        given, fresh = weights["head.weight"], own["head.weight"].clone()
        # The classes come after the features.
        features = fresh.shape[1] - network.num_classes
        if given.shape[1] != fresh.shape[1] and given.shape[1] >= features and len(given) == len(fresh):
            fresh[:, :features] = given[:, :features]
            adapted["head.weight"] = fresh
            is_other = True
    return adapted, is_other


def _allow(given: Tensor, own: Tensor, constrain: Callable[[Tensor], Tensor] | None) -> Tensor | None:
    """Return an embedding as the labels allow it; None if it is too far from that."""
    if constrain is None:
        return given if given.shape[1] == own.shape[1] else None
    if given.shape != own.shape:
        return None
    constrained = constrain(given)
    # Published training states are rounded to half precision.
    return constrained if torch.allclose(given, constrained, rtol=1e-3, atol=1e-3) else None


def fits(network: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Tell whether weights have the names and shapes of this network's."""
    own = network.state_dict()
    return own.keys() == weights.keys() and all(weights[name].shape == tensor.shape for name, tensor in own.items())
