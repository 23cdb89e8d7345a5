"""Artifact folders: write, check and load them.

    generator.onnx         the generator for onnxruntime: what the CPU runs; artifacts of schema 1 have none
    generator.ts           the generator as TorchScript: what a GPU runs
    generator.safetensors  the weights, should TorchScript go; manifest.json says how to build around them
    golden.npz             addresses and their pixels, checked at every load
    samples.png            a picture for people
    card.md                the model card, for people; older artifacts have none
    training.safetensors   networks to start a training from (ganmint train --init); optional
    manifest.json          the manifest; holds the hashes of the other files

Torch is imported only to write or load a generator. Not here: how it runs (models.runtime), the store (models.store).
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models import images, signing
from models.address import Address
from models.artifact_files import CARD as CARD
from models.artifact_files import FILES as FILES
from models.artifact_files import GOLDEN as GOLDEN
from models.artifact_files import ONNX_FILE, TORCHSCRIPT_FILE, ArtifactFiles, check_hashes, read_files
from models.artifact_files import SAMPLES as SAMPLES
from models.artifact_files import TRAINING_STATE as TRAINING_STATE
from models.artifact_files import WEIGHTS as WEIGHTS
from models.artifact_files import list_files as list_files
from models.errors import ArtifactError, InputError
from models.files import sha256, sync_folder, write_atomically
from models.latents import MAX_INTEGER
from models.manifest import MANIFEST_FILE, Manifest, dump_manifest
from models.model_card import render_model_card
from models.network_config import GeneratorConfig
from models.runtime.loading import RuntimeChoice, load_runtime, read_runtime_choice
from models.runtime.onnx import OnnxRuntime
from models.runtime.onnx_levels import OnnxLevels
from models.runtime.proof import is_batch_independent
from models.sampler import Sampler
from models.signing import Trust

if TYPE_CHECKING:
    from torch import nn

SCRIPT = TORCHSCRIPT_FILE
# Bytes are promised within a runtime fingerprint; between two, outputs may differ by rounding.
GOLDEN_TOLERANCE = 1


class Draft:
    """An artifact that is not published yet: a hidden folder without its manifest and model card.

    Attributes:
        sampler: mints what the artifact will mint.
    """

    def __init__(self, sampler: Sampler, temporary_dir: Path, folder: Path) -> None:
        self.sampler = sampler
        self._temporary_dir = temporary_dir
        self._folder = folder

    @property
    def manifest(self) -> Manifest:
        """The manifest that was given, with the batch sizes."""
        return self.sampler.manifest

    def add_training_state(self, content: bytes) -> None:
        """Add what a training can start from; the bytes of a safetensors file."""
        write_atomically(self._temporary_dir / TRAINING_STATE, content)

    def commit(self, manifest: Manifest) -> Manifest:
        """Write the manifest and the model card, check the whole artifact, and move it to its folder.

        Args: manifest, such as the draft's with scores; its hashes are filled in here.
        Returns: the manifest as written.
        Raises: ArtifactError.
        """
        draft_dir = self._temporary_dir
        (draft_dir / CARD).write_text(render_model_card(manifest), encoding="utf-8")
        names = [*list_files(manifest), CARD]
        if (draft_dir / TRAINING_STATE).is_file():
            names.append(TRAINING_STATE)
        hashes = {name: sha256(draft_dir / name) for name in names}
        manifest = manifest.model_copy(update={"files": hashes})
        write_atomically(draft_dir / MANIFEST_FILE, dump_manifest(manifest))
        # Both runtimes must make the goldens. Nobody can have signed it yet.
        files = read(draft_dir, signing.ANY)
        load_files(files, runtime="torchscript")
        load_files(files, runtime="onnx")
        draft_dir.chmod(0o755)
        draft_dir.replace(self._folder)
        sync_folder(self._folder.parent)
        return manifest


@contextmanager
def draft(generator: nn.Module, manifest: Manifest, folder: Path, batch_size: int | None = None) -> Iterator[Draft]:
    """Write an artifact that `Draft.commit` publishes; without a commit nothing is left.

    Args:
        generator: on the CPU, scriptable; see `models.runtime.torchscript.Generator` for its signature.
        manifest: its batch sizes and file hashes are filled in here.
        folder: where to; must not exist. It appears whole or not at all.
        batch_size: for the CPU, instead of measuring. With it, another export of the same generator has the
            same weights, goldens and pixels; generator.ts may differ in the order of its constants.
    Raises: ArtifactError.
    """
    from models import batch_size as measuring
    from models.runtime import onnx_graph, torchscript

    check_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary_dir = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ArtifactError(folder, f"cannot be written: {error.strerror or error}; choose another folder") from None
    try:
        torchscript.write_torchscript(generator, temporary_dir / SCRIPT)
        torchscript.write_weights(generator, temporary_dir / WEIGHTS)
        onnx_graph.write_onnx(
            GeneratorConfig.model_validate(manifest.network), temporary_dir / WEIGHTS, temporary_dir / ONNX_FILE
        )
        manifest = measuring.set_batch_sizes(temporary_dir, manifest, batch_size)
        sampler = Sampler(load_runtime(read_files(temporary_dir), manifest, "cpu", "onnx"), manifest)
        addresses = _choose_goldens(manifest)
        _set_padding(sampler, addresses)
        _write_goldens(sampler, addresses, temporary_dir / GOLDEN)
        _write_samples(sampler, temporary_dir / SAMPLES)
        yield Draft(sampler, temporary_dir, folder)
    finally:
        shutil.rmtree(temporary_dir, ignore_errors=True)


def export(generator: nn.Module, manifest: Manifest, folder: Path, batch_size: int | None = None) -> Manifest:
    """Write an artifact with nothing to add to its manifest; arguments and errors as for `draft`.

    Returns: the manifest as written.
    """
    with draft(generator, manifest, folder, batch_size) as written:
        return written.commit(written.manifest)


def check_free(folder: Path) -> None:
    """Check that an artifact can be written there.

    Raises: ArtifactError.
    """
    if folder.exists():
        raise ArtifactError(folder, "exists already; artifacts are never changed")


def read(folder: Path, trust: Trust | None = None) -> ArtifactFiles:
    """Read an artifact once and check its signature and its hashes. Whoever loads an artifact reads it by this.

    Args:
        folder: an artifact.
        trust: whose signature it must have; by default, what GANMINT_REQUIRE_SIGNED and GANMINT_PUBLIC_KEY say.
    Raises:
        SignatureError, ArtifactError: naming the file at fault and what to do.
        FileError: a key or a file cannot be read now.
        InputError: a variable is wrong.
    """
    files = read_files(folder)
    # The signature comes first, because the next steps read files that anyone may have written.
    (signing.read_trust() if trust is None else trust).check(files)
    check_hashes(files)
    return files


def load(folder: Path, device: str = "cpu", runtime: RuntimeChoice | None = None) -> Sampler:
    """Read an artifact as `read` does and load it as `load_files` does; arguments and errors as theirs."""
    return load_files(read(folder), device, runtime)


def load_files(files: ArtifactFiles, device: str = "cpu", runtime: RuntimeChoice | None = None) -> Sampler:
    """Load an artifact whose files were checked, because loading TorchScript can run code, and check its goldens.

    Args:
        files: from `read`.
        device: cpu, cuda or cuda:N.
        runtime: what runs it; by default, what GANMINT_RUNTIME names.
    Raises:
        ArtifactError: naming the file at fault and what to do.
        InputError, GanmintError: the runtime cannot be had here.
    """
    manifest = files.manifest
    if missing := {"cpu", "cuda"} - manifest.batch_size.keys():
        raise ArtifactError(files.folder / MANIFEST_FILE, f"names no batch_size for {min(missing)}")
    levels = None
    if manifest.schema_version >= 2:
        levels = OnnxLevels(files.get(ONNX_FILE), files.folder / ONNX_FILE, manifest)
    sampler = Sampler(load_runtime(files, manifest, device, runtime or read_runtime_choice()), manifest, levels)
    goldens = parse_goldens(files)
    _set_padding(sampler, goldens[0])
    _compare_goldens(sampler, *goldens, files.folder / GOLDEN)
    return sampler


def _set_padding(sampler: Sampler, addresses: Sequence[Address]) -> None:
    """Find out whether the runtime needs full batches on this processor."""
    if isinstance(sampler.runtime, OnnxRuntime):
        z, class_weights = sampler.draw_inputs(addresses)
        # Every other one mixes two classes, as addresses may: a product with a one-hot row rounds nothing.
        mixed = np.float32(0.7) * class_weights + np.float32(0.3) * np.roll(class_weights, 1, axis=0)
        class_weights[1::2] = mixed[1::2]
        sampler.runtime.needs_padding = not is_batch_independent(sampler.runtime, z, class_weights)


def check_files(folder: Path) -> Manifest:
    """Check the hash of every file of an artifact that minting needs, so not of the training state.

    Returns: its manifest.
    Raises: ArtifactError, FileError naming the file.
    """
    return check_hashes(read_files(folder))


def check_goldens(sampler: Sampler, files: ArtifactFiles) -> int:
    """Mint the golden addresses again and compare the pixels.

    Returns: the largest difference, 0 .. 255.
    Raises: ArtifactError when it is more than 1.
    """
    return _compare_goldens(sampler, *parse_goldens(files), files.folder / GOLDEN)


def parse_goldens(files: ArtifactFiles) -> tuple[list[Address], NDArray[np.uint8]]:
    """Return the golden addresses and their pixels, uint8 (n, H, W, C).

    Raises: ArtifactError.
    """
    path = files.folder / GOLDEN
    try:
        with np.load(io.BytesIO(files.get(GOLDEN)), allow_pickle=False) as archive:
            addresses = [files.manifest.check(Address.parse(str(text))) for text in archive["addresses"]]
            pixels: NDArray[np.uint8] = archive["pixels"]
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, InputError) as error:
        raise ArtifactError(path, f"cannot be read: {error}; install the model again") from None
    if not addresses:
        raise ArtifactError(path, "holds no golden; install the model again")
    return addresses, pixels


def _compare_goldens(sampler: Sampler, addresses: list[Address], expected: NDArray[np.uint8], path: Path) -> int:
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


def digest(folder: Path) -> str:
    """Return the artifact's identity: the sha256 of its manifest, which holds the hashes of all else."""
    return sha256(folder / MANIFEST_FILE)


def _choose_goldens(manifest: Manifest) -> list[Address]:
    """Return ordinary addresses, one far corner of the address space, and a truncated one where allowed."""
    count = max(12, min(len(manifest.class_names), 24))
    addresses = manifest.addresses(seed=0, n=count, labels="balanced" if manifest.class_names else None)
    addresses += manifest.addresses(seed=MAX_INTEGER, index=MAX_INTEGER)
    if manifest.truncation:
        addresses += manifest.addresses(seed=1, psi=0.5)
    return addresses


def _write_goldens(sampler: Sampler, addresses: Sequence[Address], path: Path) -> None:
    np.savez_compressed(path, addresses=np.array([str(a) for a in addresses]), pixels=sampler.mint(addresses))


def _write_samples(sampler: Sampler, path: Path) -> None:
    """Write an uncurated grid of seed 0: one class per column if classes are few."""
    manifest = sampler.manifest
    columns = images.class_grid_columns(len(manifest.class_names))
    addresses = manifest.addresses(
        seed=0, n=columns * images.GRID_ROWS, labels="balanced" if manifest.class_names else None
    )
    pixels = images.grid(sampler.mint(addresses), columns)
    write_atomically(path, images.encode(pixels, "image/png", "\n".join(map(str, addresses))))
