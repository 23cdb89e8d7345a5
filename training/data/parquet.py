"""Open parquet files with a column of encoded images, as Hugging Face writes them, as one source of images."""

from __future__ import annotations

import io
import json
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from models.errors import DataError
from training.data.labels import FILE_HEADINGS
from training.data.layout import COLUMN
from training.data.tables import Table, rows_of_objects

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels")
LABEL_NAME = "label_name"


class ParquetFiles(AbstractContextManager["ParquetFiles"]):
    """The images of parquet files, named by their rows, and the other columns.

    Attributes:
        path: what the shards belong to.
        unused: nothing; the columns that are not read are found by their headings.
    """

    def __init__(self, path: Path, shards: list[Path]) -> None:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError:
            raise DataError(path, "needs pyarrow: pip install '.[parquet]' (in the checkout)") from None
        self.path = path
        self.unused: tuple[str, ...] = ()
        # The file and the row group of each image, and its place in it.
        self._places: dict[str, tuple[Any, str, int, int]] = {}
        self._objects: list[dict[str, object]] = []
        self._group: tuple[tuple[int, int], list[Any]] | None = None
        for shard in shards:
            try:
                self._add(shard, "" if shard == path else f"{shard.relative_to(path).as_posix()}/", parquet)
            except (ArrowException, OSError) as error:
                raise DataError(shard, f"is not a readable parquet file ({error}); make or fetch it again") from None

    def names(self) -> list[str]:
        """List the names of the images, in order."""
        return list(self._places)

    def open(self, name: str) -> BinaryIO:
        """Open an image for reading."""
        file, column, group, row = self._places[name]
        if self._group is None or self._group[0] != (id(file), group):
            self._group = (id(file), group), file.read_row_group(group, columns=[column])[column].to_pylist()
        value = self._group[1][row]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ValueError("no bytes of an image in this row")
        return io.BytesIO(content)

    def table(self) -> Table:
        """Return a row for each image: its name and its values in the other columns."""
        return rows_of_objects(self.path, list(enumerate(self._objects, start=1)))

    def _add(self, shard: Path, prefix: str, parquet: Any) -> None:
        file = parquet.ParquetFile(shard)
        headings = file.schema_arrow.names
        image = next((name for name in IMAGE_COLUMNS if name in headings), None)
        if image is None:
            found = ", ".join(headings) or "nothing"
            raise DataError(shard, f"has no column 'image' (found {found}); rename the right one")
        others = [name for name in headings if name != image]
        names = _class_names(file.schema_arrow.metadata)
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=others).to_pylist() if others else []
            for k in range(file.metadata.row_group(group).num_rows):
                name = f"{prefix}row {len(self._objects)}"
                values: dict[str, object] = dict(rows[k]) if rows else {}
                self._places[name] = (file, image, group, k)
                self._objects.append({FILE_HEADINGS[0]: name, **_with_name(values, names)})
        known = {image, *LABEL_COLUMNS, LABEL_NAME, "address"}
        self.unused = tuple(dict.fromkeys([*self.unused, *(COLUMN + name for name in headings if name not in known)]))

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._places.clear()


def _class_names(metadata: dict[bytes, bytes] | None) -> list[str]:
    """Return the names of the classes as Hugging Face's `datasets` declares them; [] if it does not."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return next(([str(name) for name in features[key]["names"]] for key in LABEL_COLUMNS if key in features), [])
    except (KeyError, ValueError, TypeError):
        return []


def _with_name(values: dict[str, object], names: list[str]) -> dict[str, object]:
    """Add the name of a row's label, as `label_name`; `labels` is another heading of `label`."""
    label = values.pop("labels", None) if "label" not in values else values["label"]
    if not isinstance(label, int) or label < 0:
        label = None if isinstance(label, int) else label
    found = {**values, "label": label}
    if isinstance(label, int) and label < len(names):
        found[LABEL_NAME] = names[label]
    return found
