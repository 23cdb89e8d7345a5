"""Write a shard's images as files, in each format of an export.

The bytes have no timestamps, no owners, no names of this machine, and nothing that depends on how the images arrive.
Not here: reading them again (service.export.readers).

    imagefolder   {split}/{class}/{shard}/{index}.png and a metadata.jsonl in each of these folders
    webdataset    data/{split}-{shard}.tar: {index}.png, .cls (the label), .json
    parquet       data/{split}-{shard}.parquet: image, label, label_name, address; Hugging Face features declared
    npz           data/{split}-{shard}.npz: images, labels, addresses, label_names, as the service answers
    idx           parts in the hidden folder, from which service.export.finish makes MNIST's files
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.address import Address
from models.errors import InputError
from models.manifest import Manifest
from service.export.drafts import PRIVATE, Draft
from service.export.plan import ExportContext, ExportSpec, Format, Shard
from service.npz import EPOCH, make_images_header, write_arrays

# A Hugging Face reader loads a row group at once.
ROW_GROUP = 1000
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
Image = bytes | NDArray[np.uint8]


class Writer(Protocol):
    """Writes a shard's images, in order."""

    def add(self, addresses: Sequence[Address], images: Sequence[Image]) -> None:
        """Write the next images: picture files, or pixels uint8 (H, W, C) where the format holds pixels."""

    def close(self) -> None:
        """End the shard after its last image."""


def create_writer(draft: Draft, context: ExportContext, shard: Shard) -> Writer:
    """Return what writes this shard into the draft."""
    writer: Writer = _WRITERS[context.spec.format](draft, context, shard)
    return writer


def data_file(spec: ExportSpec, shard: Shard) -> str:
    """Return the name of a shard's one file, in the formats that have one."""
    return f"data/{spec.split}-{shard.name}.{_EXTENSIONS[spec.format]}"


def idx_parts(shard: Shard) -> tuple[str, str]:
    """Return the names of a shard's images and labels, gzipped."""
    prefix = f"{PRIVATE}/parts/{shard.name}"
    return f"{prefix}-images.gz", f"{prefix}-labels.gz"


def class_folders(manifest: Manifest) -> list[str]:
    """Return one folder name per class, which sort in label order, as torchvision's ImageFolder numbers them."""
    names = list(manifest.class_names)
    if names == sorted(names) and all(map(_SAFE.fullmatch, names)):
        return names
    slugs = [re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] for name in names]
    return [f"{label:03d}-{slug}".rstrip("-") for label, slug in enumerate(slugs)]


def class_folder(context: ExportContext, shard: Shard, label: int | None) -> str:
    """Return the folder of a shard's images of one class, with its slash."""
    name = "" if label is None else f"{class_folders(context.manifest)[label]}/"
    return f"{context.spec.split}/{name}{shard.name}/"


def image_metadata(address: Address, manifest: Manifest) -> dict[str, Any]:
    """Return what is stored beside an image."""
    return {"address": str(address), "label": address.label, "label_name": manifest.class_name(address.label)}


def _count_numbers(context: ExportContext, shard: Shard) -> Iterator[int]:
    """Count the numbers that a shard's images are called by: their indexes, or steps of a walk from 0 on."""
    return itertools.count(context.spec.index + shard.first)


class _ImageFolder:
    def __init__(self, draft: Draft, context: ExportContext, shard: Shard) -> None:
        class_names = context.manifest.class_names
        labels = range(len(class_names)) if class_names else [None]
        self._draft = draft
        self._manifest = context.manifest
        self._extension = context.spec.image_format
        self._numbers = _count_numbers(context, shard)
        self._folders = {label: class_folder(context, shard, label) for label in labels}
        self._rows: dict[int | None, list[str]] = {}

    def add(self, addresses: Sequence[Address], images: Sequence[Image]) -> None:
        files: dict[int | None, dict[str, bytes]] = {}
        for address, image, number in zip(addresses, images, self._numbers):
            name = f"{number}.{self._extension}"
            files.setdefault(address.label, {})[name] = bytes(image)
            row = {"file_name": name, **image_metadata(address, self._manifest)}
            self._rows.setdefault(address.label, []).append(json.dumps(row) + "\n")
        for label, inside in files.items():
            self._draft.put(self._folders[label], inside)

    def close(self) -> None:
        for label, rows in self._rows.items():
            self._draft.put(self._folders[label], {"metadata.jsonl": "".join(rows).encode()})


