"""Artifact folders: export, verify, load.

Knows: the folder's files, their hashes and goldens, TorchScript (the only user of torch.jit), and how
the fixed batch size is measured. Does not know: architectures, training, the model store.

    generator.ts           TorchScript: what is served
    generator.safetensors  the weights, should TorchScript go; manifest.json says how to build around them
    golden.npz             addresses and their pixels, checked at every load
    samples.png            a picture for people
    card.md                the card for people; older artifacts have none
    manifest.json          the card; holds the hashes of the other files
"""

from __future__ import annotations

import io
import shutil
import statistics
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from models import images, manifest
from models.address import Address
from models.errors import ArtifactError, InputError
from models.files import sha256, sync_folder, write_atomically
from models.latents import MAX_INTEGER
from models.manifest import DeviceClass, Manifest
from models.model_card import markdown
from models.sampler import Sampler

SCRIPT, WEIGHTS, GOLDEN, SAMPLES, CARD = (
    "generator.ts", "generator.safetensors", "golden.npz", "samples.png", "card.md"
)  # fmt: skip
FILES = (SCRIPT, WEIGHTS, GOLDEN, SAMPLES)
# Bytes are promised within a runtime fingerprint; between two, outputs may differ by rounding.
GOLDEN_TOLERANCE = 1
CPU_CANDIDATES = (1, 2, 4, 8, 16, 32)
CUDA_CANDIDATES = (16, 32, 64, 128, 256)
# Taken where no GPU is at hand to measure on.
CUDA_DEFAULT = 64
WITHIN_BEST = 0.95
MEASURE_S = 0.1
MEASURE_ROUNDS = 9


def as_drafted(sampler: Sampler) -> Manifest:
    """Nothing to add to the card."""
    return sampler.manifest


def export(
    generator: nn.Module,
    draft: Manifest,
    folder: Path,
    batch_size: int | None = None,
    judged: Callable[[Sampler], Manifest] = as_drafted,
) -> Manifest:
    """Write an artifact folder and prove that it loads.

    Args:
        generator: on the CPU, scriptable; see `models.sampler.Sampler` for its signature.
        draft: the card; its batch sizes and file hashes are filled in here.
        folder: where to; must not exist. It appears whole or not at all.
        batch_size: for the CPU, instead of measuring. With it, another export of the same generator has the
            same weights, goldens and pixels; generator.ts may differ in the order of its constants.
        judged: the card with what is to be said of what was exported; if it raises, nothing is written.
    Returns: the card as written.
    Raises: ArtifactError.
    """
    check_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ArtifactError(folder, f"cannot be written: {error.strerror or error}") from None
    try:
        _write_script(generator, aside / SCRIPT)
        (aside / WEIGHTS).write_bytes(safetensors.torch.save(dict(generator.state_dict())))
        sizes, measured = _batch_sizes(aside / SCRIPT, draft, batch_size)
        card = draft.model_copy(update={"batch_size": sizes, "batch_size_measured": measured})
        sampler = Sampler(_script(aside / SCRIPT, "cpu"), card)
        _write_goldens(sampler, aside / GOLDEN)
        _write_samples(sampler, aside / SAMPLES)
        card = judged(sampler)
        (aside / CARD).write_text(markdown(card), encoding="utf-8")
        card = card.model_copy(update={"files": {name: sha256(aside / name) for name in (*FILES, CARD)}})
        write_atomically(aside / manifest.FILE_NAME, manifest.dump(card))
        load(aside)
        aside.chmod(0o755)
        aside.replace(folder)
        sync_folder(folder.parent)
        return card
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_free(folder: Path) -> None:
    """Whether an artifact can be written there.

    Raises: ArtifactError.
    """
    if folder.exists():
        raise ArtifactError(folder, "exists already; artifacts are never changed")


def load(folder: Path, device: str = "cpu") -> Sampler:
    """A sampler of the artifact, after every check.

    Hashes are checked before TorchScript reads its file, because loading one can run code.

    Args: folder, an artifact; device, a torch device name.
    Raises: ArtifactError naming the file at fault and what to do.
    """
    card = check_files(folder)
    if missing := {"cpu", "cuda"} - card.batch_size.keys():
        raise ArtifactError(folder / manifest.FILE_NAME, f"names no batch_size for {min(missing)}")
    sampler = Sampler(_script(folder / SCRIPT, device), card, device)
    check_goldens(sampler, folder / GOLDEN)
    return sampler


def check_files(folder: Path) -> Manifest:
    """The card of an artifact whose files all have the hashes that the card names.

    Raises: ArtifactError.
    """
    card = manifest.read(folder)
    for name in sorted({*FILES, *card.files}):
        path = folder / name
        if name not in (*FILES, CARD):
            raise ArtifactError(folder / manifest.FILE_NAME, f"names {name!r}, which is no file of an artifact")
        if name not in card.files:
            raise ArtifactError(folder / manifest.FILE_NAME, f"names no hash for {name}")
        if not path.is_file():
            raise ArtifactError(path, "is missing; install the model again from where it was published")
        if sha256(path) != card.files[name]:
            raise ArtifactError(
                path,
                "does not have the hash that manifest.json names: it was changed or damaged, and was not "
                "loaded; install the model again from where it was published",
            )
    return card


