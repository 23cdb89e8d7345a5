"""Golden samples: addresses and their pixels, which a model must make wherever it is loaded."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.address import Address
from models.artifact_files import GOLDEN, ArtifactFiles
from models.errors import ArtifactError, InputError
from models.latents import MAX_INTEGER
from models.manifest import Manifest
from models.sampler import Sampler

# Bytes are promised within a runtime fingerprint; between two, outputs may differ by rounding.
GOLDEN_TOLERANCE = 1


def choose_goldens(manifest: Manifest) -> list[Address]:
    """Return ordinary addresses, one far corner of the address space, and a truncated one where allowed."""
    count = max(12, min(len(manifest.class_names), 24))
    addresses = manifest.addresses(seed=0, n=count, labels="balanced" if manifest.class_names else None)
    addresses += manifest.addresses(seed=MAX_INTEGER, index=MAX_INTEGER)
    if manifest.truncation:
        addresses += manifest.addresses(seed=1, psi=0.5)
    return addresses


def write_goldens(sampler: Sampler, addresses: Sequence[Address], path: Path) -> None:
    """Mint addresses and write them with their pixels."""
    np.savez_compressed(path, addresses=np.array([str(a) for a in addresses]), pixels=sampler.mint(addresses))


def check_goldens(sampler: Sampler, files: ArtifactFiles) -> int:
    """Mint the golden addresses again and compare the pixels.

    Returns: the largest difference, 0 .. 255.
    Raises: ArtifactError when it is more than 1.
    """
    return compare_goldens(sampler, *parse_goldens(files), files.folder / GOLDEN)


def parse_goldens(files: ArtifactFiles) -> tuple[list[Address], NDArray[np.uint8]]:
    """Return the golden addresses and their pixels, uint8 (n, H, W, C).

    Raises: ArtifactError.
    """
    path = files.folder / GOLDEN
    try:
        with np.load(io.BytesIO(files.get(GOLDEN)), allow_pickle=False) as archive:
            addresses = [files.manifest.parse_address(str(text)) for text in archive["addresses"]]
            pixels: NDArray[np.uint8] = archive["pixels"]
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, InputError) as error:
        raise ArtifactError(path, f"cannot be read: {error}; install the model again") from None
    if not addresses:
        raise ArtifactError(path, "holds no golden; install the model again")
    return addresses, pixels


def compare_goldens(sampler: Sampler, addresses: list[Address], expected: NDArray[np.uint8], path: Path) -> int:
    """Mint golden addresses and compare the pixels.

    Args:
        sampler: of the model.
        addresses, expected: from `parse_goldens`.
        path: of the file, for messages.
    Returns: the largest difference, 0 .. 255.
    Raises: ArtifactError when it is more than 1.
    """
    minted = sampler.mint(addresses)
    if minted.shape != expected.shape:
        raise ArtifactError(path, f"holds pixels of shape {expected.shape}, the generator makes {minted.shape}")
    worst = int(np.abs(minted.astype(np.int16) - expected).max())
    if worst > GOLDEN_TOLERANCE:
        raise ArtifactError(
            path,
            f"does not match what this machine makes: off by up to {worst} of 255 (at most "
            f"{GOLDEN_TOLERANCE} is allowed) on {sampler.fingerprint}; do not serve this model here",
        )
    return worst
