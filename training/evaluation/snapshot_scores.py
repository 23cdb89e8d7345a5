"""Scores the snapshots of a run on validation images, by few metrics, to choose the one to publish."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from models.base import Frozen
from models.errors import DataError, MetricError
from models.files import write_atomically
from training.config_files import read_gate
from training.evaluation import classifier
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import compute_feature_metrics
from training.evaluation.evaluate import generate, torch_threads
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.generator_metrics import with_baseline
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.reference import ReferenceStats, compute_reference
from training.evaluation.sharpness import sharpness
from training.gate import Bound, check_gate
from training.metric_results import Measurement, MetricName, try_measure
from training.progress import ProgressCallback, ignore_progress
from training.runs import snapshots, trained_run
from training.runs.trained_run import TrainedRun

SCORES_FILE = "scores.json"
# Enough to tell snapshots from one another.
MAX_IMAGES = 5000


# What can be measured without training a classifier on each snapshot's images.
SCORED: tuple[MetricName, ...] = ("fd", "recall", "gan_test", "sharpness")


class SnapshotScore(Frozen):
    """A few metrics of one snapshot; None where there is nothing to measure.

    Attributes:
        kimg: thousand images shown until then.
        fd, recall, gan_test, sharpness: as in a report.
        fails: those of these metrics that miss a threshold of the run's gate.
    """

    kimg: float
    fd: float
    recall: float | None
    gan_test: float | None
    sharpness: float | None
    fails: tuple[MetricName, ...] = ()


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
        """The one with the lowest Fréchet distance of those that meet the thresholds, or of all if none does."""
        return min(self._passing or self.scores, key=lambda score: score.fd)

    @property
    def _passing(self) -> tuple[SnapshotScore, ...]:
        return tuple(score for score in self.scores if not score.fails)

    def describe_choice(self) -> str:
        """Say which one is the best and why, for the model card."""
        best, last, passing, count = self.best, self.scores[-1], len(self._passing), len(self.scores)
        recall = "" if best.recall is None else f", recall {best.recall:.1%}"
        against = "" if best == last else f"; the last one, at {last.kimg:g} kimg, has {last.fd:.3f}"
        among = f"{count}" if passing == count else f"{passing} of {count} that meet the thresholds there"
        if not passing:
            among = f"{count}, none of which meets the thresholds there,"
        return (
            f"at {best.kimg:g} kimg, which has the lowest Fréchet distance of {among} on {self.images} "
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
        if reference.space is None:
            raise MetricError(f"the snapshots of {run} cannot be compared: {reference.measurements.space_problem}")
        count = min(reference.num_compared, MAX_IMAGES)
        for trained in trained_run.load_snapshots(run):
            if trained.kimg not in known:
                known[trained.kimg] = _score(trained, reference, count, protocol, progress)
            scores.append(_check(known[trained.kimg], reference, read_gate(trained.config.model_dump())))
    result = SnapshotScores(
        protocol=protocol.name,
        protocol_digest=protocol.digest,
        data_digest=split.compared.digest,
        images=count,
        scores=tuple(scores),
    )
    write_atomically(scores_path(run), result.model_dump_json(indent=2).encode() + b"\n")
    return result


def _score(
    trained: TrainedRun, reference: ReferenceStats, count: int, protocol: Protocol, progress: ProgressCallback
) -> SnapshotScore:
    """Measure one snapshot by `count` images."""
    generated = generate(EvaluatedGenerator.from_run(trained), reference, count, protocol, progress)
    fake = reference.image_set(generated.images)
    real = reference.test
    assert real.features is not None
    assert fake.features is not None
    results = compute_feature_metrics(real.features[:count], fake.features, protocol)
    fd = results["fd"]
    if fd.value is None:
        raise MetricError(f"the snapshots of {trained.path} cannot be compared: {fd.problem}")
    gan_test = None
    if reference.judges and generated.labels is not None:
        gan_test = float(classifier.find_correct(reference.judges, fake.images, generated.labels).mean())
    return SnapshotScore(
        kimg=trained.kimg,
        fd=fd.value,
        recall=results["recall"].value,
        gan_test=gan_test,
        sharpness=try_measure(lambda: sharpness(real.images[:count], fake.images)).value,
    )


def _check(score: SnapshotScore, reference: ReferenceStats, gate: Mapping[MetricName, Bound]) -> SnapshotScore:
    """Compare a score with the thresholds of its metrics; what was not measured is left to the whole evaluation."""
    values = {name: getattr(score, name) for name in SCORED if name in gate}

    def passes(name: MetricName, value: float) -> bool:
        result = with_baseline(name, Measurement(value), reference.measurements.baselines.get(name))
        return check_gate([result], {name: gate[name]}).passed

    fails = tuple(name for name, value in values.items() if value is not None and not passes(name, value))
    return score.model_copy(update={"fails": fails})


def _read(run: Path, split: DataSplit, protocol: Protocol) -> dict[float, SnapshotScore]:
    """Return the scores that were measured by the same protocol on the same images, by kimg."""
    try:
        saved = SnapshotScores.model_validate_json(scores_path(run).read_bytes())
    except (OSError, ValidationError):
        return {}
    if (saved.protocol_digest, saved.data_digest) != (protocol.digest, split.compared.digest):
        return {}
    return {score.kimg: score for score in saved.scores}
