"""What a run has made so far: its averaged generator and the draft of its card.

Knows: how a checkpoint and a configuration become a network and a card. Does not know: training
steps, evaluation, TorchScript, the store.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import nn

from models.errors import CheckpointError, FileError
from models.manifest import DataInfo, ImageShape, Latents, Manifest, TrainingInfo
from models.networks import GeneratorConfig, generator
from training.config import Config, load_config
from training.runs import checkpoint, run_dir

# What weights may be used for follows from the data; the code's own licence does not settle it.
DEFAULT_LICENCE = "as the training data's: {}"


@dataclass(frozen=True)
class TrainedRun:
    """The load_latest checkpoint of a run.

    Attributes:
        run: its folder.
        config: the run's configuration.
        generator: averaged weights, on the CPU.
        shape: channels, height, width; height and width are 1 for toy data.
        data: what the checkpoint says of the training data (training.runs.loop.describe_data).
    """

    run: Path
    config: Config
    network: GeneratorConfig
    generator: nn.Module
    data: dict[str, Any]
    kimg: float

    @property
    def makes_images(self) -> bool:
        return self.network.shape[0] in (1, 3) and self.network.shape[1:] != (1, 1)

    def card(self, name: str, version: str, licence: str | None = None) -> Manifest:
        """The draft of the card: without batch sizes, scores and files. Only where `makes_images`.

        Raises: FileError when run.json is damaged.
        """
        origin, data = run_dir.origin(self.run), self.data
        channels, height, width = self.network.shape
        return Manifest(
            name=name,
            version=version,
            description=self.config.description,
            licence=licence or DEFAULT_LICENCE.format(data["licence"]),
            image=ImageShape.model_validate({"channels": channels, "height": height, "width": width}),
            latents=Latents(z_dim=self.network.z_dim),
            class_names=tuple(data["label_names"]),
            truncation=True,
            # Both are measured by the export.
            batch_size={},
            batch_size_measured={},
            network=self.network.model_dump(mode="json"),
            training=TrainingInfo(
                command=origin["command"],
                code_version=code_version(),
                torch=origin["torch"],
                device=origin["device"],
                kimg=self.kimg,
                config=self.config.model_dump(mode="json"),
                data=DataInfo(**{k: data[k] for k in DataInfo.model_fields if k in data}),
            ),
        )


def load_latest(run: Path) -> TrainedRun:
    """The candidate of a run folder; training need not be over.

    Raises: FileError, CheckpointError.
    """
    if not (run / run_dir.CONFIG).is_file():
        raise FileError(run, "holds no run (no config.yaml); give the --out folder of a ganmint train")
    found = checkpoint.present(run)
    if not found:
        raise CheckpointError(run, "has no checkpoint yet: no tick was finished; run ganmint train again")
    state = checkpoint.load(found[-1])
    network = GeneratorConfig.model_validate(state["generator"])
    averaged = generator(network)
    averaged.load_state_dict(state["trainer"]["ema"])
    kimg = state["trainer"]["images_shown"] / 1000
    return TrainedRun(run, load_config(run / run_dir.CONFIG), network, averaged.eval(), state["data"], kimg)


def code_version() -> str:
    """The package's version, with the commit where the sources lie in a git checkout."""
    package = metadata.version("ganmint")
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return package
    described = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return f"{package}+{described.stdout.strip()}" if described.returncode == 0 and described.stdout else package
