"""The report as data, and its words.

Knows: report.json's fields, the table for a terminal, and how figures become sentences. Does not
know: how anything is measured, pictures, HTML.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import AliasChoices, ConfigDict, Field

from models.base import Frozen
from models.manifest import Score
from training.evaluation.protocol import Protocol
from training.gate import GateResult
from training.metric_results import MetricResult


class DataFacts(Frozen):
    """The real images of an evaluation; digests as the card's (training.data.dataset.Dataset.digest)."""

    name: str
    digest: str
    train_images: int
    test_images: int
    test_split: str
    compared_images: int
    gan_train_images: int


class ClassRow(Frozen):
    """One class; shares 0 .. 1, None where there is nothing to measure.

    Attributes:
        gan_train, ceiling: accuracy on real test images of the classifiers trained on generated and on real images.
        gan_test: how often the real-data classifier sees this class where it was asked for.
        wanted, seen: share of the generated images that were asked to be, and are seen as, of this class.
    """

    name: str
    gan_train: float | None
    ceiling: float | None
    gan_test: float | None
    wanted: float | None
    seen: float | None


class ToneRow(Frozen):
    """One class of skin tone, and the share of the faces, 0 .. 1, that are of it."""

    name: str
    generated: float
    real: float


class Report(Frozen):
    """report.json: the same for the same subject, data, protocol and machine.

    Attributes:
        subject: what was judged.
        kimg: how far its training was, in thousand images, where a run was judged.
        machine: what the last digits depend on.
        feature_space, feature_space_sha256: where distances are measured.
        reference_source: whether the real images' figures were measured now or earlier.
        notes: what a reader must know, in sentences.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    subject: str
    kimg: float | None = None
    protocol: Protocol
    machine: str
    data: DataFacts | None = None
    feature_space: str = ""
    feature_space_sha256: str = ""
    reference_source: str = Field(
        default="", validation_alias=AliasChoices("reference_source", "real_side"), serialization_alias="real_side"
    )
    figures: tuple[MetricResult, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    tones: tuple[ToneRow, ...] = ()
    verdict: GateResult = GateResult()
    notes: tuple[str, ...] = ()

    def figure(self, name: str) -> MetricResult | None:
        """A figure by its name."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def scores(self) -> tuple[Score, ...]:
        """What the model's card carries."""
        return tuple(
            Score(name=f.name, value=f.value, real_baseline=f.real_baseline, protocol=self.protocol.name)
            for f in self.figures
            if f.value is not None
        )


def table(figures: Sequence[MetricResult]) -> str:
    """The figures for a terminal, beside those of real images."""
    rows = [("FIGURE", "GENERATED", "REAL", "BETTER", "MEANS")]
    for figure in figures:
        if figure.value is not None:
            spread = f" ± {figure.format(figure.sd)}" if figure.sd is not None else ""
            value, floor = figure.format(figure.value) + spread, figure.format(figure.real_baseline)
            rows.append((figure.info.title, value, floor, figure.info.better, figure.info.meaning))
    widths = [max(len(row[k]) for row in rows) for k in range(4)]
    lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows]
    lines += [f"{f.info.title}: not measured: {f.problem}" for f in figures if f.value is None]
    return "\n".join(lines)


def verdict_words(report: Report) -> list[str]:
    """What the figures say, for people who read no figures."""
    return [words for words in (_useful(report), _faithful(report), _varied(report), _own(report)) if words]


def _useful(report: Report) -> str:
    found = report.figure("gan_train")
    if found is None or found.value is None or found.real_baseline is None or report.data is None:
        return ""
    lost = found.real_baseline - found.value
    count = f"{report.data.gan_train_images:,}"
    return (
        f"A classifier that learned from {count} generated images alone reads {found.format(found.value)} of real test "
        f"images; one that learned from {count} real images reads {found.format(found.real_baseline)}. "
        + (f"Training on this generator costs {100 * lost:.2f} points." if lost > 0 else "Nothing is lost.")
    )


def _faithful(report: Report) -> str:
    found = report.figure("gan_test")
    if found is None or found.value is None:
        return ""
    wrong = 1 - found.value
    made = f"Asked for a class, it makes that class {found.format(found.value)} of the time"
    if wrong > 0.25:
        return f"{made}: {wrong:.0%} of its images look like another."
    often = f"about one image in {1 / wrong:,.0f}" if wrong > 0 else "no image"
    return f"{made}: {often} looks like another."


def _varied(report: Report) -> str:
    coverage, ndb = report.figure("coverage"), report.figure("ndb")
    if coverage is None or coverage.value is None or not coverage.real_baseline:
        return ""
    share = coverage.value / coverage.real_baseline
    word = "nearly all" if share >= 0.95 else "most" if share >= 0.75 else "a part" if share >= 0.25 else "little"
    words = f"It covers {word} of the variety of real images: {share:.0%} of what other real images cover."
    if ndb is not None and ndb.value is not None:
        words += f" In {ndb.format(ndb.value)} of the pixel space's cells it makes clearly too many or too few"
        words += f" (real images: {ndb.format(ndb.real_baseline)})." if ndb.real_baseline is not None else "."
    return words


def _own(report: Report) -> str:
    copies, ratio = report.figure("near_copies"), report.figure("distance_ratio")
    if copies is None or copies.value is None or ratio is None or ratio.value is None:
        return ""
    if copies.value == 0:
        words = "No near-copy of a training image was found"
    else:
        words = f"{copies.format(copies.value)} of its images are near-copies of training images"
    if copies.real_baseline is not None:
        words += f" (real test images: {copies.format(copies.real_baseline)})"
    words += f"; its images lie {ratio.value:.2f} times as far from the training images as new real ones do."
    return words
