"""Write the npz of images, for the service's responses and for exports.

The images come last, so that they can be written while they are minted. There are no timestamps.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.address import Address
from models.manifest import Manifest

# The earliest date of the zip format; a fixed one, so that equal images give equal archives.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_arrays(archive: zipfile.ZipFile, manifest: Manifest, addresses: Sequence[Address]) -> None:
    """Write labels int64 (n,), -1 for none; addresses and label_names as text."""
    arrays: dict[str, NDArray[Any]] = {
        "labels": np.array([-1 if a.label is None else a.label for a in addresses], np.int64),
        "addresses": np.array([str(a) for a in addresses]),
        "label_names": np.array(manifest.class_names, dtype=np.str_),
    }
    for name, array in arrays.items():
        with archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w") as entry:
            np.lib.format.write_array(entry, array, allow_pickle=False)


def make_images_header(shape: tuple[int, int, int, int]) -> bytes:
    """Return the header of images.npy, uint8 (n, H, W, C); the pixels follow it."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()
