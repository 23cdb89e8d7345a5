"""Artifacts of untrained generators: as fast as trained ones of their size, without the training."""

from __future__ import annotations

from pathlib import Path

import torch

from models import artifact
from models.manifest import DataCard, ImageShape, Latents, Manifest, TrainingCard
from models.networks import GeneratorConfig, ResNetConfig, generator


def faces_sized(folder: Path) -> Path:
    """Of the size that 64x64 RGB faces take on a CPU."""
    network = ResNetConfig(base=4, widths=(96, 96, 64, 32, 16))
    return untrained(folder, GeneratorConfig(z_dim=64, labels=6, shape=(3, 64, 64), network=network))


def smallest(folder: Path) -> Path:
    """8x8 grey, a few hundred weights: what is left is the cost of everything around the forward."""
    network = ResNetConfig(base=4, widths=(4, 4), label_dim=2)
    return untrained(folder, GeneratorConfig(z_dim=4, labels=2, shape=(1, 8, 8), network=network), batch_size=64)


def untrained(folder: Path, config: GeneratorConfig, batch_size: int | None = None) -> Path:
    """An artifact in the folder, called by the folder's name."""
    channels, height, width = config.shape
    data = DataCard(name="none", digest="0" * 64, images=1, licence="none", attribution="")
    training = TrainingCard(
        command="none", code_version="none", torch=torch.__version__, device="cpu", kimg=0, config={}, data=data
    )
    card = Manifest(
        name=folder.name,
        version="1.0.0",
        description="untrained",
        licence="none",
        image=ImageShape.model_validate({"channels": channels, "height": height, "width": width}),
        latents=Latents(z_dim=config.z_dim),
        labels=tuple("abcdefghij"[: config.labels]),
        truncation=True,
        batch_size={},
        batch_size_measured={},
        network=config.model_dump(mode="json"),
        training=training,
    )
    torch.manual_seed(0)
    artifact.export(generator(config), card, folder, batch_size)
    return folder
