"""Drafts on a local file system, with other writers about."""

from __future__ import annotations

import errno
import importlib.util
import os
from pathlib import Path

import pytest

from models.errors import ExportError
from service.export import drafts
from service.export.target import Target


def test_a_writer_outlasts_another_one_that_removes_their_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, raced = Path.mkdir, list[Path]()

    def mkdir(folder: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if "aside" in folder.parts and not raced:
            raced.append(folder)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        make(folder, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    target = Target(str(tmp_path / "out"))

    target.write("data/0", b"mine")

    assert raced and target.read("data/0") == b"mine"


def test_drafts_of_pods_with_the_same_process_id_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pods of a Job that share a volume; each has a module of its own."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    folders = []
    for _ in range(2):
        spec = importlib.util.spec_from_file_location("service.export.drafts", drafts.__file__)
        assert spec and spec.loader
        pod = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(pod)
        with pod.LocalDraft(str(tmp_path), tmp_path, "job.json") as draft:
            draft.create("job.json").write(b"x")
            folders += [path.name for path in (tmp_path / ".ganmint" / "aside").iterdir()]
    assert len(set(folders)) == 2


def test_an_export_whose_drafts_another_one_clears_away_says_so(tmp_path: Path) -> None:
    target = Target(str(tmp_path / "out"))

    with (
        pytest.raises(
            ExportError, match=r"out: cannot be written: No such file .*; choose another --out, or end another export"
        ),
        target.draft("data/0") as draft,
    ):
        draft.create("data/0").write(b"mine")
        Target(target.url).remove_drafts()
