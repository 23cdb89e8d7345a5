"""Scores the snapshots of a run on validation images, by few metrics, to choose the one to publish."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from models.base import Frozen
from models.errors import DataError, MetricError
from models.files import write_atomically
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import compute_feature_metrics
from training.evaluation.evaluate import generate, torch_threads
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.reference import compute_reference
from training.progress import ProgressCallback, ignore_progress
from training.runs import snapshots, trained_run

SCORES_FILE = "scores.json"
# Enough to tell snapshots from one another.
MAX_IMAGES = 5000


class SnapshotScore(Frozen):
    """The Fréchet distance and the recall of one snapshot."""

    kimg: float
    fd: float
    recall: float | None


class SnapshotScores(Frozen):
    """scores.json.

    Attributes:
        protocol: its name.
        protocol_digest: of its settings.
        data_digest: of the validation images.
        images: generated images of each snapshot, and real ones.
        scores: of every snapshot and the newest checkpoint, oldest first.
    """

    protocol: str
    protocol_digest: str
    data_digest: str
    images: int
    scores: tuple[SnapshotScore, ...]

    @property
    def best(self) -> SnapshotScore:
        """The one with the lowest Fréchet distance."""
        return min(self.scores, key=lambda score: score.fd)

    def describe_choice(self) -> str:
        """Say which one is the best and why, for the model card."""
        best, last = self.best, self.scores[-1]
        recall = "" if best.recall is None else f", recall {best.recall:.1%}"
        against = "" if best == last else f"; the last one, at {last.kimg:g} kimg, has {last.fd:.3f}"
        return (
            f"at {best.kimg:g} kimg, which has the lowest Fréchet distance of {len(self.scores)} on {self.images} "
            f"validation images by {self.protocol}: {best.fd:.3f}{recall}{against}"
        )


def scores_path(run: Path) -> Path:
    """Return where the scores of a run's snapshots are."""
    return run / snapshots.SNAPSHOTS_FOLDER / SCORES_FILE


def score_snapshots(
    run: Path,
    split: DataSplit,
    protocol: Protocol = STANDARD,
    cache_dir: Path | None = None,
    progress: ProgressCallback = ignore_progress,
) -> SnapshotScores:
    """Score every snapshot of a run and its newest checkpoint, and write scores.json; known scores are kept.

    Args:
        run: a run folder.
        split: the real images; its validation images are compared.
        protocol: sample sizes and settings.
        cache_dir: where measurements of the real images are kept; None to keep none.
        progress: called after each part.
    Raises: DataError if the run kept no validation images; MetricError if there are too few; FileError.
    """
    if split.part != "validation":
        raise DataError(run, "kept no validation images to choose a snapshot by; train with --set data.validation=0.1")
    known = _read(run, split, protocol)
    scores = []
    with torch_threads(protocol.threads):
        reference = compute_reference(split, protocol, cache_dir, progress)
        real = reference.test.features
        if reference.space is None or real is None:
            raise MetricError(f"the snapshots of {run} cannot be compared: {reference.measurements.space_problem}")
        count = min(reference.num_compared, MAX_IMAGES)
        for trained in trained_run.load_snapshots(run):
            if trained.kimg not in known:
                generator = EvaluatedGenerator.from_run(trained)
                images = generate(generator, reference, count, protocol, progress).images
                results = compute_feature_metrics(real[:count], reference.space.features(images), protocol)
                fd = results["fd"]
                if fd.value is None:
                    raise MetricError(f"the snapshots of {run} cannot be compared: {fd.problem}")
                known[trained.kimg] = SnapshotScore(kimg=trained.kimg, fd=fd.value, recall=results["recall"].value)
            scores.append(known[trained.kimg])
    result = SnapshotScores(
        protocol=protocol.name,
        protocol_digest=protocol.digest,
        data_digest=split.compared.digest,
        images=count,
        scores=tuple(scores),
    )
    write_atomically(scores_path(run), result.model_dump_json(indent=2).encode() + b"\n")
    return result


def _read(run: Path, split: DataSplit, protocol: Protocol) -> dict[float, SnapshotScore]:
    """Return the scores that were measured by the same protocol on the same images, by kimg."""
    try:
        saved = SnapshotScores.model_validate_json(scores_path(run).read_bytes())
    except (OSError, ValidationError):
        return {}
    if (saved.protocol_digest, saved.data_digest) != (protocol.digest, split.compared.digest):
        return {}
    return {score.kimg: score for score in saved.scores}
