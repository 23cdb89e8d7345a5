"""The npz of images, as the service answers it and as an export writes it.

Knows: its arrays and their order: what is known beforehand first, so that the images can be written while
they are minted; no timestamps. Does not know: where the bytes go.
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

# The least that the zip format can say, so that equal images give equal archives.
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_arrays(archive: zipfile.ZipFile, card: Manifest, addresses: Sequence[Address]) -> None:
    """labels int64 (n,), -1 for none; addresses and label_names as text."""
    arrays: dict[str, NDArray[Any]] = {
        "labels": np.array([-1 if a.label is None else a.label for a in addresses], np.int64),
        "addresses": np.array([str(a) for a in addresses]),
        "label_names": np.array(card.labels, dtype=np.str_),
    }
    for name, array in arrays.items():
        with archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w") as entry:
            np.lib.format.write_array(entry, array, allow_pickle=False)


def images_header(shape: tuple[int, int, int, int]) -> bytes:
    """What images.npy begins with: uint8 (n, H, W, C); the pixels follow."""
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()
