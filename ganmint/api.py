"""The functions of the Python interface: `import ganmint`.

Not here: training and serving, which are commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganmint.model import Model
from models import artifact, images, store, verification
from models.address import Address
from models.artifact_files import ArtifactFiles
from models.errors import InputError, ModelNotFoundError
from models.files import read_file
from models.images import MEDIA_TYPES, MediaType
from models.labels import Label
from models.runtime.loading import resolve_device
from models.verification import Verification
from service.export.api import EngineName, ExportSummary, export_dataset
from service.export.plan import SHARD_SIZE, Format, ImageFormat, Split
from service.export.run import Echo


def load(model: str | os.PathLike[str], *, device: str = "auto") -> Model:
    """Load a model after checking its hashes, golden images and, where GANMINT_REQUIRE_SIGNED is set, its signature.

    Args:
        model: a name or name/version in the model store, the name of a bundled model, or an artifact folder.
        device: auto, cpu, cuda or cuda:N.
    Raises: ModelNotFoundError, ArtifactError, InputError.
    """
    text = os.fspath(model)
    return _load(text, lambda: store.read_named(text, "model"), device)


def _load(text: str, read: Callable[[], ArtifactFiles], device: str) -> Model:
    """Load what `read` finds, or else the bundled model that a name or name/version names."""
    try:
        files = read()
    except ModelNotFoundError:
        bundled = store.find_bundled(text)
        if bundled is None:
            raise
        files = artifact.read(bundled)
    return Model(artifact.load_files(files, resolve_device(device)))


def encode(image: NDArray[np.uint8], address: Address | str, media_type: MediaType = "image/png") -> bytes:
    """Encode one image as a file that carries its address: the very bytes that the service answers.

    Args:
        image: uint8 (H, W, 1) or (H, W, 3), from `Minted.images`.
        address: of the image.
        media_type: image/png, image/jpeg or image/webp.
    Raises: InputError.
    """
    if media_type not in MEDIA_TYPES:
        raise InputError(f"must be one of {', '.join(MEDIA_TYPES)}, got {media_type!r}", "media_type")
    text = str(Address.parse(address) if isinstance(address, str) else address)
    return images.encode(image, media_type, text)


def verify(file: str | os.PathLike[str] | bytes, *, model: Model | None = None, device: str = "auto") -> Verification:
    """Tell whether a picture is still what its addresses mint, as the command `ganmint verify` does.

    Args:
        file: a PNG, JPEG or WebP file of one image or of a grid: its path, or its bytes.
        model: the only model to mint with, so that many files do not load it again; None: the one that the file
            names, of the model store or bundled.
        device: auto, cpu, cuda or cuda:N; of the model that is loaded here.
    Returns:
        `is_good` and `result`: identical, same_pixels, close; altered, another_image, no_marks, unknown_model. Also in
        words (`detail`), and how many pixels were changed, by how much, where.
    Raises: FileError where it is no picture or cannot be read; InputError naming an address at fault; ArtifactError.
    """
    data, name = (file, "image") if isinstance(file, bytes) else (read_file(Path(file)), os.fspath(file))

    def mint(addresses: list[Address]) -> NDArray[np.uint8]:
        named = addresses[0].model, addresses[0].version
        # Not by `load`, which would take a folder of this name for the model.
        chosen = model or _load("/".join(named), lambda: store.read_artifact(store.find_version(*named)), device)
        if (chosen.name, chosen.version) != named:
            raise ModelNotFoundError(f"the picture is of another model than {chosen.name}/{chosen.version}")
        return chosen.mint_addresses(verification.resolve(addresses, chosen.manifest)).images

    return verification.verify(data, mint, name=name).verification


def export(
    model: str,
    *,
    count: int,
    out: str | os.PathLike[str],
    format: Format,
    seed: int = 0,
    index: int = 0,
    labels: Label | None = None,
    psi: float = 1.0,
    image_format: ImageFormat | None = None,
    split: Split = "train",
    shard_size: int = SHARD_SIZE,
    workers: int = 1,
    engine: EngineName = "local",
    device: str = "auto",
    c2pa_key: str | os.PathLike[str] | None = None,
    c2pa_cert: str | os.PathLike[str] | None = None,
    echo: Echo | None = None,
) -> ExportSummary:
    """Write a labelled data set of any size, as the command `ganmint export` does.

    A bundled model that is not in the store is installed first. Run again, the same call skips what is there.

    Args:
        model: a name or name/version in the model store, or the name of a bundled model.
        count: how many images; a larger count than before extends the export.
        out: a folder or any fsspec URL.
        format: imagefolder, webdataset, parquet, npz or idx.
        seed, index, labels, psi: as `Model.mint` takes them, but for a list of labels.
        image_format: png, jpg or webp; None for png, or for pixels where the format holds those (npz, idx).
        split: train or test, which the files are called by.
        shard_size: images in a shard, at most.
        workers: processes, each with its own copy of the model. With more than one, call this below
            `if __name__ == "__main__"`, as Python's multiprocessing asks.
        engine: local, or ray: one task a shard.
        device: auto, cpu, cuda or cuda:N.
        c2pa_key, c2pa_cert: PEM files of a private key and its certificate chain, to sign picture files with Content
            Credentials (extra `c2pa`); None for files without. Signed files are not the same bytes in another run.
        echo: is called with lines about the progress; None prints nothing.
    Raises: InputError, ModelNotFoundError, ExportError; FileError when the key or its certificates are unusable.
    """
    try:
        store.find_model(model, "model")
    except ModelNotFoundError:
        bundled = store.find_bundled(model)
        if bundled is None:
            raise
        store.install(bundled)
    return export_dataset(
        model,
        count=count,
        out=os.fspath(out),
        format=format,
        seed=seed,
        index=index,
        labels=labels,
        psi=psi,
        image_format=image_format,
        split=split,
        shard_size=shard_size,
        workers=workers,
        engine=engine,
        device=device,
        c2pa_key=None if c2pa_key is None else Path(c2pa_key),
        c2pa_cert=None if c2pa_cert is None else Path(c2pa_cert),
        echo=echo,
    )
