"""A continuous label: what a network knows of a value is near what it knows of the next.

A conditional network has a layer `embed` from class weights to an embedding, with a column for each class. Where the
classes are the values of a scale, the columns are waves along the scale, which do not learn: random Fourier features of
a Gaussian kernel (Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", NeurIPS 2007, section 3), with
evenly spread instead of random frequencies. A layer beside it that is learnt makes of them any smooth function of the
value: in a generator the one that reads the embedding, in a discriminator the one that is multiplied with it. Whatever
reads the network sees an ordinary layer.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor, nn

from training.gan.label_factors import find_embeddings

# Two values that lie this share of the scale from each other have a similarity of exp(-1/2).
LENGTH = 0.2
_GOLDEN_RATIO = (1 + math.sqrt(5)) / 2


def fix(network: nn.Module) -> None:
    """Make the class embeddings of a network waves along a scale, now and in training.

    Args: network, its layers `embed` map class weights, (N, values), to an embedding; the values are in order.
    """
    for embed in find_embeddings(network):
        with torch.no_grad():
            embed.weight.copy_(make_waves(*embed.weight.shape))
        embed.weight.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]


def make_waves(rows: int, values: int) -> Tensor:
    """Return waves along an even scale of values, float32 (rows, values); their mean square is about 1."""
    normal = NormalDist(sigma=1 / LENGTH)
    frequencies = [normal.inv_cdf((k + 0.5) / rows) for k in range(rows)]
    phases = [2 * math.pi * ((k + 1) * _GOLDEN_RATIO % 1) for k in range(rows)]
    places = torch.linspace(0, 1, values, device="cpu")
    return math.sqrt(2) * torch.cos(
        torch.outer(torch.tensor(frequencies, device="cpu"), places) + torch.tensor(phases, device="cpu")[:, None]
    )
