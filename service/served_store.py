"""The part of the model store that a service serves, and the identity of each version's files."""

from __future__ import annotations

from models import signing, store
from models.address import check_name, check_version
from models.errors import FileError, ModelNotFoundError
from models.files import FileIdentity, read_file_identity
from models.store import StoredModel
from service.settings import Settings

# By name and version.
StoredVersions = dict[tuple[str, str], tuple[StoredModel, FileIdentity]]


class ServedStore:
    """The versions in the store whose names are to be served.

    Raises: FileError or InputError where a public key cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = settings.names
        self._keys = settings.trust.keys
        signing.check_keys(self._keys)

    def look(self, has_loaded: bool) -> StoredVersions:
        """Find all versions, and the identity of their files.

        Args: has_loaded, whether there was a store before.
        Raises: FileError where the whole store is gone, which is rather a volume that is away than a withdrawal.
        """
        if has_loaded and not store.exists():
            raise FileError(store.get_home(), "has no model store any more; what is loaded is served on")
        names = [name for name in store.list_names() if not self._names or name in self._names]
        versions = [stored for name in names for stored in store.list_versions(name)]
        return {(stored.name, stored.version): (stored, self.read_identity(stored)) for stored in versions}

    def read_identity(self, stored: StoredModel) -> FileIdentity:
        """Read what changes when a file of the version, or a public key, is changed, added or removed."""
        return read_file_identity(stored.path, *self._keys)

    def find(self, name: str, version: str | None) -> StoredModel:
        """Return a version, by default the newest.

        Raises: InputError, ModelNotFoundError.
        """
        check_name(name)
        if version is not None:
            check_version(version)
        if self._names and name not in self._names:
            names = ", ".join(sorted(self._names.intersection(store.list_names()))) or "none"
            raise ModelNotFoundError(f"there is no model {name!r}; there are: {names}")
        return store.find_version(name, version)
