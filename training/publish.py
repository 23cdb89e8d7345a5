"""From a finished run to a version in the model store.

Knows: that a model is judged before it is published, and an artifact proved before it is in the
store. Does not know: training steps, metrics, TorchScript, the store's layout.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from models import artifact, store
from models.address import check_name, check_version
from models.errors import DataError, GateError, InputError, VersionExistsError
from models.manifest import GateRecord, Manifest, Score
from models.sampler import Sampler
from models.store import StoredModel
from training.evaluation import data_split, html_report
from training.evaluation.evaluate import evaluate
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.protocol import STANDARD, Protocol
from training.evaluation.report import Report
from training.progress import ProgressCallback, ignore_progress
from training.runs import trained_run
from training.runs.run_dir import EVALUATION_FOLDER
from training.runs.trained_run import TrainedRun

NOT_EVALUATED = "not evaluated: no data was given"


def publish(
    run: Path,
    name: str,
    version: str | None = None,
    batch_size: int | None = None,
    licence: str | None = None,
    to: Path | None = None,
    data: Path | None = None,
    accept: str = "",
    protocol: Protocol = STANDARD,
    cache: Path | None = None,
    progress: ProgressCallback = ignore_progress,
) -> StoredModel:
    """Judge the run's averaged generator, export it and put it into the model store.

    Args:
        run: a run folder with at least one checkpoint; training need not be over.
        name, version: what it will be called; the version defaults to the next major one.
        batch_size: the CPU's fixed batch, instead of measuring it.
        licence: of the weights; by default the training data's.
        to: write the artifact to this folder (which must not exist) instead of the store.
        data: what the run was trained on, for the evaluation; its report goes into the run's folder.
        accept: why to publish a model that does not pass the gate; the card says it.
        protocol, cache, progress: of the evaluation (training.evaluation.evaluate).
    Returns: where it now is.
    Raises: GateError, InputError, DataError, CheckpointError, ArtifactError, VersionExistsError, FileError.
    """
    check_name(name, "--name")
    version = check_version(version, "--version") if version else store.next_version(name)
    if to is not None:
        artifact.check_free(to)
    elif any(stored.version == version for stored in store.versions(name)):
        raise VersionExistsError(
            f"the store already has {name} {version}; a published version never changes: "
            f"leave --version out to publish as {store.next_version(name)}"
        )
    found = trained_run.load_latest(run)
    if not found.is_image_run:
        raise InputError(f"{run} holds a toy run that makes no images; only image runs can be published", "RUN")
    accept = accept.strip()
    _check_measurable(found, data, accept)

    unscored = found.draft_manifest(name, version, licence)
    if to is not None:
        _write_artifact(found, unscored, to, batch_size, data, accept, protocol, cache, progress)
        return StoredModel(name, version, to)
    with tempfile.TemporaryDirectory(prefix="ganmint-publish-") as temporary_dir:
        folder = Path(temporary_dir) / name
        _write_artifact(found, unscored, folder, batch_size, data, accept, protocol, cache, progress)
        return store.install(folder)


def _write_artifact(
    found: TrainedRun,
    manifest: Manifest,
    folder: Path,
    batch_size: int | None,
    data: Path | None,
    accept: str,
    protocol: Protocol,
    cache: Path | None,
    progress: ProgressCallback,
) -> None:
    with artifact.draft(found.generator, manifest, folder, batch_size) as draft:
        scores, gate = _judged(found, draft.sampler, data, accept, protocol, cache, progress)
        draft.commit(draft.manifest.model_copy(update={"scores": scores, "gate": gate}))


def _check_measurable(found: TrainedRun, data: Path | None, accept: str) -> None:
    if data is None and not accept:
        raise GateError(
            f"{found.path} was not evaluated, so nobody knows whether it is any good. Give what it was trained on "
            '(--data PATH), or publish it unmeasured with --accept "REASON", which its card will say.'
        )


def _judged(
    found: TrainedRun,
    sampler: Sampler,
    data: Path | None,
    accept: str,
    protocol: Protocol,
    cache: Path | None,
    progress: ProgressCallback,
) -> tuple[tuple[Score, ...], GateRecord]:
    """The scores of what was exported, and what the gate says of them.

    Raises: GateError when it does not pass and nobody accepts that.
    """
    if data is None:
        return (), GateRecord(passed=False, checks=(NOT_EVALUATED,), accepted=accept)
    report, where = _report(found, sampler, data, protocol, cache, progress)
    verdict = report.gate
    if verdict.passed:
        return report.scores(), GateRecord(passed=True, checks=tuple(check.words for check in verdict.checks))
    if not accept:
        raise GateError(
            f"{found.path} does not pass its gate:\n"
            + "\n".join(f"  {words}" for words in verdict.failures)
            + f"\nThe report: {where}\n"
            f'Train on, or publish it all the same with --data {data} --accept "REASON", which its card will say.'
        )
    return report.scores(), GateRecord(passed=False, checks=verdict.failures, accepted=accept)


def _report(
    found: TrainedRun, sampler: Sampler, data: Path, protocol: Protocol, cache: Path | None, progress: ProgressCallback
) -> tuple[Report, Path]:
    both = data_split.load(data, found.config.data, protocol.holdout)
    if found.data_info["digest"] not in (both.whole.digest, both.train.digest):
        raise DataError(data, f"is not what {found.path} was trained on ({found.data_info['name']}); give that --data")
    # Not the run's own generator: TorchScript's last bits are its own.
    subject = dataclasses.replace(EvaluatedGenerator.from_run(found), sampler=sampler)
    outcome = evaluate(subject, both, protocol, cache, None, progress)
    return outcome.report, html_report.write_report(outcome, found.path / EVALUATION_FOLDER, found.path)
