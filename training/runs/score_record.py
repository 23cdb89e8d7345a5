"""What an evaluation found, in short: its scores, of which state of a run, and by what they were measured.

Not here: the whole report (training.evaluation.report).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.errors import FileError
from models.files import write_atomically
from training.runs.run_dir import EVALUATION_FOLDER, report_path

# In the evaluation folder of a run: a line for each state and each basis that was evaluated.
SCORES_FILE = "scores.jsonl"


@dataclass(frozen=True)
class Basis:
    """What scores depend on besides the generator. Scores of different bases do not compare.

    Attributes:
        protocol: its name; empty, as all of these, if the report does not state it.
        protocol_digest: of all its settings.
        data_name, data_digest: of the whole data set.
        split: "test" or "validation".
        test_origin: where the compared real images come from, in words.
        test_images: how many there are.
    """

    protocol: str = ""
    protocol_digest: str = ""
    data_name: str = ""
    data_digest: str = ""
    split: str = ""
    test_origin: str = ""
    test_images: int = 0

    def __str__(self) -> str:
        data = f"{self.data_name} ({self.data_digest[:12]})" if self.data_digest else "its own distribution"
        images = f", {self.test_images} {self.split or 'test'} images: {self.test_origin}" if self.test_images else ""
        protocol = f"by {self.protocol} ({self.protocol_digest[:8]}) " if self.protocol else ""
        return f"{protocol}on {data}{images}"


@dataclass(frozen=True)
class ScoreRecord:
    """The scores of one evaluation: metrics by name; kimg is None if the report does not state it."""

    scores: Mapping[str, float] = field(default_factory=dict)
    kimg: float | None = None
    basis: Basis = Basis()

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> ScoreRecord:
        """Read report.json of this or an older version.

        Raises: KeyError, TypeError, ValueError, AttributeError if it is no report.
        """
        kimg = report.get("kimg")
        data = report.get("data") or {}
        protocol = report.get("protocol") or {}
        digest = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest() if protocol else ""
        return cls(
            scores={
                str(metric["name"]): float(metric["value"])
                for metric in report["figures"]
                if metric.get("value") is not None
            },
            kimg=None if kimg is None else float(kimg),
            basis=Basis(
                protocol=str(protocol.get("name", "")),
                protocol_digest=digest,
                data_name=str(data.get("name", "")),
                data_digest=str(data.get("digest", "")),
                split=str(data.get("split", "")),
                test_origin=str(data.get("test_split", "")),
                test_images=int(data.get("test_images", 0)),
            ),
        )


def add_score_record(run: Path, record: ScoreRecord) -> None:
    """Add a record to a run's; it replaces one of the same state on the same basis."""
    others = [r for r in _read_lines(run) if (r.kimg, r.basis) != (record.kimg, record.basis)]
    lines = [json.dumps(asdict(r)) + "\n" for r in (*others, record)]
    write_atomically(run / EVALUATION_FOLDER / SCORES_FILE, "".join(lines).encode())


def read_score_records(run: Path) -> list[ScoreRecord]:
    """Return the records of a run by kimg; the last one is that of the newest report, if it has one.

    Raises: FileError naming the file at fault.
    """
    newest = _read_report(report_path(run))
    records = [r for r in _read_lines(run) if newest is None or (r.kimg, r.basis) != (newest.kimg, newest.basis)]
    records.sort(key=lambda r: -1.0 if r.kimg is None else r.kimg)
    return records if newest is None else [*records, newest]


def _read_report(path: Path) -> ScoreRecord | None:
    try:
        return ScoreRecord.from_report(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise FileError(path, "is not a report of ganmint evaluate; evaluate the run again") from None


def _read_lines(run: Path) -> list[ScoreRecord]:
    path = run / EVALUATION_FOLDER / SCORES_FILE
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [ScoreRecord(line["scores"], line["kimg"], Basis(**line["basis"])) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise FileError(path, "is damaged; delete it and evaluate the run again") from None
