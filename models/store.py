"""The BentoML model store: find models in it and install artifacts into it.

An artifact is written to a temporary folder and renamed, because BentoML's own writes can be seen half done. Only
this module imports bentoml's store.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models import artifact
from models.address import LABEL_FIELDS, NAME, VERSION, Address, check_name, check_version
from models.artifact_files import ArtifactFiles
from models.errors import ArtifactError, FileError, InputError, ModelNotFoundError, VersionExistsError
from models.files import sha256, sync_folder, write_atomically
from models.manifest import MANIFEST_FILE, Manifest, read_manifest
from models.signing import SIGNATURE, Trust

BUNDLED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class StoredModel:
    """One version in the store."""

    name: str
    version: str
    path: Path

    @property
    def sort_key(self) -> tuple[int, ...]:
        return sort_key(self.version)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def sort_key(version: str) -> tuple[int, ...]:
    """Return what versions are sorted by."""
    return tuple(int(part) for part in version.split("."))


def exists() -> bool:
    """Tell whether there is a model store at all."""
    return (get_home() / "models").is_dir()


def get_home() -> Path:
    """Return the folder that holds the store: BENTOML_HOME, or ~/bentoml."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml").expanduser()


def list_names() -> list[str]:
    """List the names of the Ganmint models in the store, sorted."""
    root = get_home() / "models"
    if not root.is_dir():
        return []
    return sorted(d.name for d in root.iterdir() if NAME.fullmatch(d.name) and d.is_dir() and list_versions(d.name))


def list_versions(name: str) -> list[StoredModel]:
    """List the versions of a name, the lowest number first; other BentoML models are skipped."""
    root = get_home() / "models" / check_name(name)
    folders = [path.parent for path in root.glob(f"*/{MANIFEST_FILE}")]
    stored_models = [StoredModel(name, folder.name, folder) for folder in folders if VERSION.fullmatch(folder.name)]
    return sorted(stored_models, key=lambda stored: stored.sort_key)


def find_version(name: str, version: str | None = None) -> StoredModel:
    """Find a version of a model; the newest when none is named.

    Raises: ModelNotFoundError naming what exists.
    """
    stored_models = list_versions(name)
    if not stored_models:
        raise ModelNotFoundError(f"there is no model {name!r}; there are: {', '.join(list_names()) or 'none'}")
    if version is None:
        return stored_models[-1]
    check_version(version)
    for stored in stored_models:
        if stored.version == version:
            return stored
    raise ModelNotFoundError(
        f"there is no version {version} of {name!r}; there are: {', '.join(s.version for s in stored_models)}",
        "version",
    )


def find_model(text: str, field: str = "MODEL") -> StoredModel:
    """Find the version that a command line names: name or name/version.

    Raises: InputError naming the field; ModelNotFoundError naming what exists.
    """
    name, _, version = text.partition("/")
    check_name(name, field)
    return find_version(name, check_version(version, field) if version else None)


def find_artifact(text: str, field: str = "MODEL") -> Path:
    """Find an artifact folder: the text is its path, or a name or name/version in the store.

    Raises: InputError naming the field; ModelNotFoundError naming what exists.
    """
    return Path(text) if (Path(text) / MANIFEST_FILE).is_file() else find_model(text, field).path


def parse_address(text: str) -> Address:
    """Parse an address; where its label is no number, the error has the classes of the stored model.

    Raises: InputError naming the part at fault; ModelNotFoundError where only the model knows what is wrong.
    """
    try:
        return Address.parse(text)
    except InputError as error:
        if error.field not in LABEL_FIELDS:
            raise
        stored = find_model("/".join(text.split("/")[:2]))
        raise read_manifest(stored.path).explain(error, text) from None


def next_version(name: str) -> str:
    """Return the version of a new model of this name: the next major one, because every image changes."""
    stored_models = list_versions(name)
    return f"{stored_models[-1].sort_key[0] + 1}.0.0" if stored_models else "1.0.0"


def next_minor_version(manifest: Manifest) -> str:
    """Return the version of a model with the same weights as this one, of which the store may have newer ones."""
    major, minor, _ = (int(part) for part in manifest.version.split("."))
    stored = [stored.sort_key for stored in list_versions(manifest.name)]
    newest_minor = max([minor, *(key[1] for key in stored if key[0] == major)])
    return f"{major}.{newest_minor + 1}.0"


def read_artifact(stored: StoredModel, trust: Trust | None = None) -> ArtifactFiles:
    """Read a stored version once and check it, as `models.artifact.read` does.

    Raises: as `models.artifact.read`; ArtifactError, too, where the folder holds another version than its name says.
    """
    files = artifact.read(stored.path, trust)
    manifest = files.manifest
    # Or a signed old version could be replayed as the newest.
    if (manifest.name, manifest.version) != (stored.name, stored.version):
        actual = f"{manifest.name} {manifest.version}"
        raise ArtifactError(stored.path, f"holds {actual}; the folder must be called {actual.replace(' ', '/')}")
    return files


def read_named(text: str, field: str = "MODEL") -> ArtifactFiles:
    """Read the artifact that a text names, as `find_artifact` takes it, and check it.

    Raises: as `find_artifact` and `read_artifact`.
    """
    if (Path(text) / MANIFEST_FILE).is_file():
        return artifact.read(Path(text))
    return read_artifact(find_model(text, field))


