"""One training run's state and its single step.

Knows: the networks, their optimisers, the schedules, and how one step changes them. Every random
number is a pure function of (seed, images shown), so the state is the weights, the optimisers'
moments and one counter: a run that is stopped and resumed takes the very same steps. Does not know:
files, progress, when to stop.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.latents import MAX_INTEGER
from models.network_config import GeneratorConfig
from models.networks import build_generator
from training.config import Config
from training.data.dataset import Dataset
from training.discriminator_config import DiscriminatorConfig
from training.distributed import SINGLE, ProcessGroup
from training.gan.augment import augment
from training.gan.discriminators import DiscriminatorOutput, build_discriminator
from training.gan.encoders import build_encoder
from training.gan.image_ops import clipped, distance
from training.gan.losses import OBJECTIVES, code_loss, zero_centered_gradient_penalty
from training.gan.vae_gan import ALL, DRAWN, READ, divergence, read
from training.rng import RngStreams
from training.schedule import CosineSchedule

NO_PENALTY = CosineSchedule(start=0.0, end=0.0)
# What D is shown in one step, each augmented by draws of its own.
REAL_FOR_G, FAKE_FOR_G, REAL_FOR_D, FAKE_FOR_D = range(4)
D_STATS = ("loss_D", "grad_norm_D", "loss_codes", "r1", "r2", "acc_real", "acc_fake", "acc_pair", "margin")
STATS = ("loss_G", "grad_norm_G", "reconstruction", "divergence", *D_STATS)


def generator_config(config: Config, dataset: Dataset) -> GeneratorConfig:
    """The generator that this configuration builds for this data."""
    return GeneratorConfig(
        z_dim=config.z_dim,
        num_classes=len(dataset.class_names),
        shape=dataset.shape,
        network=config.generator,
    )


def discriminator_config(config: Config, dataset: Dataset) -> DiscriminatorConfig:
    """The discriminator that this configuration builds for this data."""
    return DiscriminatorConfig(
        num_classes=len(dataset.class_names),
        shape=dataset.shape,
        infogan_codes=config.infogan_codes,
        network=config.discriminator,
    )


class Learner(NamedTuple):
    """A network and what moves it."""

    network: nn.Module
    optimizer: torch.optim.Adam


class Trainer:
    """Networks, optimisers and the counter of real images shown to D.

    Args:
        config: the run's configuration.
        dataset: the training data; its shape and labels decide the networks' ends.
        device: a torch device name.
        team: the processes that share each batch.
    """

    def __init__(self, config: Config, dataset: Dataset, device: str, team: ProcessGroup = SINGLE) -> None:
        self.config = config
        self.team = team
        self.dataset = dataset
        self.device = torch.device(device)
        self.images_shown = 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed % (MAX_INTEGER + 1))
            self.G = self._placed(build_generator(generator_config(config, dataset)))
            self.D = self._placed(build_discriminator(discriminator_config(config, dataset)))
            E = (
                self._placed(build_encoder(discriminator_config(config, dataset), config.z_dim))
                if config.encoder
                else None
            )
        self.ema = copy.deepcopy(self.G).eval().requires_grad_(False)
        self.optimizer_G = torch.optim.Adam(self.G.parameters(), lr=config.lr.start, eps=1e-8)
        self.optimizer_D = torch.optim.Adam(self.D.parameters(), lr=config.lr.start, eps=1e-8)
        # Without one, G is asked for drawn images only.
        self.reader = Learner(E, torch.optim.Adam(E.parameters(), lr=config.lr.start, eps=1e-8)) if E else None
        self.objective = OBJECTIVES[config.objective]
        power = config.data.class_sampling_power
        labels = dataset.labels if power < 1 else None
        self.rng = RngStreams(config.seed, config.batch, len(dataset), team, labels, power)

    def _placed(self, network: nn.Module) -> nn.Module:
        # Convolutions of the weights' memory format are the faster ones, above all in bfloat16.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.to(self.device)

    def state(self) -> dict[str, Any]:
        """Everything that a later step depends on."""
        return {
            "images_shown": self.images_shown,
            "G": self.G.state_dict(),
            "D": self.D.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer_G": self.optimizer_G.state_dict(),
            "optimizer_D": self.optimizer_D.state_dict(),
            "encoder": {name: part.state_dict() for name, part in self._encoder_parts().items()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.images_shown = state["images_shown"]
        for name in ("G", "D", "ema", "optimizer_G", "optimizer_D"):
            getattr(self, name).load_state_dict(state[name])
        # A run that begins with another's may be the first of the two that has an encoder.
        for name, part in self._encoder_parts().items():
            if state.get("encoder"):
                part.load_state_dict(state["encoder"][name])

    def _encoder_parts(self) -> dict[str, Any]:
        return {"E": self.reader.network, "optimizer_E": self.reader.optimizer} if self.reader else {}

    def _makers(self) -> list[Learner]:
        """What G's loss moves: G, and the encoder where there is one."""
        return [Learner(self.G, self.optimizer_G), *([self.reader] if self.reader else [])]

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        networks = [self.D, self.ema, *(learner.network for learner in self._makers())]
        weights = [w for network in networks for w in network.parameters()]
        return bool(torch.stack([w.isfinite().all() for w in weights]).all())

    def scheduled(self, schedule: CosineSchedule) -> float:
        """A schedule's value at this point of the run."""
        return schedule.at(self.images_shown / (self.config.schedule_kimg * 1000))

    def step(self) -> Tensor:
        """Show one batch of real images: G's update, D's update, EMA.

        Returns: float32 (len(STATS),), this batch's means, on the device.
        """
        config = self.config
        beta2, lr = self.scheduled(config.beta2), self.scheduled(config.lr)
        for optimizer in (self.optimizer_D, *(learner.optimizer for learner in self._makers())):
            optimizer.param_groups[0].update(lr=lr, betas=(config.beta1, beta2))
        real, labels = self._real_batch()
        stats_g = self._update_generator(real, labels)
        stats_d = self._update_discriminator(real, labels)
        self._update_ema()
        self.images_shown += config.batch
        return torch.cat([stats_g, stats_d])

    def _update_generator(self, real: Tensor, labels: Tensor) -> Tensor:
        self.D.requires_grad_(False)
        drawn = DRAWN if self.reader else ALL
        z, apart = self._read(real, labels, self._noise(0))
        made = self._fake(z, labels)
        with torch.no_grad():
            real_logits = self._judge(real[drawn], labels[drawn], REAL_FOR_G).logits
        fake = self._judge(made[drawn], labels[drawn], FAKE_FOR_G)
        loss = self.objective.generator(real_logits, fake.logits)
        codes = code_loss(fake.codes, z[drawn, : self.config.infogan_codes])
        total = torch.zeros(len(labels), device=self.device)
        total[drawn] += loss + self.config.infogan_weight * codes
        away = torch.zeros_like(apart)
        if self.config.encoder and self.reader:
            away = distance(made[READ], real[READ])
            weight = self.scheduled(self.config.encoder.weight)
            total[READ] += weight * (away + self.config.encoder.kl_weight * apart)
        norm = self._follow(total, *self._makers())
        self.D.requires_grad_(True)
        # Shares are equal, so the mean of the processes' means is the batch's; one exchange for all three.
        means = torch.stack([row.detach().mean() for row in (loss, away, apart)]).unsqueeze(1)
        loss_mean, *others = self.team.gather(means).mean(dim=1)
        return torch.stack([loss_mean, norm, *others])

    def _read(self, real: Tensor, labels: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents of which READ are read from the images; those rows' divergence from the prior."""
        if not self.reader:
            return z, torch.zeros_like(z[:, 0])
        with self._autocast():
            posterior = self.reader.network(real[READ], labels[READ])
        sd = self.config.latent_std
        z = z.clone()
        z[READ] = sd * read(posterior, z[READ] / sd)
        return z, divergence(posterior)

    def _update_discriminator(self, real: Tensor, labels: Tensor) -> Tensor:
        z = self._noise(1)
        with torch.no_grad():
            fake = self._fake(z, labels)
        weight = self._penalty_weight()
        real.requires_grad_(weight > 0)
        fake.requires_grad_(weight > 0)
        on_real, on_fake = self._judge(real, labels, REAL_FOR_D), self._judge(fake, labels, FAKE_FOR_D)
        loss = self.objective.discriminator(on_real.logits, on_fake.logits)
        codes = code_loss(on_fake.codes, z[:, : self.config.infogan_codes])
        r1 = r2 = torch.zeros_like(loss)
        if weight > 0:
            r1 = weight * zero_centered_gradient_penalty(real, on_real.logits)
            r2 = weight * zero_centered_gradient_penalty(fake, on_fake.logits)
        total = loss + self.config.infogan_weight * codes + 0.5 * self.scheduled(self.config.gamma) * (r1 + r2)
        norm = self._follow(total, Learner(self.D, self.optimizer_D))
        rows = torch.stack([loss, codes, r1, r2, on_real.logits, on_fake.logits]).detach()
        return _discriminator_stats(norm, *self.team.gather(rows))

    def _follow(self, loss: Tensor, *learners: Learner) -> Tensor:
        """One step down the mean of a loss (N,); the norm of the first network's gradient before it."""
        for learner in learners:
            learner.optimizer.zero_grad(set_to_none=True)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        for learner in learners:
            self.team.average_gradients(learner.network.parameters())
            learner.optimizer.step()
        return _gradient_norm(learners[0].network)

    def _penalty_weight(self) -> int:
        """Of R1 and R2 in this step: lazy regularisation (StyleGAN2, arXiv 1912.04958, section 3.1)."""
        every = self.config.penalty_every
        due = (self.images_shown // self.config.batch) % every == 0
        return every if due and self.config.gamma != NO_PENALTY else 0

    def _fake(self, z: Tensor, labels: Tensor) -> Tensor:
        with self._autocast():
            images: Tensor = self.G(z, labels)
        return clipped(images.float()) if self.config.clip_fakes else images.float()

    def _judge(self, images: Tensor, labels: Tensor, view: int) -> DiscriminatorOutput:
        random = self.rng.augmentation(self.images_shown, view)
        config = self.config.augment
        seen = augment(images, self.augment_p(), random, self.team, config.colour if config else 0.0)
        with self._autocast():
            verdict: DiscriminatorOutput = self.D(seen, labels)
        return DiscriminatorOutput(*(part.float() for part in verdict))

    def augment_p(self) -> float:
        """The probability of each transformation at this point of the run."""
        return self.scheduled(self.config.augment.p) if self.config.augment else 0.0

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _update_ema(self) -> None:
        halflife = self.scheduled(self.config.ema_halflife_kimg) * 1000
        decay = 0.5 ** (self.config.batch / halflife) if halflife > 0 else 0.0
        with torch.no_grad():
            for average, weight in zip(self.ema.parameters(), self.G.parameters()):
                average.lerp_(weight, 1.0 - decay)
            # BatchNorm's, in the baseline.
            for kept, running in zip(self.ema.buffers(), self.G.buffers()):
                kept.copy_(running)

    def _noise(self, part: int) -> Tensor:
        return self._latents(self.rng.noise(self.images_shown, part, self.config.z_dim))

    def _latents(self, normal: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(normal).to(self.device) * self.config.latent_std

    def _real_batch(self) -> tuple[Tensor, Tensor]:
        images, labels = self.dataset.batch(self.rng.indices(self.images_shown))
        if self.config.data.mirror:
            flips = self.rng.mirrored(self.images_shown)
            images[flips] = images[flips, :, :, ::-1]
        real = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)
        return real, torch.from_numpy(labels).to(self.device)


def _gradient_norm(network: nn.Module) -> Tensor:
    """The Euclidean norm of all gradients taken as one vector."""
    norms = [p.grad.norm() for p in network.parameters() if p.grad is not None]
    return torch.stack(norms).square().sum().sqrt()


def _discriminator_stats(
    norm: Tensor, loss: Tensor, codes: Tensor, r1: Tensor, r2: Tensor, real: Tensor, fake: Tensor
) -> Tensor:
    """Means over the batch, in D_STATS' order.

    Relativistic logits have no zero of their own, so accuracies are taken against the midpoint
    between the batch's mean real and mean fake logit.
    """
    middle = 0.5 * (real.mean() + fake.mean())
    accuracies = ((real > middle).float(), (fake < middle).float(), (real > fake).float())
    means = [row.mean() for row in (loss, codes, r1, r2, *accuracies, real - fake)]
    return torch.stack([means[0], norm, *means[1:]])
