"""What is judged: a run's newest generator, or a published model.

Knows: how what the user typed becomes one, and the images that the protocol asks of it. Does not
know: metrics, real images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import artifact, manifest, store
from models.errors import InputError
from models.manifest import Manifest
from models.runtime.torchscript import TorchRuntime
from models.sampler import Sampler
from training.config import DataConfig, data_settings, thresholds
from training.gate import Bound
from training.metric_results import MetricName
from training.runs import run_dir, trained_run
from training.runs.trained_run import TrainedRun

# A run has no fixed batch yet; its export measures one.
RUN_BATCH = 16
CHUNK = 1000

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class EvaluatedGenerator:
    """A generator of images.

    Attributes:
        title: what the report calls it.
        sampler: mints its images.
        gate: the thresholds that it is held against; none where nothing states them.
        data: how its training read the data.
        run: the run's folder, if it is a run.
        kimg: how far its training is, if it is a run.
    """

    title: str
    sampler: Sampler
    gate: Mapping[MetricName, Bound] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    run: Path | None = None
    kimg: float | None = None

    @property
    def card(self) -> Manifest:
        return self.sampler.manifest

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        image = self.card.image
        return image.channels, image.height, image.width

    def mint(self, seed: int, labels: NDArray[np.int64] | None, count: int, progress: Progress) -> NDArray[np.uint8]:
        """Images 0 .. count - 1 of a seed with these labels: uint8 (count, H, W, C)."""
        chosen = None if labels is None else labels.tolist()
        parts = []
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            part = chosen[start : start + size] if chosen is not None else None
            parts.append(self.sampler.mint(self.card.addresses(seed, start, size, part)))
            progress(start + size, count)
        return np.concatenate(parts)


def of_run(found: TrainedRun, device: str = "cpu") -> EvaluatedGenerator:
    """The averaged generator of a run that makes images."""
    draft = found.draft_manifest(run_dir.suggest_model_name(found.path), "0.0.0")
    card = draft.model_copy(update={"batch_size": {"cpu": RUN_BATCH, "cuda": 64}})
    sampler = Sampler(TorchRuntime(found.generator.to(device), card, device), card)
    saved = found.config.model_dump()
    title = f"{found.path} at {found.kimg:g} kimg"
    return EvaluatedGenerator(title, sampler, thresholds(saved), found.config.data, found.path, found.kimg)


def of_model(model: str, device: str = "cpu") -> EvaluatedGenerator:
    """A model by its artifact folder, name or name/version.

    Raises: ArtifactError, InputError, ModelNotFoundError.
    """
    sampler = artifact.load(store.find_artifact(model, "RUN-or-MODEL"), device)
    card = sampler.manifest
    saved = card.training.config
    return EvaluatedGenerator(f"{card.name} {card.version}", sampler, thresholds(saved), data_settings(saved))


def run_of(text: str) -> TrainedRun | None:
    """The candidate of a run folder; None where the text names none and so must be a model.

    Raises: FileError, CheckpointError; InputError for a folder that holds neither.
    """
    path = Path(text)
    if run_dir.is_run(path):
        return trained_run.load_latest(path)
    if not path.exists() and (len(path.parts) > 2 or (path.parent.is_dir() and path.parent != Path())):
        raise InputError(f"{text}: there is no such run folder, and no model is called so", "RUN-or-MODEL")
    if path.is_dir() and not (path / manifest.FILE_NAME).is_file():
        raise InputError(
            f"{text} holds neither a run (config.yaml) nor an artifact ({manifest.FILE_NAME})", "RUN-or-MODEL"
        )
    return None
