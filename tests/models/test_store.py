"""The model store: versions are whole, found by number, and never changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from torch import nn

from models import artifact, store
from models.artifact_files import ArtifactFiles
from models.errors import ArtifactError, FileError, InputError, ModelNotFoundError, VersionExistsError
from models.manifest import MANIFEST_FILE, Manifest, read_manifest

pytestmark = [
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern .'gitwildmatch'. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore:The `__get_pydantic_core_schema__` method of the `BaseModel` class is deprecated:DeprecationWarning"
    ),
]

Publish = Callable[..., Path]


@pytest.fixture
def publish(tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path) -> Publish:
    """Export the tiny model with changes to its manifest."""

    def published(**changes: Any) -> Path:
        folder = tmp_path / "published" / "-".join(map(str, changes.values()))
        artifact.export(tiny_generator, tiny_manifest.model_copy(update=changes), folder, batch_size=4)
        return folder

    return published


def pretend(home: Path, name: str, version: str, like: Path | None = None) -> Path:
    """A version in the store that only its manifest tells of."""
    folder = home / "models" / name / version
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes((like / "manifest.json").read_bytes() if like else b"{}")
    return folder


def foreign(home: Path, name: str, version: str) -> Path:
    """A model of another framework, as BentoML keeps it."""
    folder = home / "models" / name / version
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text(f"name: {name}\nversion: {version}\n")
    (folder / "weights.bin").write_bytes(b"weights")
    return folder


def bento_models(home: Path) -> Any:
    """BentoML's own view of the store."""
    import bentoml
    from bentoml._internal.models import ModelStore

    # BentoML remembers the first BENTOML_HOME of a process.
    return bentoml.models, ModelStore(home / "models")


def versions_of(name: str) -> list[str]:
    return [stored.version for stored in store.list_versions(name)]


# What is there


def test_an_empty_store_has_no_names(store_home: Path) -> None:
    assert store.list_names() == []
    assert store.list_versions("tiny") == []
    assert not store_home.exists()


def test_an_installed_artifact_is_found_and_loads(store_home: Path, tiny_artifact: Path) -> None:
    stored = store.install(tiny_artifact)
    assert (stored.name, stored.version, str(stored)) == ("tiny", "1.0.0", "tiny 1.0.0")
    assert stored.path == store_home / "models" / "tiny" / "1.0.0"
    assert store.list_names() == ["tiny"]
    assert store.list_versions("tiny") == [stored]
    assert store.find_version("tiny") == store.find_version("tiny", "1.0.0") == stored
    for name in (*artifact.FILES, MANIFEST_FILE):
        assert (stored.path / name).read_bytes() == (tiny_artifact / name).read_bytes()
    assert artifact.load(stored.path).manifest == read_manifest(tiny_artifact)


def test_an_install_leaves_nothing_beside_the_models(store_home: Path, tiny_artifact: Path) -> None:
    store.install(tiny_artifact)
    assert [p for p in store_home.iterdir() if p.name.startswith(".")] == []
    assert sorted(p.name for p in (store_home / "models" / "tiny").iterdir()) == ["1.0.0", "latest"]


def test_other_users_can_read_an_installed_version(store_home: Path, tiny_artifact: Path) -> None:
    before = os.umask(0o022)
    try:
        stored = store.install(tiny_artifact)
    finally:
        os.umask(before)
    assert stored.path.stat().st_mode & 0o777 == 0o755
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in stored.path.iterdir())


def test_versions_are_ordered_by_number(store_home: Path) -> None:
    for version in ("9.0.0", "10.0.0", "1.10.0", "1.9.9", "1.9.10", "2.0.0"):
        pretend(store_home, "tiny", version)
    assert versions_of("tiny") == ["1.9.9", "1.9.10", "1.10.0", "2.0.0", "9.0.0", "10.0.0"]
    assert store.find_version("tiny").version == "10.0.0"
    assert store.next_version("tiny") == "11.0.0"


def test_the_first_version_is_1_and_each_new_one_the_next_major(store_home: Path) -> None:
    assert store.next_version("tiny") == "1.0.0"
    pretend(store_home, "tiny", "1.4.2")
    assert store.next_version("tiny") == "2.0.0"
    assert store.next_version("other") == "1.0.0"


def test_names_are_sorted_and_hold_a_version(store_home: Path) -> None:
    pretend(store_home, "faces", "1.0.0")
    pretend(store_home, "digits", "1.0.0")
    (store_home / "models" / "empty").mkdir()
    assert store.list_names() == ["digits", "faces"]


