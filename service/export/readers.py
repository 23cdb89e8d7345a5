"""Read an export's images again, one at a time, in each format."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import marks
from models.errors import ExportError
from service.export import formats
from service.export.plan import ExportContext, ExportSpec, Format, Shard
from service.export.storage_errors import wrap_storage_errors
from service.export.target import Target

ROWS = 256


@dataclass(frozen=True)
class StoredImage:
    """An image as the export stores it.

    Attributes:
        where: its file, and its place in it.
        address: as it stands in or beside the image; None where the format has no place for it.
        label: as it stands beside the image; None for none.
        image: a picture file, or pixels uint8 (H, W, C).
    """

    where: str
    address: str | None
    label: int | None
    image: formats.Image


def read_images(target: Target, context: ExportContext, shard: Shard, positions: list[int]) -> Iterator[StoredImage]:
    """Yield images of a shard, in order.

    Args: positions: sorted positions within the export, all in the shard.
    Raises: ExportError naming the file that is missing or damaged.
    """
    reader: Any = _READERS[context.spec.format]
    count = 0
    with wrap_storage_errors(
        target.url,
        f"shard {shard.number} cannot be read; ganmint dataset finish says which file, the export makes it again",
    ):
        for image in reader(target, context, shard, positions):
            count += 1
            yield image
    if count != len(positions):
        raise ExportError(target.url, f"shard {shard.number} lacks {len(positions) - count} of {len(positions)} images")


def _picture(where: str, data: bytes, label: int | None, beside: str) -> StoredImage:
    embedded = marks.read_address(data, where)
    if embedded != beside:
        raise ExportError(where, f"says {beside} beside the image and {embedded} in it")
    return StoredImage(where, embedded, label, data)


def _imagefolder(target: Target, context: ExportContext, shard: Shard, positions: list[int]) -> Iterator[StoredImage]:
    beside: dict[str, dict[str, dict[str, Any]]] = {}
    for k in positions:
        (address,) = context.addresses(k, 1)
        folder = formats.class_folder(context, shard, address.label)
        if folder not in beside:
            lines = (target.read(folder + "metadata.jsonl") or b"").splitlines()
            beside[folder] = {row["file_name"]: row for row in map(json.loads, lines)}
        name = f"{context.spec.index + k}.{context.spec.image_format}"
        data, row = target.read(folder + name), beside[folder].get(name)
        if data is None or row is None:
            missing = folder + name if data is None else f"{folder}metadata.jsonl: the row of {name}"
            raise ExportError(target.url_of(missing), "is missing")
        yield _picture(target.url_of(folder + name), data, row["label"], row["address"])


def _webdataset(target: Target, context: ExportContext, shard: Shard, positions: list[int]) -> Iterator[StoredImage]:
    keys = {f"{context.spec.index + k:012d}" for k in positions}
    name = formats.data_file(context.spec, shard)
    sample: dict[str, bytes] = {}
    with target.open(name) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        for entry in archive:
            key, _, extension = entry.name.partition(".")
            content = archive.extractfile(entry)
            if key not in keys or content is None:
                continue
            sample[extension] = content.read()
            # The last of a sample.
            if extension == "json":
                beside = json.loads(sample["json"])
                label = int(sample["cls"]) if "cls" in sample else None
                image = sample.get(context.spec.image_format or "", b"")
                yield _picture(f"{target.url_of(name)}: {key}", image, label, beside["address"])
                sample = {}


def _parquet(target: Target, context: ExportContext, shard: Shard, positions: list[int]) -> Iterator[StoredImage]:
    from pyarrow import parquet

    name, first, left = formats.data_file(context.spec, shard), shard.first, set(positions)
    with target.open(name) as file:
        for batch in parquet.ParquetFile(file).iter_batches(ROWS):
            if not left.isdisjoint(range(first, first + batch.num_rows)):
                for k, row in enumerate(batch.to_pylist(), first):
                    if k in left:
                        where = f"{target.url_of(name)}: row {k - shard.first}"
                        yield _picture(where, row["image"]["bytes"], row["label"], row["address"])
            first += batch.num_rows


def _npz(target: Target, context: ExportContext, shard: Shard, positions: list[int]) -> Iterator[StoredImage]:
    name, shape = formats.data_file(context.spec, shard), context.manifest.image
    size = shape.height * shape.width * shape.channels
    with target.open(name) as file, zipfile.ZipFile(file) as archive:
        labels, addresses = (_array(archive, f"{kind}.npy") for kind in ("labels", "addresses"))
        with archive.open("images.npy") as entry:
            np.lib.format.read_magic(entry)
            np.lib.format.read_array_header_1_0(entry)
            position = 0
            for k in (k - shard.first for k in positions):
                entry.read(size * (k - position))
                pixels = np.frombuffer(entry.read(size), np.uint8).reshape(shape.height, shape.width, shape.channels)
                position = k + 1
                label = int(labels[k])
                where = f"{target.url_of(name)}: image {k}"
                yield StoredImage(where, str(addresses[k]), None if label < 0 else label, pixels)


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as entry:
        array: NDArray[Any] = np.lib.format.read_array(entry, allow_pickle=False)
    return array


def idx_files(spec: ExportSpec) -> tuple[str, str]:
    """Return MNIST's names for images and labels."""
    prefix = "train" if spec.split == "train" else "t10k"
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _idx(target: Target, context: ExportContext, _shard: Shard, positions: list[int]) -> Iterator[StoredImage]:
    height, width = context.manifest.image.height, context.manifest.image.width
    names = idx_files(context.spec)
    with target.open(names[0]) as pixels, target.open(names[1]) as labels:
        for k in positions:
            pixels.seek(16 + k * height * width)
            labels.seek(8 + k)
            image = np.frombuffer(pixels.read(height * width), np.uint8).reshape(height, width, 1)
            yield StoredImage(f"{target.url_of(names[0])}: image {k}", None, labels.read(1)[0], image)


_READERS: dict[Format, Any] = {
    "imagefolder": _imagefolder,
    "webdataset": _webdataset,
    "parquet": _parquet,
    "npz": _npz,
    "idx": _idx,
}
