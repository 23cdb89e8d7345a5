"""Untrained generators in the sizes that measurements need: time and bytes do not depend on training."""

from __future__ import annotations

from pathlib import Path

import torch

from models import artifact
from models.evidence import DataInfo, TrainingInfo
from models.manifest import ImageShape, Latents, Manifest
from models.network_config import GeneratorConfig, ResNetConfig
from models.networks import build_generator

# What 64x64 RGB faces take on a CPU.
FACES_SIZED = GeneratorConfig(
    z_dim=64, num_classes=6, shape=(3, 64, 64), network=ResNetConfig(base=4, widths=(96, 96, 64, 32, 16))
)
# Small enough that everything around the forward is what takes time.
SMALL = GeneratorConfig(z_dim=16, num_classes=3, shape=(3, 16, 16), network=ResNetConfig(base=4, widths=(16, 8, 8)))
# A few hundred weights at 8x8: what is left is the cost of everything around the forward.
SMALLEST = GeneratorConfig(
    z_dim=4, num_classes=2, shape=(1, 8, 8), network=ResNetConfig(base=4, widths=(4, 4), label_dim=2)
)


def export(name: str, config: GeneratorConfig, folder: Path, batch_size: int | None = None) -> Path:
    """Write the artifact `folder / name`, version 1.0.0, of an untrained generator; psi allowed."""
    channels, height, width = config.shape
    data = DataInfo(name="none", digest="0" * 64, images=1, licence="none", attribution="")
    training = TrainingInfo(
        command="none", code_version="none", torch=torch.__version__, device="cpu", kimg=0, config={}, data=data
    )
    manifest = Manifest(
        name=name,
        version="1.0.0",
        description="untrained",
        licence="none",
        image=ImageShape.model_validate({"channels": channels, "height": height, "width": width}),
        latents=Latents(z_dim=config.z_dim),
        class_names=tuple("abcdef"[: config.num_classes]),
        truncation=True,
        batch_size={},
        batch_size_measured={},
        network=config.model_dump(mode="json"),
        training=training,
    )
    torch.manual_seed(0)
    artifact.export(build_generator(config), manifest, folder / name, batch_size)
    return folder / name
