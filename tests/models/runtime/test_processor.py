"""What the runtimes read about this machine's processor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.runtime import processor


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the control group's quota, on a machine whose affinity is 8 cores."""
    file = tmp_path / "cpu.max"
    monkeypatch.setattr(processor, "CGROUP_QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return file


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        # A part of a core is a core: two threads share two and a half.
        ("250000 100000\n", 3),
        ("50000 100000\n", 1),
        # More than the affinity allows.
        ("1600000 100000\n", 8),
        # Another format than the kernel documents.
        ("400000\n", 8),
        ("", 8),
        ("unlimited 100000\n", 8),
    ],
)
def test_cores_are_those_of_the_affinity_and_of_the_quota(quota: Path, text: str, cores: int) -> None:
    quota.write_text(text)
    assert processor.count_cores() == cores


def test_without_a_control_group_the_affinity_counts(quota: Path) -> None:
    assert processor.count_cores() == 8


def test_without_an_affinity_every_core_counts(quota: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processor.count_cores() == 1
