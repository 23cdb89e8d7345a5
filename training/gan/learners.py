"""The networks that a run trains, each with its optimiser, and the average of the generator's weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.latents import MAX_INTEGER
from models.network_config import GeneratorConfig, ResNetConfig
from models.networks import build_generator
from training.config import Config
from training.data.dataset import Dataset
from training.discriminator_config import DiscriminatorConfig
from training.distributed import ProcessGroup
from training.gan import label_factors, value_embedding
from training.gan.discriminators import build_discriminator
from training.gan.encoders import build_encoder
from training.gan.projected import ProjectedDiscriminator


class Learner(NamedTuple):
    """A network and its optimiser."""

    network: nn.Module
    optimizer: torch.optim.Adam


@dataclass(frozen=True)
class Learners:
    """Everything that a run trains; what the configuration does not ask for is None.

    Attributes:
        ema: the average of the generator's weights, which is what a run is judged and published by.
        heads: the trained part of `projected`, the discriminator on a pretrained network's features.
        constrain: makes of an embedding of the classes, (rows, classes), one that the labels allow, which stays as it
            is; None where they allow any.
    """

    generator: Learner
    discriminator: Learner
    ema: nn.Module
    encoder: Learner | None
    heads: Learner | None
    projected: ProjectedDiscriminator | None
    constrain: Callable[[Tensor], Tensor] | None

    @property
    def G(self) -> nn.Module:
        """The generator's network."""
        return self.generator.network

    @property
    def D(self) -> nn.Module:
        """The network of the discriminator that sees pixels."""
        return self.discriminator.network

    def by_name(self) -> dict[str, Learner]:
        """Return every network that is trained, by its name in messages."""
        learners = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "encoder": self.encoder,
            "projected discriminator": self.heads,
        }
        return {name: learner for name, learner in learners.items() if learner}

    def is_finite(self) -> bool:
        """Whether every weight is finite."""
        networks = [self.ema, *(learner.network for learner in self.by_name().values())]
        weights = [w for network in networks for w in network.parameters()]
        return bool(torch.stack([w.isfinite().all() for w in weights]).all())

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Move the average towards the generator: it keeps `decay`, 0 .. 1, of what it was."""
        for average, weight in zip(self.ema.parameters(), self.G.parameters()):
            average.lerp_(weight, 1.0 - decay)
        # DCGAN's running statistics.
        for buffer, running in zip(self.ema.buffers(), self.G.buffers()):
            buffer.copy_(running)


def generator_config(config: Config, dataset: Dataset, with_prior: bool = False) -> GeneratorConfig:
    """Return the generator that this configuration has for this data; a learned prior is fitted after training."""
    network = config.generator
    if isinstance(network, ResNetConfig) and not with_prior:
        network = network.model_copy(update={"prior": None})
    return GeneratorConfig(
        z_dim=config.z_dim,
        num_classes=len(dataset.class_names),
        shape=dataset.shape,
        network=network,
    )


def discriminator_config(config: Config, dataset: Dataset) -> DiscriminatorConfig:
    """Return the discriminator that this configuration has for this data."""
    return DiscriminatorConfig(
        num_classes=len(dataset.class_names),
        shape=dataset.shape,
        infogan_codes=config.infogan_codes,
        network=config.discriminator,
    )


def build_learners(config: Config, dataset: Dataset, device: torch.device) -> Learners:
    """Return freshly initialised networks, whose weights depend on the seed only."""
    generator = generator_config(config, dataset)
    discriminator = discriminator_config(config, dataset)

    def learner(network: nn.Module) -> Learner:
        # Convolutions are fastest in this memory format, above all in bfloat16.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.to(device)
        return Learner(network, torch.optim.Adam(network.parameters(), lr=config.lr.start, eps=1e-8))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed % (MAX_INTEGER + 1))
        generator_learner = learner(build_generator(generator))
        discriminator_learner = learner(build_discriminator(discriminator))
        encoder = learner(build_encoder(discriminator, config.z_dim)) if config.encoder else None
        projected = ProjectedDiscriminator(discriminator, config.projected) if config.projected else None
    if projected:
        projected.backbone.to(device)
    heads = learner(projected.network) if projected else None
    conditional = [one.network for one in (generator_learner, discriminator_learner, heads) if one]
    constrain = _constrain_embeddings(conditional, config, dataset)
    return Learners(
        generator=generator_learner,
        discriminator=discriminator_learner,
        ema=copy.deepcopy(generator_learner.network).eval().requires_grad_(False),
        encoder=encoder,
        heads=heads,
        projected=projected,
        constrain=constrain,
    )


def _constrain_embeddings(
    networks: Sequence[nn.Module], config: Config, dataset: Dataset
) -> Callable[[Tensor], Tensor] | None:
    """Fix or tie the embeddings of the classes where the labels ask for it; return `Learners.constrain`."""
    if dataset.has_continuous_label:
        for network in networks:
            value_embedding.fix(network)
        return lambda weight: value_embedding.make_waves(*weight.shape).to(weight)
    if config.data.independent_labels:
        sizes = [len(factor.values) for factor in dataset.factors]
        for network in networks:
            label_factors.tie(network, sizes)
        return lambda weight: label_factors.share_columns(weight, sizes)
    return None


def optimizer_step(
    loss: Tensor, learners: Sequence[Learner], group: ProcessGroup, updated: Sequence[Learner] | None = None
) -> Tensor:
    """Follow the gradient of the mean of a loss (n,), with all learners or those that are to be updated.

    Returns: the Euclidean norm of the first network's gradient.
    """
    for learner in learners:
        learner.optimizer.zero_grad(set_to_none=True)
    loss.mean().backward()  # type: ignore[no-untyped-call]
    for learner in learners:
        group.average_gradients(learner.network.parameters())
    for learner in learners if updated is None else updated:
        learner.optimizer.step()
    norms = [p.grad.norm() for p in learners[0].network.parameters() if p.grad is not None]
    return torch.stack(norms).square().sum().sqrt()
