"""GANMINT_REQUIRE_SIGNED holds for whatever loads a model, not for the service alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ganmint
from models import signing, store
from models.artifact_files import ArtifactFiles
from models.errors import ArtifactError, GanmintError, SignatureError
from service.export import run
from service.export.run import ExportRequest
from tests.conftest import Command
from tests.signing_keys import Keys, make_key_pair

EXPORT = ("--count", "4", "--format", "npz", "--device", "cpu")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_key_pair(tmp_path / "keys")


@pytest.fixture
def unsigned(store_home: Path, tiny_artifact: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stored model without a signature, where signatures are required."""
    path = store.install(tiny_artifact).path
    monkeypatch.setenv("GANMINT_REQUIRE_SIGNED", "1")
    monkeypatch.setenv("GANMINT_PUBLIC_KEY", str(keys[1]))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "tiny", "--out", "one.png"),
        ("export", "tiny", *EXPORT, "--out", "data"),
        pytest.param(("export", "tiny", *EXPORT, "--workers", "2", "--out", "data"), marks=pytest.mark.slow),
        ("models", "verify"),
        ("models", "upgrade", "tiny"),
        ("models", "install", "FOLDER"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_every_command_that_loads_a_model_refuses_an_unsigned_one(
    unsigned: Path,
    keys: Keys,
    arguments: tuple[str, ...],
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANMINT_RUNTIME", "torchscript")
    monkeypatch.setattr("torch.jit.load", lambda *_, **__: pytest.fail("TorchScript can run code"))
    arguments = tuple(str(unsigned) if part == "FOLDER" else part for part in arguments)
    refused = command(*arguments)
    assert refused.code == 1 and "is not signed: it has no model.sig" in refused.errors


def test_a_signed_model_is_loaded_by_all(
    unsigned: Path, keys: Keys, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    signing.sign(unsigned, keys[0])
    assert command("sample", "tiny", "--out", "one.png").code == 0
    assert command("export", "tiny", *EXPORT, "--out", "data").code == 0
    assert command("dataset", "verify", "data", "--device", "cpu").code == 0
    assert command("models", "verify").code == 0
    assert ganmint.load("tiny", device="cpu").version == "1.0.0"
    (unsigned / signing.SIGNATURE).unlink()
    assert "is not signed" in command("dataset", "verify", "data", "--device", "cpu").errors


def test_python_refuses_an_unsigned_model(unsigned: Path, tmp_path: Path) -> None:
    for model in ("tiny", unsigned, "digits"):
        with pytest.raises(SignatureError):
            ganmint.load(model, device="cpu")
    with pytest.raises(SignatureError):
        ganmint.export("tiny", count=4, out=tmp_path / "data", format="npz", device="cpu")


def test_a_model_is_signed_where_signatures_are_required(unsigned: Path, keys: Keys, command: Command) -> None:
    assert command("models", "sign", "tiny", "--private-key", str(keys[0])).code == 0
    assert command("models", "verify").code == 0


@pytest.mark.parametrize("load", ["sample", "export", "python"])
def test_an_old_version_cannot_be_replayed_as_a_newer_one(
    unsigned: Path, keys: Keys, load: str, command: Command, tmp_path: Path
) -> None:
    signing.sign(unsigned, keys[0])
    shutil.copytree(unsigned, unsigned.with_name("2.0.0"))
    message = r"holds tiny 1.0.0; the folder must be called tiny/1.0.0"
    if load == "python":
        with pytest.raises(ArtifactError, match=message):
            ganmint.load("tiny")
        return
    options = ("--out", str(tmp_path / "one.png")) if load == "sample" else (*EXPORT, "--out", str(tmp_path / "data"))
    refused = command(load, "tiny", *options)
    assert refused.code == 1 and message in refused.errors


def test_a_model_that_is_replaced_while_an_export_begins_is_refused(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.install(tiny_artifact)
    read_model = run.read_model

    def replace_then_read(request: ExportRequest) -> ArtifactFiles:
        manifest = request.model_dir / "manifest.json"
        manifest.write_bytes(manifest.read_bytes() + b" ")
        return read_model(request)

    monkeypatch.setattr(run, "read_model", replace_then_read)
    with pytest.raises(GanmintError, match="was replaced since the export was begun"):
        ganmint.export("tiny", count=4, out=tmp_path / "data", format="npz", device="cpu")
