"""What one training step is fed with, as a pure function of configuration, data and the images shown before it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import Tensor

from training.config import Config
from training.data.dataset import Dataset
from training.distributed import ProcessGroup
from training.gan.augment import augment
from training.rng import RngStreams
from training.schedule import CosineSchedule

# The inputs of D in one step; each has its own random augmentations.
REAL_FOR_G = 0
FAKE_FOR_G = 1
REAL_FOR_D = 2
FAKE_FOR_D = 3
REAL_FOR_PROJECTED = 4
FAKE_FOR_PROJECTED = 5
# The latents of one step.
LATENTS_FOR_G = 0
LATENTS_FOR_D = 1

NO_PENALTY = CosineSchedule(start=0.0, end=0.0)


@dataclass(frozen=True)
class StepInputs:
    """The images, random numbers and scheduled settings of one step; tensors hold this process's part of the batch.

    Attributes:
        images_shown: real images shown to D before this step.
    """

    config: Config
    dataset: Dataset
    device: torch.device
    group: ProcessGroup
    rng: RngStreams
    images_shown: int

    def scheduled(self, schedule: CosineSchedule) -> float:
        """Return a schedule's value in this step."""
        return schedule.at(self.images_shown / (self.config.schedule_kimg * 1000))

    def penalty_weight(self, gamma: CosineSchedule) -> int:
        """Return the weight of R1 and R2 (lazy regularisation, arXiv 1912.04958, section 3.1); 0 without them.

        Args: gamma, of the discriminator that is trained.
        """
        interval = self.config.penalty_every
        is_due = (self.images_shown // self.config.batch) % interval == 0
        return interval if is_due and gamma != NO_PENALTY else 0

    @property
    def augment_p(self) -> float:
        """The probability of each augmentation."""
        return self.scheduled(self.config.augment.p) if self.config.augment else 0.0

    @property
    def ema_decay(self) -> float:
        """How much of itself the averaged generator keeps, 0 .. 1."""
        halflife = self.scheduled(self.config.ema_halflife_kimg) * 1000
        return 0.5 ** (self.config.batch / halflife) if halflife > 0 else 0.0

    @property
    def is_generator_frozen(self) -> bool:
        """Whether the other networks catch up with a generator that starts trained."""
        return self.images_shown < self.config.freeze_generator_kimg * 1000

    def real_batch(self) -> tuple[Tensor, Tensor]:
        """Return real images, float32 (n, C, H, W), and their labels, int64 (n,)."""
        images, labels = self.dataset.batch(self.rng.batch_indices(self.images_shown))
        if self.config.data.mirror:
            flips = self.rng.mirror_mask(self.images_shown)
            images[flips] = images[flips, :, :, ::-1]
        real = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)
        return real, torch.from_numpy(labels).to(self.device)

    def latents(self, part: int) -> Tensor:
        """Return latents from the prior, (n, z_dim); `part` is LATENTS_FOR_G or LATENTS_FOR_D."""
        normal = self.rng.latents(self.images_shown, part, self.config.z_dim)
        return torch.from_numpy(normal).to(self.device) * self.config.latent_std

    def augment(self, images: Tensor, view: int, with_colour: bool = True) -> Tensor:
        """Transform images at random, if the configuration says so; `view` is one of REAL_FOR_G and its kind."""
        if self.config.augment is None:
            return images
        rng = self.rng.augment_rng(self.images_shown, view)
        colour_share = self.config.augment.colour if with_colour else 0.0
        return augment(images, self.augment_p, rng, self.group, colour_share)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which convolutions run at the configuration's precision."""
        if self.config.precision == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()