def install(folder: Path, trust: Trust | None = None) -> StoredModel:
    """Copy an artifact folder into the store after every check.

    An artifact that is in the store already is not copied again, but its signature is.

    Args: folder, an artifact; trust, as `models.artifact.read` takes it.
    Raises:
        ArtifactError: the folder fails its checks.
        VersionExistsError: the store has this name and version with other content.
        FileError: the store cannot be written.
    """
    files = artifact.read(folder, trust)
    artifact.load_files(files)
    manifest = files.manifest
    target = get_home() / "models" / manifest.name / manifest.version
    try:
        if _is_installed(files, target):
            _copy_signature(files, target)
        else:
            _copy_in(files, target)
        _copy_training_state(folder, manifest)
    except OSError as error:
        # Another process may have installed it meanwhile.
        if not _is_installed(files, target):
            raise FileError(target, f"cannot be written: {error.strerror or error}") from None
    return StoredModel(manifest.name, manifest.version, target)


def _is_installed(files: ArtifactFiles, target: Path) -> bool:
    """Tell whether the store has this artifact, undamaged; a damaged copy of it is removed.

    Raises: VersionExistsError when the store has something else under this version.
    """
    if not target.exists():
        return False
    manifest = files.manifest
    if not (target / MANIFEST_FILE).is_file() or artifact.digest(target) != files.digest:
        raise VersionExistsError(
            f"the store already has {manifest.name} {manifest.version}, with other content; a published version "
            f"never changes: publish as {next_version(manifest.name)}"
        )
    try:
        artifact.check_files(target)
    except ArtifactError:
        with tempfile.TemporaryDirectory(prefix=".ganmint-", dir=get_home()) as temporary_dir:
            target.rename(Path(temporary_dir) / "damaged")
        return False
    return True


def _copy_signature(files: ArtifactFiles, target: Path) -> None:
    signature = files.contents.get(SIGNATURE)
    copy = target / SIGNATURE
    if signature is not None and not (copy.is_file() and copy.read_bytes() == signature):
        write_atomically(copy, signature)


def find_training_state(folder: Path) -> Path | None:
    """Return where the training state of an artifact is: beside it, or for a model of the store in its own place.

    Returns: a file with the hash that the manifest names; None if it was published without.
    Raises: ArtifactError when the file is missing or damaged.
    """
    manifest = read_manifest(folder)
    digest = manifest.files.get(artifact.TRAINING_STATE)
    if digest is None:
        return None
    path = folder / artifact.TRAINING_STATE
    if not path.is_file():
        path = _training_state_path(manifest)
    if not path.is_file() or sha256(path) != digest:
        raise ArtifactError(path, "is missing or damaged; install the model again from where it was published")
    return path


def _training_state_path(manifest: Manifest) -> Path:
    return get_home() / "ganmint-training" / manifest.name / f"{manifest.version}.safetensors"


def _copy_training_state(folder: Path, manifest: Manifest) -> None:
    source = find_training_state(folder)
    target = _training_state_path(manifest)
    if source and source != target:
        write_atomically(target, source.read_bytes())


def list_bundled() -> list[Path]:
    """Return the artifact folders that come with the package."""
    return sorted(p.parent for p in BUNDLED.glob(f"*/{MANIFEST_FILE}"))


def find_bundled(text: str) -> Path | None:
    """Return the artifact folder of the bundled model that a name or name/version names, if there is one."""
    name, _, version = text.partition("/")
    for folder in list_bundled():
        bundled = read_manifest(folder)
        if bundled.name == name and version in ("", bundled.version):
            return folder
    return None


def _copy_in(files: ArtifactFiles, target: Path) -> None:
    get_home().mkdir(parents=True, exist_ok=True)
    # Beside models/, because BentoML takes every folder in there for a model.
    temporary_dir = Path(tempfile.mkdtemp(prefix=".ganmint-", dir=get_home()))
    try:
        copy = _write_bento_model(files, temporary_dir)
        for path in copy.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        # BentoML makes it in a temporary folder that only its owner may enter.
        copy.chmod(0o755)
        sync_folder(copy)
        target.parent.mkdir(parents=True, exist_ok=True)
        copy.rename(target)
        sync_folder(target.parent)
        newest = list_versions(files.manifest.name)[-1].version
        write_atomically(target.parent / "latest", newest.encode())
    finally:
        shutil.rmtree(temporary_dir, ignore_errors=True)


def _write_bento_model(files: ArtifactFiles, temporary_dir: Path) -> Path:
    """Write BentoML's form of the artifact into a store of its own, and return its folder."""
    # Otherwise BentoML reports each save to its makers.
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    import bentoml
    from bentoml._internal.models import ModelStore

    labels = {"framework": "ganmint", "licence": "see manifest.json"}
    manifest = files.manifest
    # The training state has its own place, so that no bento packs it.
    names = [name for name in manifest.files if name != artifact.TRAINING_STATE]
    with bentoml.models.create(
        f"{manifest.name}:{manifest.version}", labels=labels, _model_store=ModelStore(temporary_dir)
    ) as model:
        for name in (*names, MANIFEST_FILE, *([SIGNATURE] if SIGNATURE in files.contents else [])):
            Path(model.path_of(name)).write_bytes(files.get(name))
    return temporary_dir / manifest.name / manifest.version
