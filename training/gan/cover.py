"""Drawing generated images towards real ones that were left out.

An adversarial loss alone forgets what is rare. So now and then some images are generated, each real
image of the steps to come is matched with the nearest, and where even that is too far away, G is also
asked to come nearer. After Inclusive GAN (Yu et al., arXiv 2004.03355, section 3), which joins
implicit maximum likelihood (Li and Malik, arXiv 1809.09087) to a GAN; here only what was left out
pulls, or every image would be drawn towards the mean of its neighbours, and averaged pixels take the place of
a perceptual network. Knows: which real images are left out, and from which latents they are nearest.
Does not know: networks, schedules, losses beside its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from models.base import Frozen
from training.data.dataset import Dataset
from training.gan.image_ops import averaged, distance
from training.rng import RngStreams
from training.schedule import CosineSchedule, Weight

CHUNK = 1000

# Latents, float32 (n, z_dim), and labels, int64 (n,), to images, float32 (n, C, H, W).
Imagine = Callable[[NDArray[np.float32], Tensor], Tensor]


class CoverConfig(Frozen):
    """How strongly to draw, and how to tell what was left out."""

    weight: Weight = Field(
        default=CosineSchedule(start=0.0, end=40.0),
        description="of the squared distance in averaged pixels, -1 .. 1; rising, or D wins while G only blurs",
    )
    every_kimg: float = Field(default=20.0, gt=0, description="images shown between two matchings")
    candidates: int = Field(default=2000, ge=1, description="images generated for a class, at most a third of its own")
    nearest: int = Field(
        default=3, ge=1, description="a real image is left out if so many real ones are nearer than any generated one"
    )


class Cover:
    """Which real images are left out, until the next matching.

    Args:
        config: None for a cover that never draws.
        dataset: the training data.
        draws: the run's random numbers.
        z_dim: entries of a latent.
    """

    def __init__(self, config: CoverConfig | None, dataset: Dataset, draws: RngStreams, z_dim: int) -> None:
        self.config = config
        self._dataset, self._draws, self._z_dim = dataset, draws, z_dim
        self._labels = np.zeros(len(dataset), np.int64) if dataset.labels is None else dataset.labels
        self._matched_at = -1
        # The candidate that each sample is drawn from; -1 for those that are not left out.
        self._match = np.full(len(dataset), -1, np.int64)
        self._latents: dict[int, NDArray[np.float32]] = {}
        self.left_out = 0.0

    def state(self) -> dict[str, Any]:
        """All that a later step depends on; nothing without a configuration."""
        if not self.config:
            return {}
        return {"matched_at": self._matched_at, "match": torch.from_numpy(self._match), "left_out": self.left_out}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned, or match anew where that is empty."""
        self._matched_at = -1
        self._latents = {}
        if self.config and state:
            self._matched_at, self.left_out = state["matched_at"], state["left_out"]
            self._match = state["match"].cpu().numpy()

    def due(self, images_shown: int) -> bool:
        """Whether it is time to match again."""
        if not self.config:
            return False
        since = images_shown - self._matched_at
        return self._matched_at < 0 or since < 0 or since >= self.config.every_kimg * 1000

    def match(self, images_shown: int, imagine: Imagine) -> None:
        """Match the real images of the steps until the next matching."""
        assert self.config
        self._matched_at, self._latents = images_shown, {}
        self._match[:] = -1
        shown = np.unique(self._draws.coming(images_shown, round(self.config.every_kimg * 1000)))
        for label in np.unique(self._labels[shown]):
            of_class = np.flatnonzero(self._labels == label)
            # As many real ones to compare with as make up for `nearest` of them being asked for.
            real = self._draws.picked(images_shown, int(label), of_class, 3 * self.config.candidates)
            if len(real) <= self.config.nearest:
                continue
            latents = self._of_class(int(label))
            labels = torch.full((len(latents),), int(label))
            parts = [
                averaged(imagine(latents[k : k + CHUNK], labels[k : k + CHUNK])) for k in range(0, len(latents), CHUNK)
            ]
            made = torch.cat(parts).flatten(1)
            rows = shown[self._labels[shown] == label]
            self._match[rows] = self._left_out(rows, real, made.cpu())
        self.left_out = float((self._match[shown] >= 0).mean())

    def drawn(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which of these samples are left out, (n,), and the latents of their matches, (left out, z_dim)."""
        out = self._match[rows] >= 0
        latents = [self._of_class(int(self._labels[row]))[self._match[row]] for row in rows[out]]
        return out, np.stack(latents) if latents else np.zeros((0, self._z_dim), np.float32)

    def loss(self, made: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Mean squared distance of generated images to the samples `rows`, float (n,)."""
        return distance(made, torch.from_numpy(self._dataset.batch(rows)[0]).to(made.device))

    def _of_class(self, label: int) -> NDArray[np.float32]:
        """The candidates' latents, float32 (n, z_dim)."""
        assert self.config
        if label not in self._latents:
            # So that, of an equal distribution, the same share is left out of classes of any size.
            count = max(1, min(self.config.candidates, int((self._labels == label).sum()) // 3))
            self._latents[label] = self._draws.candidates(self._matched_at, label, (count, self._z_dim))
        return self._latents[label]

    def _left_out(self, rows: NDArray[np.int64], real: NDArray[np.int64], made: Tensor) -> NDArray[np.int64]:
        """The nearest candidate of each sample, or -1 where enough real ones are nearer."""
        assert self.config
        references = self._averaged_rows(real)
        matches = []
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            here = self._averaged_rows(part)
            near = torch.cdist(here, references).topk(self.config.nearest + 1, largest=False).values
            # A reference is its own nearest.
            radius = torch.where(torch.from_numpy(np.isin(part, real)), near[:, -1], near[:, -2])
            distance, candidate = torch.cdist(here, made).min(dim=1)
            matches.append(torch.where(distance > radius, candidate, -1))
        return torch.cat(matches).numpy()

    def _averaged_rows(self, rows: NDArray[np.int64]) -> Tensor:
        parts = [
            averaged(torch.from_numpy(self._dataset.batch(rows[k : k + CHUNK])[0])) for k in range(0, len(rows), CHUNK)
        ]
        return torch.cat(parts).flatten(1)
