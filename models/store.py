"""The BentoML model store; the only place that talks to it.

Knows: where the store is, how a finished artifact folder becomes a version in it (written aside and
renamed, because BentoML's own writes can be seen half done), which versions there are. Does not
know: what an artifact's files mean beyond its manifest.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models import artifact
from models.address import NAME, VERSION, check_name, check_version
from models.errors import ArtifactError, FileError, ModelNotFoundError, VersionExistsError
from models.files import sync_folder, write_atomically
from models.manifest import MANIFEST_FILE, Manifest, read_manifest
from models.signing import SIGNATURE

BUNDLED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class StoredModel:
    """One version in the store."""

    name: str
    version: str
    path: Path

    @property
    def sort_key(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def get_home() -> Path:
    """The folder that holds the store: BENTOML_HOME, or ~/bentoml."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml").expanduser()


def list_names() -> list[str]:
    """The names in the store that hold a Ganmint model, sorted."""
    root = get_home() / "models"
    if not root.is_dir():
        return []
    return sorted(d.name for d in root.iterdir() if NAME.fullmatch(d.name) and d.is_dir() and list_versions(d.name))


def list_versions(name: str) -> list[StoredModel]:
    """The versions of a name, oldest number first; other BentoML models are passed over."""
    root = get_home() / "models" / check_name(name)
    found = [StoredModel(name, p.parent.name, p.parent) for p in root.glob(f"*/{MANIFEST_FILE}")]
    found = [stored for stored in found if VERSION.fullmatch(stored.version)]
    return sorted(found, key=lambda stored: stored.sort_key)


def find_version(name: str, version: str | None = None) -> StoredModel:
    """A version of a model; the newest when none is named.

    Raises: ModelNotFoundError naming what there is.
    """
    there = list_versions(name)
    if not there:
        raise ModelNotFoundError(f"there is no model {name!r}; there are: {', '.join(list_names()) or 'none'}")
    if version is None:
        return there[-1]
    check_version(version)
    for stored in there:
        if stored.version == version:
            return stored
    raise ModelNotFoundError(
        f"there is no version {version} of {name!r}; there are: {', '.join(s.version for s in there)}", "version"
    )


def find_model(text: str, field: str = "MODEL") -> StoredModel:
    """The version that a command line names: name or name/version.

    Raises: InputError naming the field; ModelNotFoundError naming what there is.
    """
    name, _, version = text.partition("/")
    check_name(name, field)
    return find_version(name, check_version(version, field) if version else None)


def find_artifact(text: str, field: str = "MODEL") -> Path:
    """The same for a command that takes an artifact folder as well, in the store or not.

    Raises: InputError naming the field; ModelNotFoundError naming what there is.
    """
    return Path(text) if (Path(text) / MANIFEST_FILE).is_file() else find_model(text, field).path


def next_version(name: str) -> str:
    """The version that a new model of this name gets: the next major one, for every image changes."""
    there = list_versions(name)
    return f"{there[-1].sort_key[0] + 1}.0.0" if there else "1.0.0"


def install(folder: Path) -> StoredModel:
    """Copy an artifact folder into the store after every check; again for the same one does nothing.

    A signature goes with it, also where the artifact is there already.

    Raises:
        ArtifactError: the folder fails its checks.
        VersionExistsError: the store has this name and version with other content.
        FileError: the store cannot be written.
    """
    card = artifact.load(folder).manifest
    target = get_home() / "models" / card.name / card.version
    try:
        if _is_there(folder, card, target):
            _copy_signature(folder, target)
        else:
            _copy_in(folder, card, target)
    except OSError as error:
        # Another process may have been faster.
        if not _is_there(folder, card, target):
            raise FileError(target, f"cannot be written: {error.strerror or error}") from None
    return StoredModel(card.name, card.version, target)


def _is_there(folder: Path, card: Manifest, target: Path) -> bool:
    """Whether the store has this artifact, undamaged; a damaged copy of it is taken out of the way.

    Raises: VersionExistsError when something else is there.
    """
    if not target.exists():
        return False
    if not (target / MANIFEST_FILE).is_file() or artifact.digest(target) != artifact.digest(folder):
        raise VersionExistsError(
            f"the store already has {card.name} {card.version}, with other content; a published version "
            f"never changes: publish as {next_version(card.name)}"
        )
    try:
        artifact.check_files(target)
    except ArtifactError:
        with tempfile.TemporaryDirectory(prefix=".ganmint-", dir=get_home()) as aside:
            target.rename(Path(aside) / "damaged")
        return False
    return True


def _copy_signature(folder: Path, target: Path) -> None:
    mine, there = folder / SIGNATURE, target / SIGNATURE
    if mine.is_file() and not (there.is_file() and there.read_bytes() == mine.read_bytes()):
        write_atomically(there, mine.read_bytes())


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


def _copy_in(folder: Path, card: Manifest, target: Path) -> None:
    get_home().mkdir(parents=True, exist_ok=True)
    # Beside models/, not in it: BentoML takes every folder in there for a model.
    aside = Path(tempfile.mkdtemp(prefix=".ganmint-", dir=get_home()))
    try:
        made = _bento_model(folder, card, aside)
        for path in made.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        # BentoML makes it in a temporary folder that only its owner may enter.
        made.chmod(0o755)
        sync_folder(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        made.rename(target)
        sync_folder(target.parent)
        newest = list_versions(card.name)[-1].version
        write_atomically(target.parent / "latest", newest.encode())
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _bento_model(folder: Path, card: Manifest, aside: Path) -> Path:
    """BentoML's form of the artifact, in a store of its own under `aside`."""
    # BentoML reports each save to its makers unless told otherwise.
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    import bentoml
    from bentoml._internal.models import ModelStore

    labels = {"framework": "ganmint", "licence": "see manifest.json"}
    with bentoml.models.create(f"{card.name}:{card.version}", labels=labels, _model_store=ModelStore(aside)) as model:
        for name in (*card.files, MANIFEST_FILE):
            shutil.copyfile(folder / name, model.path_of(name))
        if (folder / SIGNATURE).is_file():
            shutil.copyfile(folder / SIGNATURE, model.path_of(SIGNATURE))
    return aside / card.name / card.version
