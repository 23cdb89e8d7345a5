"""Models go to a URL and come back with the same bytes; what was changed on the way never reaches the store."""

from __future__ import annotations

import io
import secrets
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from models import artifact, signing, store, transfer
from models.errors import ArtifactError, FileError, SignatureError, VersionExistsError
from models.store import StoredModel
from tests.conftest import Command
from tests.signing_keys import make_key_pair
from tests.waiting import TIMEOUT_S


@pytest.fixture
def tiny(store_home: Path, tiny_artifact: Path) -> StoredModel:
    """The tiny model in a store, with what stands for a signature: nobody asks for one here."""
    stored = store.install(tiny_artifact)
    (stored.path / "model.sig").write_bytes(b"signature")
    return stored


@pytest.fixture(params=["file://{folder}/far", "memory://far-{random}", "{folder}/far [1]"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    text: str = request.param
    return text.format(folder=tmp_path, random=secrets.token_hex(4))


@pytest.fixture
def other_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Turns to an empty store."""

    def turn() -> Path:
        monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "other"))
        return tmp_path / "other"

    return turn


def read_files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "model.yaml"}


def test_a_pushed_model_is_pulled_with_its_signature(
    tiny: StoredModel, url: str, other_store: Callable[[], Path], command: Command
) -> None:
    pushed = command("models", "push", "tiny", url)
    assert (pushed.code, pushed.output) == (0, f"tiny 1.0.0 is at {url}/tiny-1.0.0.bentomodel\n")
    other_store()
    pulled = command("models", "pull", f"{url}/tiny-1.0.0.bentomodel")

    assert pulled.code == 0 and "tiny 1.0.0 is in the store" in pulled.output
    copy = store.find_model("tiny").path
    assert copy != tiny.path and read_files(copy) == read_files(tiny.path)


def test_pushing_again_writes_the_same_bytes_and_another_model_is_refused(tiny: StoredModel, tmp_path: Path) -> None:
    file = Path(transfer.push(tiny, str(tmp_path / "x.bentomodel")))
    before = file.read_bytes()
    assert transfer.push(tiny, str(file)) == str(file) and file.read_bytes() == before
    bundled = store.install(store.BUNDLED / "digits")
    with pytest.raises(VersionExistsError, match=r"x\.bentomodel holds another model"):
        transfer.push(bundled, str(file))
    assert file.read_bytes() == before


def test_bentoml_reads_what_is_pushed(tiny: StoredModel, tmp_path: Path) -> None:
    import bentoml
    from bentoml._internal.models import ModelStore

    (tmp_path / "bento").mkdir()
    file = transfer.push(tiny, str(tmp_path))
    model = bentoml.models.import_model(file, _model_store=ModelStore(tmp_path / "bento"))
    assert artifact.digest(Path(model.path)) == artifact.digest(tiny.path)


@pytest.mark.parametrize("name", ["generator.onnx", "manifest.json", "golden.npz"])
def test_a_model_that_was_tampered_with_is_refused_and_nothing_is_left(
    name: str, tiny: StoredModel, url: str, other_store: Callable[[], Path]
) -> None:
    content = read_files(tiny.path)
    content[name] = content[name][:-2] + b"xx"
    write_archive(f"{url}/t.bentomodel", content)
    home = other_store()

    with pytest.raises(ArtifactError) as refused:
        transfer.pull(f"{url}/t.bentomodel")
    assert str(refused.value).startswith(f"{url}/t.bentomodel: {name} ")
    assert [path for path in home.rglob("*") if path.is_file()] == [] and store.list_names() == []


def test_where_signatures_are_required_an_unsigned_model_is_not_pulled(
    tiny: StoredModel, tmp_path: Path, other_store: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    private_key, public_key = make_key_pair(tmp_path / "keys")
    (tiny.path / "model.sig").unlink()
    unsigned = transfer.push(tiny, str(tmp_path / "unsigned.bentomodel"))
    signing.sign(tiny.path, private_key)
    signed = transfer.push(tiny, str(tmp_path / "signed.bentomodel"))
    other_store()
    monkeypatch.setenv("GANMINT_REQUIRE_SIGNED", "1")
    monkeypatch.setenv("GANMINT_PUBLIC_KEY", str(public_key))

    with pytest.raises(SignatureError, match=r"unsigned\.bentomodel"):
        transfer.pull(unsigned)
    assert store.list_names() == []
    assert transfer.pull(signed).name == "tiny"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/b", ".."])
def test_an_archive_with_files_elsewhere_is_refused(
    name: str, tiny: StoredModel, tmp_path: Path, other_store: Callable[[], Path]
) -> None:
    write_archive(str(tmp_path / "t.bentomodel"), {**read_files(tiny.path), name: b"evil"})
    other_store()

    with pytest.raises(FileError, match="is not a plain file in one folder"):
        transfer.pull(str(tmp_path / "t.bentomodel"))
    assert store.list_names() == [] and not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("data", [b"", b"no archive", None])
def test_what_is_no_model_is_refused_by_its_url(data: bytes | None, tmp_path: Path, command: Command) -> None:
    file = tmp_path / "x.bentomodel"
    if data is not None:
        file.write_bytes(data)
    result = command("models", "pull", str(file))
    assert result.code == 1 and result.errors.startswith(f"Error: {file}: ")


def write_archive(url: str, content: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    fs, path = fsspec.core.url_to_fs(url)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    fs.pipe_file(path, buffer.getvalue())


@pytest.fixture
def shared(tiny: StoredModel, tmp_path: Path, other_store: Callable[[], Path]) -> str:
    """A folder's URL with the tiny model and a file that is no model; the store is another one, and empty."""
    url = f"file://{tmp_path}/shared"
    transfer.push(tiny, url)
    (tmp_path / "shared" / "broken-1.0.0.bentomodel").write_bytes(b"no archive")
    other_store()
    return url


def test_of_a_folder_what_passes_is_pulled_and_what_fails_is_named(shared: str, command: Command) -> None:
    pulled = command("models", "pull", shared)
    assert pulled.code == 0 and "tiny 1.0.0 is in the store" in pulled.output
    assert f"Not pulled: {shared}/broken-1.0.0.bentomodel: is no exported model" in pulled.errors
    assert store.list_names() == ["tiny"]


@pytest.mark.parametrize("names", [["broken-1.0.0.bentomodel"], ["notes.txt"], []])
def test_a_url_without_a_model_that_passes_is_an_error(names: list[str], tmp_path: Path, command: Command) -> None:
    (tmp_path / "shared").mkdir()
    for name in names:
        (tmp_path / "shared" / name).write_bytes(b"no archive")
    pulled = command("models", "pull", f"{tmp_path}/shared")
    assert pulled.code == 1 and pulled.errors.startswith(f"Error: {tmp_path}/shared")


def test_pulled_again_are_only_files_that_have_changed(
    shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    file = tmp_path / "shared" / "tiny-1.0.0.bentomodel"
    fetched: list[str] = []

    def pull(url: str) -> StoredModel:
        fetched.append(url)
        return pull_for_real(url)

    def sleep(seconds: float) -> None:
        steps: list[Callable[[], object]] = [
            lambda: None,
            lambda: file.write_bytes(file.read_bytes()),
            lambda: shutil.rmtree(file.parent),
        ]
        if len(slept) == len(steps):
            raise SystemExit(143)
        steps[len(slept)]()
        slept.append(seconds)

    pull_for_real, slept = transfer.pull, list[float]()
    monkeypatch.setattr(transfer, "pull", pull)
    monkeypatch.setattr("models.commands.time.sleep", sleep)
    monkeypatch.setattr("models.commands.signal.signal", lambda *_: None)
    pulled = command("models", "pull", shared, "--every", "7")
    # A folder that is gone does not end it.
    assert (pulled.code, slept) == (143, [7, 7, 7]) and f"Not pulled: {shared}: cannot be read" in pulled.errors
    assert [url.rpartition("/")[2][:4] for url in fetched] == ["brok", "tiny", "brok", "brok", "tiny"]


def test_a_pull_that_goes_on_takes_what_appears_and_ends_by_sigterm(shared: str, tmp_path: Path) -> None:
    file = tmp_path / "shared" / "tiny-1.0.0.bentomodel"
    aside = file.rename(tmp_path / file.name)
    line = [sys.executable, "-m", "ganmint", "models", "pull", shared, "--every", "1"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr and process.stdout
        assert process.stderr.readline().startswith("Not pulled: ")
        aside.rename(file)
        assert process.stdout.readline().startswith("tiny 1.0.0 is in the store")
        process.terminate()
        assert process.wait(TIMEOUT_S) == 143
    assert store.list_names() == ["tiny"]
