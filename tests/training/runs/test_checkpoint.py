"""Checkpoints: written atomically, and refused when damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from models.errors import CheckpointError
from training.runs import checkpoint


def state(value: float = 1.0) -> dict[str, Any]:
    """Return a state with every kind of value that a trainer's state has."""
    return {
        "trainer": {"images_shown": 64, "weights": {"w": torch.full((3, 2), value)}},
        "optimizer": {"state": {0: {"step": torch.tensor(2.0)}}, "param_groups": [{"lr": 1e-3, "betas": (0.0, 0.9)}]},
        "data": {"name": "é", "label_names": ["a"], "none": None, "flag": True},
    }


def assert_holds(path: Path, value: float) -> None:
    read = checkpoint.load(path)
    assert torch.equal(read["trainer"]["weights"]["w"], torch.full((3, 2), value))


def test_a_saved_checkpoint_is_read_back(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 64, state(1 / 3))

    read = checkpoint.load(path)

    assert_holds(path, 1 / 3)
    assert read["trainer"]["images_shown"] == 64
    assert read["optimizer"]["param_groups"] == state()["optimizer"]["param_groups"]
    assert read["optimizer"]["state"][0]["step"].item() == 2.0
    assert read["data"] == state()["data"]


def test_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for images_shown in (64, 128, 999_999, 1_000_000):
        checkpoint.save(tmp_path, images_shown, state(images_shown))

    assert [p.name for p in checkpoint.list_paths(tmp_path)] == [
        "checkpoint-000000999999.pt",
        "checkpoint-000001000000.pt",
    ]
    assert_holds(checkpoint.list_paths(tmp_path)[-1], 1_000_000)


def test_other_files_are_neither_listed_nor_deleted(tmp_path: Path) -> None:
    others = ["checkpoint-best.pt", "checkpoint-0000000000001.pt", "checkpoint-000000000001.pt.bak", "notes.txt"]
    for name in others:
        (tmp_path / name).write_text("mine")

    for images_shown in (1, 2, 3):
        checkpoint.save(tmp_path, images_shown, state())

    assert len(checkpoint.list_paths(tmp_path)) == 2
    assert all((tmp_path / name).read_text() == "mine" for name in others)


def load_error(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    assert "Delete it and run" in caught.value.reason
    return caught.value


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    path = checkpoint.save(tmp_path, 64, state())
    whole = path.read_bytes()

    path.write_bytes(whole[: int(len(whole) * share)])

    load_error(path)


def test_a_flipped_bit_anywhere_is_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 64, state())
    whole = path.read_bytes()

    for position in [*range(100), *range(100, len(whole), 97), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        load_error(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello\n", b"PK\x03\x04 no newline", b"\x80\x02}q\x00.\n"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = checkpoint.path_for(tmp_path, 64)
    path.write_bytes(content)

    load_error(path)


def test_a_plain_torch_file_is_refused(tmp_path: Path) -> None:
    path = checkpoint.path_for(tmp_path, 64)
    torch.save(state(), path)

    assert "is not a checkpoint" in load_error(path).reason


def test_an_error_names_the_checkpoint_to_resume_from(tmp_path: Path) -> None:
    older = checkpoint.save(tmp_path, 64, state())
    newer = checkpoint.save(tmp_path, 128, state())
    newer.write_bytes(newer.read_bytes()[:-1])

    assert f"resume from {older.name}" in load_error(newer).reason

    older.write_bytes(b"")
    assert "start over" in load_error(older).reason


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_a_failed_write_leaves_the_older_checkpoint_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    older = checkpoint.save(tmp_path, 64, state(1.0))

    def fail(*args: Any, **options: Any) -> NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", fail)
        elif call == "replace":
            patch.setattr(Path, "replace", fail)
        else:
            patch.setattr(Path, "open", fail)
        with pytest.raises(OSError, match="No space"):
            checkpoint.save(tmp_path, 128, state(2.0))

    assert list(tmp_path.iterdir()) == [older]
    assert_holds(older, 1.0)


def test_a_failed_write_deletes_no_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = [checkpoint.save(tmp_path, 64, state(1.0)), checkpoint.save(tmp_path, 128, state(2.0))]

    def fail(*args: Any) -> NoReturn:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="Input/output"):
            checkpoint.save(tmp_path, 192, state(3.0))

    assert checkpoint.list_paths(tmp_path) == older
    assert_holds(older[0], 1.0)
    assert_holds(older[1], 2.0)


def test_the_bytes_are_on_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power cut after the rename leaves an empty file under the final name."""
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")  # noqa: PTH112
        fsync(descriptor)

    def record_replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    checkpoint.save(tmp_path, 64, state())

    assert order == ["file", "rename", "folder"]
