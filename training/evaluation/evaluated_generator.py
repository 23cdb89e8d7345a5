"""Loads the generator to evaluate: the latest one of a run, or a published model.

Not here: metrics and real images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import artifact, store
from models.errors import InputError
from models.manifest import MANIFEST_FILE, Manifest
from models.runtime.torchscript import TorchRuntime
from models.sampler import Sampler
from training.config_files import read_data_config, read_gate
from training.data_config import DataConfig
from training.gate import Bound
from training.metric_results import MetricName
from training.progress import ProgressCallback, ignore_progress
from training.runs import run_dir, trained_run
from training.runs.trained_run import TrainedRun

# A run has no measured batch size yet; the export measures it.
RUN_BATCH_SIZE = {"cpu": 16, "cuda": 64}
CHUNK = 1000


@dataclass(frozen=True)
class EvaluatedGenerator:
    """A generator of images with all that its evaluation needs.

    Attributes:
        title: what the report calls it.
        sampler: mints its images.
        gate: the thresholds that it must meet; empty if none are known.
        data: how its training read the data.
        run: the run's folder; None for a published model.
        kimg: how long the run has been trained, in thousand images; None for a published model.
    """

    title: str
    sampler: Sampler
    gate: Mapping[MetricName, Bound] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    run: Path | None = None
    kimg: float | None = None

    @classmethod
    def from_run(cls, run: TrainedRun, device: str = "cpu") -> EvaluatedGenerator:
        """Take the averaged generator of a run that makes images."""
        draft = run.draft_manifest(run_dir.suggest_model_name(run.path), "0.0.0")
        draft = draft.model_copy(update={"batch_size": RUN_BATCH_SIZE})
        return cls(
            title=run.title,
            sampler=Sampler(TorchRuntime(run.generator.to(device), draft, device), draft),
            gate=read_gate(run.config.model_dump()),
            data=run.config.data,
            run=run.path,
            kimg=run.kimg,
        )

    @classmethod
    def from_model(cls, model: str, device: str = "cpu") -> EvaluatedGenerator:
        """Load a model by its artifact folder, its name, or its name and version as in `digits/4.2.0`.

        Raises:
            ArtifactError: the artifact is damaged.
            InputError: the text names no model.
            ModelNotFoundError: the store has no such model.
        """
        sampler = artifact.load_files(store.read_named(model, "RUN-or-MODEL"), device)
        config = sampler.manifest.training.config
        return cls(
            title=f"{sampler.manifest.name} {sampler.manifest.version}",
            sampler=sampler,
            gate=read_gate(config),
            data=read_data_config(config),
        )

    @property
    def manifest(self) -> Manifest:
        return self.sampler.manifest

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.manifest.class_names

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 for an unconditional generator."""
        return len(self.class_names)

    @property
    def has_classes(self) -> bool:
        """Whether classes are what it was asked for, rather than values of a continuous label."""
        return bool(self.class_names) and not self.manifest.continuous_label

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        image = self.manifest.image
        return image.channels, image.height, image.width

    def mint(
        self,
        seed: int,
        labels: NDArray[np.int64] | None,
        count: int,
        progress: ProgressCallback = ignore_progress,
    ) -> NDArray[np.uint8]:
        """Mint images 0 to count - 1 of a seed.

        Args:
            seed: of the latents.
            labels: int64 (count,), the class of each image; None to leave it to the seed.
            count: how many images.
            progress: called after each chunk.

        Returns:
            uint8 (count, H, W, C).
        """
        label_list = None if labels is None else labels.tolist()
        chunks = []
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            chunk_labels = None if label_list is None else label_list[start : start + size]
            chunks.append(self.sampler.mint(self.manifest.addresses(seed, start, size, chunk_labels)))
            progress("images minted", start + size, count)
        return np.concatenate(chunks)


def load_run_if_any(text: str) -> TrainedRun | None:
    """Load the run in the folder `text`; return None if it is not a folder, so that it may name a model.

    Raises:
        FileError: a file of the run is damaged.
        CheckpointError: the run has no usable checkpoint.
        InputError: the folder holds neither a run nor an artifact.
    """
    path = Path(text)
    if run_dir.is_run(path):
        return trained_run.load_latest(path)
    if not path.exists() and (len(path.parts) > 2 or (path.parent.is_dir() and path.parent != Path())):
        raise InputError(f"{text}: there is no such run folder and no model of that name", "RUN-or-MODEL")
    if path.is_dir() and not (path / MANIFEST_FILE).is_file():
        raise InputError(f"{text} holds neither a run (config.yaml) nor an artifact ({MANIFEST_FILE})", "RUN-or-MODEL")
    return None