def test_an_unknown_name_is_answered_with_the_known_ones(store_home: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="there is no model 'cats'; there are: none"):
        store.find_version("cats")
    pretend(store_home, "digits", "1.0.0")
    pretend(store_home, "faces", "1.0.0")
    with pytest.raises(ModelNotFoundError, match="there is no model 'cats'; there are: digits, faces"):
        store.find_version("cats")


def test_an_unknown_version_is_answered_with_the_known_ones(store_home: Path) -> None:
    pretend(store_home, "digits", "1.0.0")
    pretend(store_home, "digits", "2.0.0")
    with pytest.raises(
        ModelNotFoundError, match=r"there is no version 3\.0\.0 of 'digits'; there are: 1\.0\.0, 2\.0\.0"
    ):
        store.find_version("digits", "3.0.0")


@pytest.mark.parametrize(("name", "version", "field"), [("../x", None, "model"), ("digits", "latest", "version")])
def test_what_is_no_name_or_version_is_refused(store_home: Path, name: str, version: str | None, field: str) -> None:
    pretend(store_home, "digits", "1.0.0")
    with pytest.raises(InputError) as refused:
        store.find_version(name, version)
    assert refused.value.field == field


def test_the_store_is_where_bentoml_home_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    assert store.get_home() == tmp_path / "bentoml"
    monkeypatch.setenv("BENTOML_HOME", "")
    assert store.get_home() == tmp_path / "bentoml"
    monkeypatch.setenv("BENTOML_HOME", "~/elsewhere")
    assert store.get_home() == tmp_path / "elsewhere"


# BentoML sees the same


def test_bentoml_lists_and_finds_what_was_installed(store_home: Path, tiny_artifact: Path, publish: Publish) -> None:
    store.install(tiny_artifact)
    store.install(publish(version="2.0.0"))
    models, there = bento_models(store_home)
    assert {str(model.tag) for model in models.list(_model_store=there)} == {"tiny:1.0.0", "tiny:2.0.0"}
    model = models.get("tiny:1.0.0", _model_store=there)
    assert Path(model.path) == store_home / "models" / "tiny" / "1.0.0"
    assert model.info.labels["framework"] == "ganmint"
    assert Path(model.path_of("generator.ts")).read_bytes() == (tiny_artifact / "generator.ts").read_bytes()


def test_bentomls_latest_is_the_newest_number(store_home: Path, publish: Publish) -> None:
    for version in ("10.0.0", "9.0.0"):
        store.install(publish(version=version))
    models, there = bento_models(store_home)
    assert str(models.get("tiny:latest", _model_store=there).tag) == "tiny:10.0.0"
    assert str(models.get("tiny", _model_store=there).tag) == "tiny:10.0.0"


def test_models_of_other_frameworks_are_passed_over(store_home: Path, tiny_artifact: Path) -> None:
    foreign(store_home, "iris", "abc123")
    foreign(store_home, "tiny", "q7x2")
    store.install(tiny_artifact)
    assert store.list_names() == ["tiny"]
    assert versions_of("tiny") == ["1.0.0"]
    assert store.list_versions("iris") == []


@pytest.mark.parametrize("name", ["my.model", "Cats", ".cache", "-x"])
def test_a_folder_that_cannot_be_ours_is_passed_over(store_home: Path, name: str) -> None:
    pretend(store_home, "tiny", "1.0.0")
    foreign(store_home, name, "abc123")
    assert store.list_names() == ["tiny"]


@pytest.mark.parametrize(
    "version",
    [
        pytest.param("abc"),
        pytest.param("1.0.0.bak"),
        pytest.param("3.0"),
        pytest.param("04.0.0"),
    ],
)
def test_a_version_that_is_not_ours_is_passed_over(store_home: Path, version: str) -> None:
    pretend(store_home, "tiny", "1.0.0")
    pretend(store_home, "tiny", version)
    assert versions_of("tiny") == ["1.0.0"]
    assert store.list_names() == ["tiny"]
    assert store.next_version("tiny") == "2.0.0"


# Installing


def test_the_same_artifact_again_changes_nothing(store_home: Path, tiny_artifact: Path) -> None:
    first = store.install(tiny_artifact)
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in first.path.iterdir()}
    assert store.install(tiny_artifact) == first
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in first.path.iterdir()} == before


