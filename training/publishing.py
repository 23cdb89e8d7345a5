"""From a finished run to a version in the model store.

Knows: how a checkpoint and a configuration become a card, and that an artifact is proved before it
is published. Does not know: training steps, TorchScript, the store's layout.
"""

from __future__ import annotations

import subprocess
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from models import artifact, store
from models.address import check_name, check_version
from models.errors import CheckpointError, FileError, InputError, VersionExistsError
from models.manifest import DataCard, ImageShape, Latents, Manifest, TrainingCard
from models.networks import GeneratorConfig, generator
from models.store import Stored
from training import checkpoint, run_folder
from training.config import load_config

# What weights may be used for follows from the data; the code's own licence does not settle it.
DEFAULT_LICENCE = "as the training data's: {}"


def publish(
    run: Path,
    name: str,
    version: str | None = None,
    batch_size: int | None = None,
    licence: str | None = None,
    to: Path | None = None,
) -> Stored:
    """Export the run's averaged generator and put it into the model store.

    Args:
        run: a run folder with at least one checkpoint; training need not be over.
        name, version: what it will be called; the version defaults to the next major one.
        batch_size: the CPU's fixed batch, instead of measuring it.
        licence: of the weights; by default the training data's.
        to: write the artifact to this folder (which must not exist) instead of the store.
    Returns: where it now is.
    Raises: InputError, CheckpointError, ArtifactError, VersionExistsError, FileError.
    """
    check_name(name, "--name")
    version = check_version(version, "--version") if version else store.next_version(name)
    if to is None and any(stored.version == version for stored in store.versions(name)):
        raise VersionExistsError(
            f"the store already has {name} {version}; a published version never changes: "
            f"leave --version out to publish as {store.next_version(name)}"
        )
    state = _newest_state(run)
    config = GeneratorConfig.model_validate(state["generator"])
    if config.shape[0] not in (1, 3) or config.shape[1:] == (1, 1):
        raise InputError(f"{run} holds a toy run that makes no images; only image runs can be published", "RUN")
    network = generator(config)
    network.load_state_dict(state["trainer"]["ema"])
    card = _card(run, name, version, licence, state, config)
    if to is not None:
        artifact.export(network, card, to, batch_size)
        return Stored(name, version, to)
    with tempfile.TemporaryDirectory(prefix="ganmint-publish-") as aside:
        artifact.export(network, card, Path(aside) / name, batch_size)
        return store.install(Path(aside) / name)


def _newest_state(run: Path) -> dict[str, Any]:
    if not (run / "config.yaml").is_file():
        raise FileError(run, "holds no run (no config.yaml); give the --out folder of a ganmint train")
    found = checkpoint.present(run)
    if not found:
        raise CheckpointError(run, "has no checkpoint yet: no tick was finished; run ganmint train again")
    return checkpoint.load(found[-1])


def _card(
    run: Path, name: str, version: str, licence: str | None, state: dict[str, Any], config: GeneratorConfig
) -> Manifest:
    settings = load_config(run / "config.yaml")
    origin = run_folder.origin(run)
    data = state["data"]
    channels, height, width = config.shape
    return Manifest(
        name=name,
        version=version,
        description=settings.description,
        licence=licence or DEFAULT_LICENCE.format(data["licence"]),
        image=ImageShape.model_validate({"channels": channels, "height": height, "width": width}),
        latents=Latents(z_dim=config.z_dim),
        labels=tuple(data["label_names"]),
        truncation=True,
        # Both are measured by the export.
        batch_size={},
        batch_size_measured={},
        network=config.model_dump(mode="json"),
        training=TrainingCard(
            command=origin["command"],
            code_version=code_version(),
            torch=origin["torch"],
            device=origin["device"],
            kimg=state["trainer"]["images_shown"] / 1000,
            config=settings.model_dump(mode="json"),
            data=DataCard(**{k: data[k] for k in DataCard.model_fields if k in data}),
        ),
    )


def code_version() -> str:
    """The package's version, with the commit where the sources lie in a git checkout."""
    package = metadata.version("ganmint")
    here = Path(__file__).parent
    if not (here.parent / ".git").exists():
        return package
    described = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return f"{package}+{described.stdout.strip()}" if described.returncode == 0 and described.stdout else package
