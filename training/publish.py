"""Publish a run: evaluate its generator, export it and put it into the model store."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models import artifact, signing, store
from models.address import check_name, check_version
from models.errors import GateError, InputError, MetricError, VersionExistsError
from models.evidence import GateRecord, Score, format_kimg
from models.manifest import Manifest
from models.sampler import Sampler
from models.store import StoredModel
from training.evaluation import data_split, html_report
from training.evaluation.data_split import DataSplit
from training.evaluation.evaluate import EvaluationResult, evaluate
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.evaluation_record import record_if_test
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.report import DataSummary
from training.evaluation.snapshot_scores import score_snapshots
from training.gate import GateResult
from training.progress import ProgressCallback, ignore_progress
from training.runs import ancestry, checkpoint, run_dir, snapshots, trained_run
from training.runs.provenance import read_provenance
from training.runs.trained_run import TrainedRun

NOT_EVALUATED = "not evaluated: no data was given"
OF_TRAINING = "measured on images that the generator was trained on"
ANYWAY = 'To publish it anyway, add --accept "REASON" to the same command; the model card will state the reason.'


@dataclass(frozen=True)
class PublishOptions:
    """What to publish a run as.

    Attributes:
        name: the model's name.
        version: the model's version; None for the next major one.
        batch_size: the CPU's fixed batch; None to measure the fastest.
        licence: the licence of the weights; None for the training data's.
        to: write the artifact to this folder, which must not exist, instead of the store.
        data: the training data, for the evaluation; the report goes into the run's folder.
        accept: why to publish a model that does not pass the gate; the model card states the reason.
        checkpoint: best, latest, or the kimg of a snapshot. The best has the lowest Fréchet distance on validation
            images; without such images, or without snapshots, it is the latest.
        with_training_state: add what `ganmint train --init` can start from.
    """

    name: str
    version: str | None = None
    batch_size: int | None = None
    licence: str | None = None
    to: Path | None = None
    data: Path | None = None
    accept: str = ""
    checkpoint: str = "best"
    with_training_state: bool = False


@dataclass(frozen=True)
class EvaluationSettings:
    """How to evaluate the run.

    Attributes:
        protocol: sample sizes and settings.
        cache_dir: where measurements of the real images are kept; None to keep none.
        progress: called after each part.
    """

    protocol: Protocol = STANDARD
    cache_dir: Path | None = None
    progress: ProgressCallback = ignore_progress


DEFAULT_EVALUATION = EvaluationSettings()


class _Evidence(NamedTuple):
    """The scores of the exported generator, what they were measured with, and the decision of the gate."""

    scores: tuple[Score, ...]
    gate: GateRecord
    scored_on: str = ""


def publish(run: Path, options: PublishOptions, evaluation: EvaluationSettings = DEFAULT_EVALUATION) -> StoredModel:
    """Evaluate a run's averaged generator, export it and put it into the model store.

    Args:
        run: a run folder with at least one checkpoint; training need not be finished.
        options: what to publish it as.
        evaluation: how to evaluate it.
    Returns: the model in the store, or the artifact folder.
    Raises: GateError, InputError, DataError, CheckpointError, ArtifactError, VersionExistsError, FileError.
    """
    name = check_name(options.name, "--name")
    version = check_version(options.version, "--version") if options.version else store.next_version(name)
    _check_free(name, version, options.to)
    trained = trained_run.load_latest(run)
    if not trained.is_image_run:
        raise InputError(f"{run} holds a toy run that makes no images; only image runs can be published", "RUN")
    if trained.config.data.is_toy and options.data is not None:
        raise InputError(f"{run} made its own data; leave --data out, and give --accept", "--data")
    options = dataclasses.replace(options, accept=options.accept.strip())
    if options.data is None and not options.accept:
        raise GateError(
            f"{run} was not evaluated, so its quality is unknown. Give its training data (--data PATH), or publish it "
            'without an evaluation with --accept "REASON"; the model card will state the reason.'
        )
    trained, choice = _choose_checkpoint(trained, options, evaluation)
    manifest = trained.draft_manifest(name, version, options.licence)
    training = manifest.training.model_copy(update={"checkpoint": choice})
    manifest = manifest.model_copy(update={"training": training})
    if options.to is not None:
        _write_artifact(trained, manifest, options.to, options, evaluation)
        return StoredModel(name, version, options.to)
    with tempfile.TemporaryDirectory(prefix="ganmint-publish-") as temporary_dir:
        folder = Path(temporary_dir) / name
        _write_artifact(trained, manifest, folder, options, evaluation)
        # Just made here; whoever requires signatures signs it next.
        return store.install(folder, signing.ANY)


def _check_free(name: str, version: str, to: Path | None) -> None:
    if to is not None:
        artifact.check_free(to)
    elif any(stored.version == version for stored in store.list_versions(name)):
        raise VersionExistsError(
            f"the store already has {name} {version}; a published version never changes: "
            f"leave --version out to publish as {store.next_version(name)}"
        )


def _write_artifact(
    trained: TrainedRun, manifest: Manifest, folder: Path, options: PublishOptions, evaluation: EvaluationSettings
) -> None:
    with artifact.draft(trained.generator, manifest, folder, options.batch_size) as draft:
        evidence = _collect_evidence(trained, draft.sampler, options, evaluation)
        looks = len(read_provenance(trained.path).test_evaluations)
        training = manifest.training.model_copy(update={"scored_on": evidence.scored_on, "test_evaluations": looks})
        if options.with_training_state:
            draft.add(artifact.TRAINING_STATE, _pack_training_state(trained.path))
        draft.commit(
            draft.manifest.model_copy(update={"scores": evidence.scores, "gate": evidence.gate, "training": training})
        )


def _pack_training_state(run: Path) -> bytes:
    """Return the networks of a run's newest checkpoint as a safetensors file."""
    path = checkpoint.latest_path(run)
    assert path is not None
    return ancestry.pack_file(checkpoint.load(path)["trainer"])


