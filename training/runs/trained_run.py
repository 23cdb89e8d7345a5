"""Load what a run has trained so far: its averaged generator and a draft of its manifest."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import nn

from models.errors import CheckpointError
from models.manifest import DataInfo, ImageShape, Latents, Manifest, TrainingInfo
from models.network_config import GeneratorConfig
from models.networks import build_generator
from training.config import Config, load_config
from training.runs import checkpoint, run_dir

# The terms for using weights follow from the data; the licence of the code does not decide them.
DEFAULT_LICENCE = "as the training data's: {}"


@dataclass(frozen=True)
class TrainedRun:
    """The newest checkpoint of a run.

    Attributes:
        path: the run's folder.
        config: the run's configuration.
        network_config: the generator's; its shape is channels, height, width, the latter two 1 for toy data.
        generator: averaged weights, on the CPU.
        data_info: what the checkpoint states about the training data (training.runs.loop.describe_data).
        kimg: thousand real images shown so far.
    """

    path: Path
    config: Config
    network_config: GeneratorConfig
    generator: nn.Module
    data_info: dict[str, Any]
    kimg: float

    @property
    def is_image_run(self) -> bool:
        """Whether the generator makes images rather than toy data."""
        return self.network_config.shape[0] in (1, 3) and self.network_config.shape[1:] != (1, 1)

    def draft_manifest(self, name: str, version: str, licence: str | None = None) -> Manifest:
        """Draft the manifest, without batch sizes, scores and files; for an image run only.

        Raises: FileError when run.json is damaged.
        """
        provenance = run_dir.read_provenance(self.path)
        channels, height, width = self.network_config.shape
        return Manifest(
            name=name,
            version=version,
            description=self.config.description,
            licence=licence or DEFAULT_LICENCE.format(self.data_info["licence"]),
            image=ImageShape.model_validate({"channels": channels, "height": height, "width": width}),
            latents=Latents(z_dim=self.network_config.z_dim),
            class_names=tuple(self.data_info["label_names"]),
            truncation=True,
            # The export measures both.
            batch_size={},
            batch_size_measured={},
            network=self.network_config.model_dump(mode="json"),
            training=TrainingInfo(
                command=provenance.command,
                code_version=read_code_version(),
                torch=provenance.torch,
                device=provenance.device,
                kimg=self.kimg,
                config=self.config.model_dump(mode="json"),
                data=DataInfo(**{k: self.data_info[k] for k in DataInfo.model_fields if k in self.data_info}),
            ),
        )


def load_latest(run: Path) -> TrainedRun:
    """Load the newest checkpoint of a run; training need not be finished.

    Args: run, the run's folder.
    Raises: FileError, CheckpointError.
    """
    run_dir.require_run(run)
    path = checkpoint.latest_path(run)
    if path is None:
        raise CheckpointError(run, "has no checkpoint yet: no tick was finished; run ganmint train again")
    state = checkpoint.load(path)
    network_config = GeneratorConfig.model_validate(state["generator"])
    averaged = build_generator(network_config)
    averaged.load_state_dict(state["trainer"]["ema"])
    return TrainedRun(
        path=run,
        config=load_config(run / run_dir.CONFIG_FILE),
        network_config=network_config,
        generator=averaged.eval(),
        data_info=state["data"],
        kimg=state["trainer"]["images_shown"] / 1000,
    )


def read_code_version() -> str:
    """Return the package's version, followed by the commit if the sources are in a git checkout."""
    version = metadata.version("ganmint")
    folder = Path(__file__).parent
    if not (folder.parents[1] / ".git").exists():
        return version
    described = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return f"{version}+{described.stdout.strip()}" if described.returncode == 0 and described.stdout else version
