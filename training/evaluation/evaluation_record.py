"""Records in run.json that a run was measured on test images."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from training.evaluation.data_split import DataSplit
from training.evaluation.report import Report
from training.runs.provenance import EvaluationRecord, record_test_evaluation


def record_if_test(run: Path, report: Report, split: DataSplit) -> None:
    """Record the measurement if its images were the test images.

    Raises: FileError.
    """
    if split.part != "test":
        return
    record_test_evaluation(
        run,
        EvaluationRecord(
            at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            kimg=report.kimg or 0.0,
            protocol=report.protocol.name,
            digest=split.compared.digest,
            metrics={metric.name: metric.value for metric in report.metrics if metric.value is not None},
        ),
    )