def test_other_content_under_the_same_version_is_refused(
    store_home: Path, tiny_artifact: Path, publish: Publish
) -> None:
    stored = store.install(tiny_artifact)
    before = artifact.digest(stored.path)
    with pytest.raises(VersionExistsError, match=r"already has tiny 1\.0\.0, with other content.* publish as 2\.0\.0"):
        store.install(publish(description="Another model."))
    assert artifact.digest(stored.path) == before


def test_a_damaged_artifact_does_not_get_in(store_home: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_artifact, copy)
    (copy / artifact.SCRIPT).write_bytes((copy / artifact.SCRIPT).read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match="does not have the hash"):
        store.install(copy)
    assert store.list_names() == [] and not store_home.exists()


def test_installing_again_repairs_a_damaged_version(store_home: Path, tiny_artifact: Path) -> None:
    """As the message of a failed check says: install the model again from where it was published."""
    stored = store.install(tiny_artifact)
    (stored.path / artifact.SCRIPT).write_bytes(b"damaged")
    artifact.load(store.install(tiny_artifact).path)


def test_a_foreign_model_in_the_place_of_a_version_is_not_overwritten(store_home: Path, tiny_artifact: Path) -> None:
    there = foreign(store_home, "tiny", "1.0.0")
    with pytest.raises(VersionExistsError):
        store.install(tiny_artifact)
    assert (there / "weights.bin").read_bytes() == b"weights"


class Crash(BaseException):
    """The process dies here."""


def crash(*_: object, **__: object) -> NoReturn:
    raise Crash


@pytest.mark.parametrize("step", ["pathlib.Path.write_bytes", "os.fsync", "pathlib.Path.rename"])
@pytest.mark.parametrize("cleans_up", [True, False])
def test_a_crash_before_the_rename_leaves_no_visible_version(
    store_home: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, step: str, cleans_up: bool
) -> None:
    pretend(store_home, "tiny", "0.1.0")
    with monkeypatch.context() as broken:
        broken.setattr(step, crash)
        if not cleans_up:
            broken.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Crash):
            store.install(tiny_artifact)
    assert versions_of("tiny") == ["0.1.0"] and store.list_names() == ["tiny"]
    assert sorted(p.name for p in (store_home / "models").iterdir()) == ["tiny"]
    if cleans_up:
        assert [p for p in store_home.iterdir() if p.name.startswith(".")] == []
    assert store.install(tiny_artifact) == store.find_version("tiny", "1.0.0")


def test_a_version_half_copied_is_never_seen(
    store_home: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that looks after every file finds nothing, or all."""
    write = Path.write_bytes
    seen: list[list[str]] = []

    def seen_write(path: Path, data: bytes) -> int:
        seen.append(store.list_names())
        written = write(path, data)
        seen.append(store.list_names())
        return written

    monkeypatch.setattr(Path, "write_bytes", seen_write)
    store.install(tiny_artifact)
    assert len(seen) >= 10 and not any(seen)
    assert store.list_names() == ["tiny"]


def test_two_installs_of_the_same_artifact_at_once_both_succeed(
    store_home: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = store._write_bento_model

    def overtaken(files: ArtifactFiles, aside: Path) -> Path:
        monkeypatch.setattr(store, "_write_bento_model", made)
        store.install(files.folder)
        return made(files, aside)

    monkeypatch.setattr(store, "_write_bento_model", overtaken)
    assert store.install(tiny_artifact) == store.find_version("tiny", "1.0.0")


def test_a_home_that_cannot_be_written_is_a_file_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_artifact: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("BENTOML_HOME", str(home))
        with pytest.raises(FileError, match="cannot be written: ") as refused:
            store.install(tiny_artifact)
        assert str(home) in str(refused.value)
        assert store.list_names() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_home_is_a_file_error(store_home: Path, tiny_artifact: Path) -> None:
    store_home.mkdir(mode=0o555)
    with pytest.raises(FileError, match="cannot be written: Permission denied"):
        store.install(tiny_artifact)


def test_a_full_disk_is_a_file_error_and_leaves_nothing(
    store_home: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FileError, match="cannot be written: No space left on device"):
        store.install(tiny_artifact)
    assert store.list_names() == []
    assert [p for p in store_home.iterdir() if p.name.startswith(".")] == []


# The bundled artifacts


def test_the_bundled_artifacts_are_the_folders_with_a_manifest(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BUNDLED", tmp_path)
    assert store.list_bundled() == []
    for name in ("faces", "digits"):
        shutil.copytree(tiny_artifact, tmp_path / name)
    (tmp_path / "notes").mkdir()
    assert store.list_bundled() == [tmp_path / "digits", tmp_path / "faces"]
