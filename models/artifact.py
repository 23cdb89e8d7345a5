"""Artifact folders: write, check and load them.

    generator.onnx         the generator for onnxruntime: what the CPU runs; artifacts of schema 1 have none
    generator.ts           the generator as TorchScript: what a GPU runs
    generator.safetensors  the weights, should TorchScript go; manifest.json says how to build around them
    golden.npz             addresses and their pixels, checked at every load
    samples.png            a picture for people
    card.md                the model card, for people; older artifacts have none
    directions.json        directions of the latent space, which the manifest names (models.directions); optional
    units.json             what the feature maps do (models.units); optional
    training.safetensors   networks to start a training from (ganmint train --init); optional
    manifest.json          the manifest; holds the hashes of the other files

Torch is imported only to write or load a generator. Not here: how it runs (models.runtime), the store (models.store).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models import images, signing
from models.address import Address
from models.artifact_files import CARD as CARD
from models.artifact_files import (
    DIRECTIONS,
    ONNX_FILE,
    OPTIONAL,
    TORCHSCRIPT_FILE,
    ArtifactFiles,
    check_hashes,
    read_files,
)
from models.artifact_files import FILES as FILES
from models.artifact_files import GOLDEN as GOLDEN
from models.artifact_files import SAMPLES as SAMPLES
from models.artifact_files import TRAINING_STATE as TRAINING_STATE
from models.artifact_files import WEIGHTS as WEIGHTS
from models.artifact_files import list_files as list_files
from models.directions import parse_directions
from models.errors import ArtifactError
from models.files import sha256, sync_folder, write_atomically
from models.goldens import choose_goldens, compare_goldens, parse_goldens, write_goldens
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

    def add(self, name: str, content: bytes) -> None:
        """Add one of the files that an artifact may have (`models.artifact_files.OPTIONAL`)."""
        write_atomically(self._temporary_dir / name, content)

    def commit(self, manifest: Manifest) -> Manifest:
        """Write the manifest and the model card, check the whole artifact, and move it to its folder.

        Args: manifest, such as the draft's with scores; its hashes are filled in here.
        Returns: the manifest as written.
        Raises: ArtifactError.
        """
        draft_dir = self._temporary_dir
        (draft_dir / CARD).write_text(render_model_card(manifest), encoding="utf-8")
        names = [*list_files(manifest), *(name for name in OPTIONAL if (draft_dir / name).is_file())]
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

    with _make_hidden_folder(folder) as temporary_dir:
        torchscript.write_torchscript(generator, temporary_dir / SCRIPT)
        torchscript.write_weights(generator, temporary_dir / WEIGHTS)
        onnx_graph.write_onnx(
            GeneratorConfig.model_validate(manifest.network), temporary_dir / WEIGHTS, temporary_dir / ONNX_FILE
        )
        manifest = measuring.set_batch_sizes(temporary_dir, manifest, batch_size)
        sampler = Sampler(load_runtime(read_files(temporary_dir), manifest, "cpu", "onnx"), manifest)
        addresses = choose_goldens(manifest)
        _set_padding(sampler, addresses)
        write_goldens(sampler, addresses, temporary_dir / GOLDEN)
        _write_samples(sampler, temporary_dir / SAMPLES)
        yield Draft(sampler, temporary_dir, folder)


@contextmanager
def draft_revision(files: ArtifactFiles, manifest: Manifest, folder: Path) -> Iterator[Draft]:
    """Write an artifact with the generator and the optional files of another; `Draft.commit` publishes it.

    Args:
        files: the other, checked (`read`).
        manifest: of the new one: the other's with another version, and with what is to be added.
        folder: as for `draft`.
    Raises: ArtifactError, as `load_files` does, too.
    """
    loaded = load_files(files, "cpu", "onnx")
    with _make_hidden_folder(folder) as temporary_dir:
        for name in files.manifest.files.keys() - {TRAINING_STATE}:
            write_atomically(temporary_dir / name, files.get(name))
        sampler = Sampler(loaded.runtime, manifest)
        addresses = [replace(address, version=manifest.version) for address in parse_goldens(files)[0]]
        write_goldens(sampler, addresses, temporary_dir / GOLDEN)
        _write_samples(sampler, temporary_dir / SAMPLES)
        yield Draft(sampler, temporary_dir, folder)


@contextmanager
def _make_hidden_folder(folder: Path) -> Iterator[Path]:
    """Make a folder beside one that must not exist; it is removed, unless it was moved there."""
    check_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary_dir = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ArtifactError(folder, f"cannot be written: {error.strerror or error}; choose another folder") from None
    try:
        yield temporary_dir
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
    loaded = load_runtime(files, manifest, device, runtime or read_runtime_choice())
    sampler = Sampler(loaded, manifest, levels, _read_directions(files))
    goldens = parse_goldens(files)
    _set_padding(sampler, goldens[0])
    compare_goldens(sampler, *goldens, files.folder / GOLDEN)
    return sampler


def _read_directions(files: ArtifactFiles) -> dict[str, NDArray[np.float32]]:
    manifest = files.manifest
    if not manifest.directions:
        return {}
    return parse_directions(
        files.get(DIRECTIONS), files.folder / DIRECTIONS, manifest.directions, manifest.latents.z_dim
    )


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


def digest(folder: Path) -> str:
    """Return the artifact's identity: the sha256 of its manifest, which holds the hashes of all else."""
    return sha256(folder / MANIFEST_FILE)


def _write_samples(sampler: Sampler, path: Path) -> None:
    """Write an uncurated grid of seed 0: one class per column if classes are few."""
    manifest = sampler.manifest
    columns = images.class_grid_columns(len(manifest.class_names))
    addresses = manifest.addresses(
        seed=0, n=columns * images.GRID_ROWS, labels="balanced" if manifest.class_names else None
    )
    pixels = images.grid(sampler.mint(addresses), columns)
    write_atomically(path, images.encode(pixels, "image/png", "\n".join(map(str, addresses))))
