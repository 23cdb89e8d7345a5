"""Exports by either runtime: the same bytes in pieces of any size, and no torch where onnxruntime does the work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models import artifact, store
from models.address import Address
from models.artifact_files import ArtifactFiles
from models.runtime.onnx import OnnxRuntime
from models.sampler import Sampler
from service.export import run, worker
from service.export.plan import FORMATS
from service.export.state import read_context
from service.export.target import Target
from tests.conftest import Command
from tests.service.export.conftest import ARGUMENTS, program, tree


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("runtime", ["onnx", "torchscript"])
def test_bytes_do_not_depend_on_how_many_images_are_passed_on_at_once(
    runtime: str, format: str, export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANMINT_RUNTIME", runtime)
    assert export(tmp_path / "reference", format=format).code == 0
    for size in (1, 7, 1000):
        monkeypatch.setattr(worker, "CHUNK", size)
        assert export(tmp_path / f"{size}", format=format).code == 0
        assert tree(tmp_path / f"{size}") == tree(tmp_path / "reference")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_onnx_writes_the_same_bytes_at_any_batch_and_number_of_threads(
    batch_size: int, threads: int, export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(tmp_path / "reference")
    load = artifact.load_files

    def load_with_other_batches(files: ArtifactFiles, device: str) -> Sampler:
        sampler = load(files, device)
        sampler.runtime = OnnxRuntime(files.get("generator.onnx"), files.folder, sampler.manifest, threads)
        sampler.runtime.batch_size = batch_size
        return sampler

    monkeypatch.setattr(artifact, "load_files", load_with_other_batches)
    assert export(tmp_path / "other").code == 0
    assert tree(tmp_path / "other") == tree(tmp_path / "reference")


def test_one_worker_uses_every_core_and_several_use_one_each(
    export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    mint = Sampler.mint

    def record(self: Sampler, addresses: Sequence[Address], use_all_cores: bool = False) -> NDArray[np.uint8]:
        calls.append(use_all_cores)
        return mint(self, addresses, use_all_cores)

    monkeypatch.setattr(Sampler, "mint", record)
    monkeypatch.setattr(artifact, "compare_goldens", lambda *arguments: 0)
    export(tmp_path / "one", count=20)
    assert set(calls) == {True}
    calls.clear()
    stored = store.find_model("tiny")
    spec = read_context(Target(str(tmp_path / "one"))).spec
    worker.make_shard(artifact.load(stored.path), Target(str(tmp_path / "two")), spec, spec.shards()[0])
    assert set(calls) == {False}


@pytest.fixture
def torch_importers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torch that cannot be imported in child processes, and the file in which they note that they tried."""
    package = tmp_path / "without-torch" / "torch"
    package.mkdir(parents=True)
    log = tmp_path / "importers.txt"
    (package / "__init__.py").write_text(
        f"import sys, traceback\n"
        f"with open({str(log)!r}, 'a') as file:\n"
        f"    print(sys.argv, *traceback.format_stack(), file=file)\n"
        f"raise ImportError('no torch here', name='torch')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=":")
    return log


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_onnx_exports_and_verifies_without_torch(
    workers: str, torch_importers: Path, export: Command, tmp_path: Path
) -> None:
    options = ("--count", "50", "--shard-size", "20", "--format", "webdataset", "--workers", workers)
    process = program("export", "tiny", *options, *ARGUMENTS, "--out", str(tmp_path / "out"))
    assert process.returncode == 0, process.stderr
    process = program("dataset", "verify", str(tmp_path / "out"), "--device", "cpu")
    assert "50 are the same byte for byte" in process.stdout, process.stderr
    assert not torch_importers.exists(), torch_importers.read_text()
    # This process has torch.
    export(tmp_path / "reference")
    assert tree(tmp_path / "out") == tree(tmp_path / "reference")


def test_torch_is_kept_on_one_thread_only_while_it_mints(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    with run.one_thread(artifact.load(tiny_artifact, runtime="torchscript")):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with run.one_thread(artifact.load(tiny_artifact, runtime="onnx")):
        assert torch.get_num_threads() == 2