class _WebDataset:
    def __init__(self, draft: Draft, context: ExportContext, shard: Shard) -> None:
        self._file = draft.create(data_file(context.spec, shard))
        self._manifest = context.manifest
        self._extension = context.spec.image_format
        self._numbers = _count_numbers(context, shard)

    def add(self, addresses: Sequence[Address], images: Sequence[Image]) -> None:
        for address, image, number in zip(addresses, images, self._numbers):
            key = f"{number:012d}"
            self._entry(f"{key}.{self._extension}", bytes(image))
            if address.label is not None:
                self._entry(f"{key}.cls", str(address.label).encode())
            self._entry(f"{key}.json", json.dumps(image_metadata(address, self._manifest)).encode())

    def close(self) -> None:
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))

    def _entry(self, name: str, data: bytes) -> None:
        # tarfile's defaults: mode 0644, owner 0, time 0.
        header = tarfile.TarInfo(name)
        header.size = len(data)
        self._file.write(header.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE))


class _Parquet:
    def __init__(self, draft: Draft, context: ExportContext, shard: Shard) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        self._pa = pa
        self._manifest = context.manifest
        self._extension = context.spec.image_format
        fields: list[Any] = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
        fields += [("label", pa.int64()), ("label_name", pa.string()), ("address", pa.string())]
        features = json.dumps({"info": {"features": parquet_features(context.manifest)}})
        self._schema = pa.schema(fields, {"huggingface": features})
        # Pinned here: pyarrow's own defaults change between versions.
        self._file = parquet.ParquetWriter(
            draft.create(data_file(context.spec, shard)),
            self._schema,
            compression="zstd",
            compression_level=3,
            version="2.6",
            data_page_version="1.0",
            use_dictionary=["label", "label_name"],
            write_statistics=True,
        )
        self._rows: list[dict[str, Any]] = []
        self._numbers = _count_numbers(context, shard)

    def add(self, addresses: Sequence[Address], images: Sequence[Image]) -> None:
        for address, image, number in zip(addresses, images, self._numbers):
            picture = {"bytes": bytes(image), "path": f"{number}.{self._extension}"}
            self._rows.append({"image": picture, **image_metadata(address, self._manifest)})
        while len(self._rows) >= ROW_GROUP:
            self._write(self._rows[:ROW_GROUP])
            del self._rows[:ROW_GROUP]

    def close(self) -> None:
        if self._rows:
            self._write(self._rows)
        self._file.close()

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._file.write_table(self._pa.Table.from_pylist(rows, self._schema), row_group_size=ROW_GROUP)


def parquet_features(manifest: Manifest) -> dict[str, Any]:
    """Return the columns as Hugging Face's `datasets` declares them."""
    text = {"dtype": "string", "_type": "Value"}
    label = (
        {"names": list(manifest.class_names), "_type": "ClassLabel"}
        if manifest.class_names
        else {"dtype": "int64", "_type": "Value"}
    )
    return {"image": {"_type": "Image"}, "label": label, "label_name": text, "address": text}


class _Npz:
    def __init__(self, draft: Draft, context: ExportContext, shard: Shard) -> None:
        self._archive = zipfile.ZipFile(draft.create(data_file(context.spec, shard)), "w")
        write_arrays(self._archive, context.manifest, context.addresses(shard.first, shard.count))
        shape = context.manifest.image
        header = make_images_header((shard.count, shape.height, shape.width, shape.channels))
        large = shard.count * shape.height * shape.width * shape.channels > 2**31 - 2**16
        self._entry = self._archive.open(zipfile.ZipInfo("images.npy", EPOCH), "w", force_zip64=large)
        self._entry.write(header)

    def add(self, addresses: Sequence[Address], images: Sequence[Image]) -> None:
        self._entry.write(np.ascontiguousarray(images).tobytes())

    def close(self) -> None:
        self._entry.close()
        self._archive.close()


class _Idx:
    def __init__(self, draft: Draft, context: ExportContext, shard: Shard) -> None:
        # Fast: these are read again only by finish.
        images_name, labels_name = idx_parts(shard)
        self._images = gzip.GzipFile("", "wb", compresslevel=1, fileobj=draft.create(images_name), mtime=0)
        self._labels = gzip.GzipFile("", "wb", compresslevel=1, fileobj=draft.create(labels_name), mtime=0)

    def add(self, addresses: Sequence[Address], images: Sequence[Image]) -> None:
        self._images.write(np.ascontiguousarray(images).tobytes())
        self._labels.write(bytes(address.label or 0 for address in addresses))

    def close(self) -> None:
        self._images.close()
        self._labels.close()


_WRITERS: dict[Format, Any] = {
    "imagefolder": _ImageFolder,
    "webdataset": _WebDataset,
    "parquet": _Parquet,
    "npz": _Npz,
    "idx": _Idx,
}
_EXTENSIONS: dict[Format, str] = {"webdataset": "tar", "parquet": "parquet", "npz": "npz"}


def require_packages(format_: Format) -> None:
    """Check that a format's packages are installed.

    Raises: InputError saying what to install.
    """
    if format_ == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise InputError("parquet needs pyarrow: pip install '.[parquet]' (in the checkout)", "--format") from None
