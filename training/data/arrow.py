"""Open parquet and Arrow files with a column of encoded images, as Hugging Face writes them, as one source of images.

Arrow files are those of a folder that `Dataset.save_to_disk` of Hugging Face's `datasets` wrote.
"""

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


class ArrowFiles(AbstractContextManager["ArrowFiles"]):
    """The images of parquet or Arrow files, named by their rows, and the other columns.

    Attributes:
        path: what the shards belong to.
        unused: the headings of the columns that are not read, after the word "column".
        class_names: of each column that declares them, the names of its values 0, 1, ...
    """

    def __init__(self, path: Path, shards: list[Path]) -> None:
        try:
            from pyarrow import ArrowException
        except ImportError:
            raise DataError(path, "needs pyarrow: pip install '.[parquet]' (in the checkout)") from None
        self.path = path
        self.unused: tuple[str, ...] = ()
        self.class_names: dict[str, list[str]] = {}
        # The file, its column of images, the group of rows of each image, and its place in it.
        self._places: dict[str, tuple[_Shard, str, int, int]] = {}
        self._objects: list[dict[str, object]] = []
        self._group: tuple[tuple[_Shard, int], list[Any]] | None = None
        for shard in shards:
            try:
                self._add(_Shard(shard), shard, "" if shard == path else f"{shard.relative_to(path).as_posix()}/")
            except (ArrowException, OSError) as error:
                kind = "parquet" if shard.suffix.lower() == ".parquet" else "Arrow"
                raise DataError(shard, f"is not a readable {kind} file ({error}); make or fetch it again") from None

    def names(self) -> list[str]:
        """List the names of the images, in order."""
        return list(self._places)

    def open(self, name: str) -> BinaryIO:
        """Open an image for reading."""
        shard, column, group, row = self._places[name]
        if self._group is None or self._group[0] != (shard, group):
            self._group = (shard, group), shard.read(group, [column])[column].to_pylist()
        value = self._group[1][row]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ValueError("no bytes of an image in this row")
        return io.BytesIO(content)

    def table(self) -> Table:
        """Return a row for each image: its name and its values in the other columns."""
        return rows_of_objects(self.path, list(enumerate(self._objects, start=1)))

    def _add(self, shard: _Shard, path: Path, prefix: str) -> None:
        headings = shard.schema.names
        image = next((name for name in IMAGE_COLUMNS if name in headings), None)
        if image is None:
            found = ", ".join(headings) or "nothing"
            raise DataError(path, f"has no column 'image' (found {found}); rename the right one")
        others = [name for name in headings if name != image]
        class_names = _declared_names(shard.schema.metadata)
        if self._places and class_names != self.class_names:
            raise DataError(path, "declares other names of classes than the files before it; make all from one set")
        self.class_names = class_names
        names = next((class_names[key] for key in LABEL_COLUMNS if key in class_names), [])
        for group in range(shard.num_groups):
            rows = shard.read(group, others).to_pylist() if others else [{}] * shard.count_rows(group)
            for k, row in enumerate(rows):
                name = f"{prefix}row {len(self._objects)}"
                self._places[name] = (shard, image, group, k)
                self._objects.append({FILE_HEADINGS[0]: name, **_with_name(dict(row), names)})
        known = {image, *LABEL_COLUMNS, LABEL_NAME, "address"}
        self.unused = tuple(dict.fromkeys([*self.unused, *(COLUMN + name for name in headings if name not in known)]))

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._places.clear()


class _Shard:
    """The groups of rows of a parquet file, or of a memory-mapped Arrow file: a stream, or with an index."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        from pyarrow import ipc, parquet

        self._parquet = parquet.ParquetFile(path) if path.suffix.lower() == ".parquet" else None
        self._batches: list[Any] = []
        if self._parquet:
            self.schema, self.num_groups = self._parquet.schema_arrow, self._parquet.num_row_groups
            return
        with path.open("rb") as file:
            has_index = file.read(6) == b"ARROW1"
        reader = (ipc.open_file if has_index else ipc.open_stream)(pyarrow.memory_map(str(path)))
        self._batches = reader.read_all().to_batches()
        self.schema, self.num_groups = reader.schema, len(self._batches)

    def count_rows(self, group: int) -> int:
        """Return the number of rows in a group."""
        if self._parquet:
            return int(self._parquet.metadata.row_group(group).num_rows)
        return int(self._batches[group].num_rows)

    def read(self, group: int, columns: list[str]) -> Any:
        """Return some columns of a group of rows."""
        if self._parquet:
            return self._parquet.read_row_group(group, columns=columns)
        return self._batches[group].select(columns)


def _declared_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the names of the values of each column of classes, as Hugging Face's `datasets` declares them."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _with_name(values: dict[str, object], names: list[str]) -> dict[str, object]:
    """Add the name of a row's label, as `label_name`; `labels` is another heading of `label`."""
    label = values.pop("labels", None) if "label" not in values else values["label"]
    if isinstance(label, int) and label < 0:
        label = None
    found = {**values, "label": label}
    if isinstance(label, int) and label < len(names):
        found[LABEL_NAME] = names[label]
    return found