def check_goldens(sampler: Sampler, path: Path) -> int:
    """The largest difference, 0 .. 255, between the golden pixels and what is minted here.

    Raises: ArtifactError when it is more than 1.
    """
    try:
        # Opened here, because NumPy leaves its own file open when the archive is bad.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            addresses = [sampler.manifest.check(Address.parse(str(text))) for text in archive["addresses"]]
            expected: NDArray[np.uint8] = archive["pixels"]
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, InputError) as error:
        raise ArtifactError(path, f"cannot be read: {error}; install the model again") from None
    minted = sampler.mint(addresses)
    if minted.shape != expected.shape or not len(addresses):
        raise ArtifactError(path, f"holds pixels of shape {expected.shape}, the generator makes {minted.shape}")
    worst = int(np.abs(minted.astype(np.int16) - expected).max())
    if worst > GOLDEN_TOLERANCE:
        raise ArtifactError(
            path,
            f"does not match what this machine makes: off by up to {worst} of 255 (at most "
            f"{GOLDEN_TOLERANCE} is allowed) on {sampler.fingerprint}; do not serve this model here",
        )
    return worst


def digest(folder: Path) -> str:
    """The artifact's identity: the sha256 of its manifest, which holds the hashes of all else."""
    return sha256(folder / manifest.FILE_NAME)


def _script(path: Path, device: str) -> Any:
    with _no_deprecation():
        try:
            module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise ArtifactError(path, f"is not TorchScript: {str(error).splitlines()[0]}") from None
        return torch.jit.freeze(module.eval())


def _write_script(generator: nn.Module, path: Path) -> None:
    buffer = io.BytesIO()
    with _no_deprecation():
        torch.jit.save(torch.jit.script(generator.cpu().eval()), buffer)
    path.write_bytes(_without_traces(buffer.getvalue()))


def _without_traces(script: bytes) -> bytes:
    """The archive without its debug records, which hold paths of this machine, and their hash."""
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(script)) as source, zipfile.ZipFile(kept, "w") as target:
        for name in source.namelist():
            if not name.endswith((".debug_pkl", "/serialization_id")):
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    return kept.getvalue()


@contextmanager
def _no_deprecation() -> Iterator[None]:
    """TorchScript is deprecated without a removal date; the safetensors file is the way out."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=DeprecationWarning)
        yield


def _batch_sizes(
    script: Path, draft: Manifest, cpu: int | None
) -> tuple[dict[DeviceClass, int], dict[DeviceClass, bool]]:
    gpu = torch.cuda.is_available()
    sizes: dict[DeviceClass, int] = {
        "cpu": cpu or fastest_batch(script, draft, "cpu", CPU_CANDIDATES),
        "cuda": fastest_batch(script, draft, "cuda", CUDA_CANDIDATES) if gpu else CUDA_DEFAULT,
    }
    return sizes, {"cpu": cpu is None, "cuda": gpu}


def fastest_batch(script: Path, card: Manifest, device: str, candidates: tuple[int, ...]) -> int:
    """The smallest batch size whose median images/s is within 5 % of the best candidate's."""
    module = _script(script, device)
    samplers = [Sampler(module, card, device, size) for size in candidates]
    rates: list[list[float]] = [[] for _ in samplers]
    for round_number in range(MEASURE_ROUNDS + 1):
        for sampler, seen in zip(samplers, rates):
            rate = _images_per_second(sampler)
            # The first round warms up.
            if round_number:
                seen.append(rate)
    medians = [statistics.median(seen) for seen in rates]
    best = max(medians)
    return next(size for size, median in zip(candidates, medians) if median >= WITHIN_BEST * best)


def _images_per_second(sampler: Sampler) -> float:
    addresses = sampler.manifest.addresses(seed=0, n=sampler.batch_size)
    started, minted = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < MEASURE_S:
        sampler.mint(addresses)
        minted += len(addresses)
    return minted / elapsed


def _write_goldens(sampler: Sampler, path: Path) -> None:
    """Ordinary addresses, one far corner of the address space, and a truncated one where allowed."""
    card = sampler.manifest
    addresses = card.addresses(seed=0, n=max(12, min(len(card.labels), 24)), labels="balanced" if card.labels else None)
    addresses += card.addresses(seed=MAX_INTEGER, index=MAX_INTEGER)
    if card.truncation:
        addresses += card.addresses(seed=1, psi=0.5)
    np.savez_compressed(path, addresses=np.array([str(a) for a in addresses]), pixels=sampler.mint(addresses))


def _write_samples(sampler: Sampler, path: Path) -> None:
    """Write an uncurated grid of seed 0: one class per column if classes are few."""
    card = sampler.manifest
    columns = images.class_grid_columns(len(card.labels))
    addresses = card.addresses(seed=0, n=columns * images.GRID_ROWS, labels="balanced" if card.labels else None)
    pixels = images.grid(sampler.mint(addresses), columns)
    write_atomically(path, images.encode(pixels, "image/png", "\n".join(map(str, addresses))))
