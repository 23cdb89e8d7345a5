"""How the snapshots of a run scored on its validation images, as its folder keeps it, and which of them is the best.

Not here: how they are measured (training.evaluation.snapshot_scores).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from models.base import Frozen
from models.errors import FileError
from models.evidence import format_kimg
from training.metric_results import MetricName
from training.runs.snapshots import SNAPSHOTS_FOLDER

SCORES_FILE = "scores.json"

# What can be measured without training a classifier on each snapshot's images.
SCORED: tuple[MetricName, ...] = ("fd", "recall", "gan_test", "sharpness")


class SnapshotScore(Frozen):
    """A few metrics of one snapshot; None where there is nothing to measure.

    Attributes:
        kimg: thousand images shown until then.
        fd, recall, gan_test, sharpness: as in a report; older versions measured the first two only.
        fails: those of these metrics that miss a threshold of the run's gate.
        weights: sha256 of the generator's weights; a prior changes them. Older versions did not keep it.
    """

    kimg: float
    fd: float
    recall: float | None
    gan_test: float | None = None
    sharpness: float | None = None
    fails: tuple[MetricName, ...] = ()
    weights: str = ""


class SnapshotScores(Frozen):
    """scores.json.

    Attributes:
        protocol: its name.
        protocol_digest: of its settings.
        data_digest: of the validation images.
        images: generated images of each snapshot, and real ones.
        scores: of every snapshot and the newest checkpoint, oldest first.
        real: the same metrics of real images; older versions did not keep them.
    """

    protocol: str
    protocol_digest: str
    data_digest: str
    images: int
    scores: tuple[SnapshotScore, ...]
    real: Mapping[MetricName, float] = Field(default_factory=dict)

    @property
    def basis(self) -> str:
        """By what they were measured, in words; scores of different bases do not compare."""
        return (
            f"by {self.protocol} ({self.protocol_digest[:8]}) on {self.images} validation images "
            f"({self.data_digest[:12]})"
        )

    @property
    def unmeasured(self) -> tuple[MetricName, ...]:
        """The metrics that the version that scored them did not know."""
        return tuple(name for name in SCORED if not any(name in score.model_fields_set for score in self.scores))

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
        against = "" if best == last else f"; the last one, at {format_kimg(last.kimg)} kimg, has {last.fd:.3f}"
        among = f"{count}" if passing == count else f"{passing} of {count} that meet the thresholds there"
        if not passing:
            among = f"{count}, none of which meets the thresholds there,"
        return (
            f"at {format_kimg(best.kimg)} kimg, which has the lowest Fréchet distance of {among} on {self.images} "
            f"validation images by {self.protocol}: {best.fd:.3f}{recall}{against}"
        )


def scores_path(run: Path) -> Path:
    """Return where the scores of a run's snapshots are."""
    return run / SNAPSHOTS_FOLDER / SCORES_FILE


def read_snapshot_scores(run: Path) -> SnapshotScores | None:
    """Read the scores of a run's snapshots; None if they were not scored.

    Raises: FileError when scores.json is damaged.
    """
    path = scores_path(run)
    try:
        return SnapshotScores.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise FileError(path, "is damaged; run ganmint evaluate RUN --data DATA --snapshots again") from None
