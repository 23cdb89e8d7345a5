"""Scores the snapshots of a run on validation images, by few metrics, to choose the one to publish."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models.errors import DataError, FileError, MetricError
from models.files import write_atomically
from models.networks import hash_weights
from training.config_files import load_config, read_gate
from training.evaluation import classifier
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import ImageSet, compute_feature_metrics
from training.evaluation.evaluate import generate, torch_threads
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.generator_metrics import with_baseline
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.reference import ReferenceStats, compute_reference
from training.evaluation.sharpness import sharpness
from training.gate import Bound, check_gate
from training.metric_results import Measurement, MetricName, try_measure
from training.progress import ProgressCallback, ignore_progress
from training.runs import trained_run
from training.runs.run_dir import CONFIG_FILE
from training.runs.snapshot_record import (
    SCORED,
    SnapshotScore,
    SnapshotScores,
    read_snapshot_scores,
    scores_path,
)
from training.runs.trained_run import TrainedRun

# Enough to tell snapshots from one another.
MAX_IMAGES = 5000


def score_snapshots(
    run: Path,
    split: DataSplit,
    protocol: Protocol = STANDARD,
    cache_dir: Path | None = None,
    progress: ProgressCallback = ignore_progress,
    device: str = "cpu",
) -> SnapshotScores:
    """Score every snapshot of a run and its newest checkpoint, and write scores.json; known scores are kept.

    Args:
        run: a run folder.
        split: the real images; its validation images are compared.
        protocol: sample sizes and settings.
        cache_dir: where measurements of the real images are kept; None to keep none.
        progress: called after each part.
        device: a torch device name; generators run on it.
    Raises: DataError if the run kept no validation images; MetricError if there are too few; FileError.
    """
    if split.part != "validation":
        raise DataError(run, "kept no validation images to choose a snapshot by; train with --set data.validation=0.1")
    known = _read_known(run, split, protocol)
    gate = read_gate(load_config(run / CONFIG_FILE).model_dump())
    scores = []
    with torch_threads(protocol.threads):
        reference = compute_reference(split, protocol, cache_dir, progress)
        if reference.space is None:
            raise MetricError(f"the snapshots of {run} cannot be compared: {reference.measurements.space_problem}")
        count = min(reference.num_compared, MAX_IMAGES)
        baselines = _measure_real(reference, count, protocol)
        for trained in trained_run.load_snapshots(run):
            weights = hash_weights(trained.generator)
            score = known.get(weights) or _score(trained, reference, count, protocol, progress, device)
            placed = score.model_copy(update={"kimg": trained.kimg, "weights": weights})
            scores.append(_check(placed, baselines, gate))
    result = SnapshotScores(
        protocol=protocol.name,
        protocol_digest=protocol.digest,
        data_digest=split.compared.digest,
        images=count,
        scores=tuple(scores),
        real=_find_real(baselines),
    )
    write_atomically(scores_path(run), result.model_dump_json(indent=2).encode() + b"\n")
    return result


def _score(
    trained: TrainedRun,
    reference: ReferenceStats,
    count: int,
    protocol: Protocol,
    progress: ProgressCallback,
    device: str,
) -> SnapshotScore:
    """Measure one snapshot by `count` images."""
    generated = generate(EvaluatedGenerator.from_run(trained, device), reference, count, protocol, progress)
    fake = reference.image_set(generated.images)
    results = _compare(reference.test, fake, protocol)
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
        sharpness=results["sharpness"].value,
    )


def _compare(real: ImageSet, fake: ImageSet, protocol: Protocol) -> dict[str, Measurement]:
    """Compare images with the first as many real ones."""
    assert real.features is not None
    assert fake.features is not None
    count = len(fake.images)
    results = compute_feature_metrics(real.features[:count], fake.features, protocol)
    sharp = try_measure(lambda: sharpness(real.images[:count], fake.images))
    return {"fd": results["fd"], "recall": results["recall"], "sharpness": sharp}


def _measure_real(reference: ReferenceStats, count: int, protocol: Protocol) -> Mapping[str, Measurement]:
    """Return the baselines of `count` images: the Fréchet distance and recall depend on the number."""
    baselines = reference.measurements.baselines
    if count == reference.num_compared:
        return baselines
    # GAN-test stays: it is a mean, which the number of images does not shift.
    return {**baselines, **_compare(reference.test, reference.image_set(reference.real.stand_ins[:count]), protocol)}


def _check(
    score: SnapshotScore, baselines: Mapping[str, Measurement], gate: Mapping[MetricName, Bound]
) -> SnapshotScore:
    """Compare a score with the thresholds of its metrics; what was not measured is left to the whole evaluation."""
    values = {name: getattr(score, name) for name in SCORED if name in gate}

    def passes(name: MetricName, value: float) -> bool:
        result = with_baseline(name, Measurement(value), baselines.get(name))
        return check_gate([result], {name: gate[name]}).passed

    fails = tuple(name for name, value in values.items() if value is not None and not passes(name, value))
    return score.model_copy(update={"fails": fails})


def _find_real(baselines: Mapping[str, Measurement]) -> dict[MetricName, float]:
    """Return what real images reach by the metrics of snapshots, where that is known."""
    values = {name: baseline.value for name in SCORED if (baseline := baselines.get(name))}
    return {name: value for name, value in values.items() if value is not None}


def _read_known(run: Path, split: DataSplit, protocol: Protocol) -> dict[str, SnapshotScore]:
    """Return the scores by the same protocol on the same images, by the weights; only whole ones."""
    try:
        saved = read_snapshot_scores(run)
    except FileError:
        return {}
    if saved is None or (saved.protocol_digest, saved.data_digest) != (protocol.digest, split.compared.digest):
        return {}
    return {score.weights: score for score in saved.scores if score.model_fields_set >= {*SCORED, "weights"}}