def _choose_checkpoint(
    latest: TrainedRun, options: PublishOptions, evaluation: EvaluationSettings
) -> tuple[TrainedRun, str]:
    """Return the state of the run to publish, and how it was chosen, for the model card.

    Raises: InputError when `options.checkpoint` names none; DataError.
    """
    run = latest.path
    newest = f"the newest, at {format_kimg(latest.kimg)} kimg"
    if options.checkpoint == "latest":
        return latest, f"{newest}, as asked for"
    if options.checkpoint != "best":
        try:
            kimg = float(options.checkpoint)
        except ValueError:
            raise InputError(f"must be best, latest or kimg, got {options.checkpoint!r}", "--checkpoint") from None
        state = trained_run.load_at(run, kimg)
        return state, f"at {format_kimg(state.kimg)} kimg, as asked for"
    if not snapshots.list_paths(run):
        return latest, f"{newest}; the run has no snapshots to choose from"
    if options.data is None:
        return latest, f"{newest}; without data none was chosen by its metrics"
    split = data_split.load_of_run(options.data, latest, "validation", evaluation.protocol.holdout)
    if split.part != "validation":
        return latest, f"{newest}; the run kept no validation images to choose by"
    try:
        scores = score_snapshots(run, split, evaluation.protocol, evaluation.cache_dir, evaluation.progress)
    except MetricError as error:
        return latest, f"{newest}; none was chosen by its metrics: {error}"
    return trained_run.load_at(run, scores.best.kimg), scores.describe_choice()


def _collect_evidence(
    trained: TrainedRun, sampler: Sampler, options: PublishOptions, evaluation: EvaluationSettings
) -> _Evidence:
    """Evaluate what was exported.

    Raises: GateError when it does not pass the gate and `options.accept` is empty.
    """
    if options.data is None:
        return _Evidence((), GateRecord(passed=False, checks=(NOT_EVALUATED,), accepted=options.accept))
    split = data_split.load_of_run(options.data, trained, "test", evaluation.protocol.holdout)
    if split.part == "training" and not options.accept:
        raise GateError(
            f"{trained.path} kept no images from its training to be measured by, so its scores would look better than "
            f"they are. Train with --set data.validation=0.1 or with test images. {ANYWAY}"
        )
    result = _evaluate(trained, sampler, split, evaluation)
    record_if_test(trained.path, result.report, split)
    scored_on = _describe_images(split, result.report.data)
    page = html_report.write_report(result, run_dir.report_path(trained.path).parent, trained.path)
    scores = result.report.scores()
    gate = result.report.gate
    failures = ((OF_TRAINING,) if split.part == "training" else ()) + gate.failures
    if not failures:
        return _Evidence(scores, GateRecord(passed=True, checks=tuple(check.words for check in gate.checks)), scored_on)
    if not options.accept:
        raise GateError(
            "\n".join([f"{trained.path} does not pass its gate:", *(f"  {failure}" for failure in failures)])
            + f"\nThe report: {page}\n{advise(gate)}\n{ANYWAY}"
        )
    return _Evidence(scores, GateRecord(passed=False, checks=failures, accepted=options.accept), scored_on)


def _describe_images(split: DataSplit, used: DataSummary | None) -> str:
    """Say which real images the scores are measured with; a distance may take fewer than the other metrics."""
    total = len(split.compared)
    fewer = f", distances with {used.compared_images} of them" if used and used.compared_images < total else ""
    note = f". {split.note.removesuffix('.')}" if split.note else ""
    return f"{total} {split.part} images ({split.origin}){fewer}{note}"


def advise(gate: GateResult) -> str:
    """Say what helps a generator that does not pass."""
    if not gate.checks:
        return "Train it with thresholds: --set 'gate={fd: {max_ratio_to_real: 4}}', for example."
    if any(check.is_copying for check in gate.checks):
        return "It repeats its training images: train on more of them, or take an earlier snapshot, --checkpoint KIMG."
    if all(check.passed or not check.is_measured for check in gate.checks):
        return "Mend what kept it from being measured, and train again."
    return "Train it longer."


def _evaluate(
    trained: TrainedRun, sampler: Sampler, split: DataSplit, evaluation: EvaluationSettings
) -> EvaluationResult:
    # Evaluate what was exported: its last bits differ from those of the run's own generator.
    generator = dataclasses.replace(EvaluatedGenerator.from_run(trained), sampler=sampler)
    return evaluate(
        generator, split, evaluation.protocol, evaluation.cache_dir, inception=None, progress=evaluation.progress
    )
