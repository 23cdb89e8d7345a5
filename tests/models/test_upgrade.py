"""An older artifact becomes a new version with the same weights."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import artifact, store, upgrade
from models.errors import ArtifactError, GanmintError, InputError
from models.files import sha256
from models.manifest import MANIFEST_FILE, Manifest, dump_manifest, read_manifest
from tests.conftest import Command

OLD = Path(__file__).parent.parent / "data" / "v0.1" / "artifact"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of an artifact of schema 1, to damage."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def rehash(folder: Path, **changes: str) -> None:
    """Change the manifest, and let it name the hashes of the files as they are."""
    manifest = read_manifest(folder)
    files = {name: sha256(folder / name) for name in manifest.files}
    (folder / MANIFEST_FILE).write_bytes(dump_manifest(manifest.model_copy(update={"files": files, **changes})))


def test_an_upgrade_keeps_everything_but_the_schema_the_version_and_the_files(old: Path, tmp_path: Path) -> None:
    stored = upgrade.upgrade(old, tmp_path / "new", batch_size=4)
    before, after = read_manifest(old), read_manifest(tmp_path / "new")

    assert (before.schema_version, before.version, before.upgraded_from) == (1, "1.0.0", "")
    assert (after.schema_version, after.version, after.upgraded_from) == (2, "1.1.0", "1.0.0")
    assert (stored.name, stored.version, stored.path) == (before.name, "1.1.0", tmp_path / "new")
    changed = {"schema_version", "version", "upgraded_from", "batch_size", "batch_size_measured", "files"}
    assert after.model_dump(exclude=changed) == before.model_dump(exclude=changed)
    assert (tmp_path / "new" / artifact.WEIGHTS).read_bytes() == (old / artifact.WEIGHTS).read_bytes()
    assert "- upgraded from: 1.0.0, which has the same weights" in (tmp_path / "new" / artifact.CARD).read_text()


def test_an_upgraded_model_makes_the_images_of_the_old_one(old: Path, tmp_path: Path) -> None:
    upgrade.upgrade(old, tmp_path / "new", batch_size=4)
    before, after = artifact.load(old), artifact.load(tmp_path / "new")

    assert (before.runtime.name, after.runtime.name) == ("torchscript", "onnx")
    pixels = [sampler.mint(sampler.manifest.addresses(seed=3, n=40)).astype(int) for sampler in (before, after)]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1


def test_the_store_gets_the_next_minor_version(store_home: Path, old: Path, command: Command) -> None:
    name = store.install(old).name

    result = command("models", "upgrade", f"{name}/1.0.0", "--batch-size", "4")

    assert (result.code, result.errors) == (0, "")
    assert result.output == f"Upgraded {name} 1.0.0 to 1.1.0: {store_home / 'models' / name / '1.1.0'}\n"
    again = command("models", "upgrade", f"{name}/1.0.0")
    assert again.code == 2 and "the store has 1.1.0, with the same weights" in again.errors
    assert [stored.version for stored in store.list_versions(name)] == ["1.0.0", "1.1.0"]


def test_what_is_new_is_not_upgraded(tiny_artifact: Path, tmp_path: Path, command: Command) -> None:
    with pytest.raises(InputError, match=r"tiny 1\.0\.0 is of schema 2, the newest: there is nothing to upgrade"):
        upgrade.upgrade(tiny_artifact, tmp_path / "new")
    assert command("models", "upgrade", str(tiny_artifact)).code == 2


def test_weights_that_do_not_make_the_goldens_are_not_upgraded(old: Path, tmp_path: Path) -> None:
    with np.load(old / artifact.GOLDEN) as archive:
        addresses, pixels = archive["addresses"], archive["pixels"]
    np.savez_compressed(old / artifact.GOLDEN, addresses=addresses, pixels=255 - pixels)
    rehash(old)

    with pytest.raises(ArtifactError, match=r"does not make the images of golden\.npz"):
        upgrade.upgrade(old, tmp_path / "new", batch_size=4)
    assert not (tmp_path / "new").exists()


def test_a_tampered_artifact_is_not_upgraded(old: Path, tmp_path: Path) -> None:
    with (old / artifact.WEIGHTS).open("ab") as file:
        file.write(b"\0")

    with pytest.raises(ArtifactError, match="does not have the hash"):
        upgrade.upgrade(old, tmp_path / "new", batch_size=4)


def test_weights_of_another_network_are_named(old: Path, tmp_path: Path, tiny_artifact: Path) -> None:
    shutil.copy(tiny_artifact / artifact.WEIGHTS, old / artifact.WEIGHTS)
    rehash(old)

    with pytest.raises(ArtifactError, match="does not fit the manifest's network"):
        upgrade.upgrade(old, tmp_path / "new", batch_size=4)


def test_an_existing_folder_is_left_as_it_is(old: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()

    with pytest.raises(ArtifactError, match="exists already"):
        upgrade.upgrade(old, tmp_path / "new", batch_size=4)


@pytest.mark.parametrize("missing", [{"torch"}, {"onnx"}, {"torch", "onnx"}])
def test_missing_packages_are_named(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: set[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(upgrade, "find_spec", lambda name: None if name in missing else find_spec(name))

    with pytest.raises(GanmintError, match=r"needs .*; try: pip install '\.\[train\]' \(in the checkout\)") as refused:
        upgrade.upgrade(old, tmp_path / "new")
    assert all(name in str(refused.value) for name in missing)


def test_a_bundled_model_says_what_it_was_upgraded_from() -> None:
    manifests: list[Manifest] = [read_manifest(folder) for folder in store.list_bundled()]

    assert [(m.name, m.version, m.upgraded_from) for m in manifests] == [
        ("digits", "4.2.0", "4.1.0"),
        ("digits-info", "1.2.0", "1.1.0"),
        ("faces", "1.4.0", "1.3.0"),
    ]
