"""What a run starts from (`--init`): the networks of another run or model, and the record of where they come from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch

from models import artifact, store
from models.errors import ArtifactError, InputError
from models.evidence import Ancestor, DataInfo
from models.files import sha256
from models.manifest import MANIFEST_FILE
from training.runs import checkpoint, run_dir
from training.runs.provenance import read_provenance

OPTION = "--init"
# In the metadata of training.safetensors, which is of a run's newest checkpoint, whichever is published.
IMAGES_SHOWN = "images_shown"


@dataclass(frozen=True)
class Start:
    """What a new run starts from.

    Attributes:
        state: for Trainer.start_from.
        class_names: those of its training data.
        ancestors: it, then what it started from itself, and so on.
    """

    state: dict[str, Any]
    class_names: tuple[str, ...]
    ancestors: tuple[Ancestor, ...]


def read_start(source: str, device: str = "cpu") -> Start:
    """Read the newest checkpoint of a run, or a published model: its training state, or its generator if it has none.

    Args:
        source: a run's folder, a model's folder, or a model's name or name/version.
        device: where the tensors go.
    Raises: InputError, FileError, CheckpointError, ArtifactError, ModelNotFoundError.
    """
    path = Path(source)
    if run_dir.is_run(path):
        return _read_run(source, path, device)
    if path.is_dir() and not (path / MANIFEST_FILE).is_file():
        raise InputError(f"{source} holds no checkpoint; give the folder of a run, or a model", OPTION)
    if not path.exists() and len(path.parts) > 2:
        raise InputError(f"there is no {source}; give the folder of a run, or a model", OPTION)
    return _read_model(store.find_artifact(source, OPTION), device)


def check_same(source: str, ancestors: tuple[Ancestor, ...], out: Path) -> None:
    """Check that a run that is resumed started from the source that is given again.

    Raises: InputError.
    """
    if not ancestors:
        raise InputError(f"{out} holds a run that started from nothing; leave it out, or give another --out", OPTION)
    started_from = ancestors[0]
    if source != started_from.source and _digest(source) != started_from.digest:
        raise InputError(
            f"{out} holds a run that started from {started_from.source}, not from {source}; leave it out to resume, or "
            "give another --out",
            OPTION,
        )


def check_class_names(start: Start, class_names: tuple[str, ...], source: str) -> None:
    """Check that the classes are those that the networks have learnt.

    Raises: InputError.
    """
    if start.class_names != class_names:
        theirs, ours = (", ".join(names[:12]) or "none" for names in (start.class_names, class_names))
        use = "if each class is to take the place of the one with its number"
        if len(start.class_names) != len(class_names):
            use = "to keep all but what it knows of the classes"
        raise InputError(
            f"{source} was trained on other classes ({theirs}) than the data's ({ours}); give --other-classes {use}",
            OPTION,
        )


def _read_run(source: str, run: Path, device: str) -> Start:
    path = checkpoint.latest_path(run)
    if path is None:
        raise InputError(f"{source} holds no checkpoint; give the folder of a run, or a model", OPTION)
    state = checkpoint.load(path, device)
    provenance = read_provenance(run)
    own = Ancestor(
        source=source,
        digest=sha256(path),
        kimg=state["trainer"]["images_shown"] / 1000,
        command=provenance.command,
        config=run_dir.read_config(run).model_dump(mode="json"),
        data=to_data_info(state["data"]),
        test_evaluations=len(provenance.test_evaluations),
    )
    return Start(state["trainer"], tuple(state["data"]["label_names"]), (own, *provenance.ancestors))


def _read_model(folder: Path, device: str) -> Start:
    files = artifact.read(folder)
    manifest = files.manifest
    title = f"{manifest.name}/{manifest.version}"
    path = store.find_training_state(folder)
    digest = manifest.files[artifact.TRAINING_STATE if path else artifact.WEIGHTS]
    data = path.read_bytes() if path else files.get(artifact.WEIGHTS)
    if path and hashlib.sha256(data).hexdigest() != digest:
        raise ArtifactError(path, "was changed while it was read; install the model again")
    tensors = {name: tensor.to(device) for name, tensor in safetensors.torch.load(data).items()}
    own = Ancestor(
        source=title,
        digest=digest,
        kimg=_read_kimg(data) or manifest.training.kimg,
        command=manifest.training.command,
        config=manifest.training.config,
        data=manifest.training.data,
        test_evaluations=manifest.training.test_evaluations or 0,
    )
    # A trainer's generator has no learned prior, which is fitted after training.
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith("prior.")}
    state = unpack(weights) if path else {"G": weights}
    return Start(state, manifest.class_names, (own, *manifest.training.ancestors))


def _read_kimg(content: bytes) -> float | None:
    """Return what a safetensors file says of its training; None for a generator, and in older files."""
    # A length, then so many bytes of JSON, then the tensors.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    images_shown = header.get("__metadata__", {}).get(IMAGES_SHOWN)
    return int(images_shown) / 1000 if images_shown else None


def to_data_info(data: dict[str, Any]) -> DataInfo:
    """Return what a checkpoint states about its data, as a manifest holds it."""
    return DataInfo(**{name: data[name] for name in DataInfo.model_fields if name in data})


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Return the networks of a trainer's state as flat half-precision tensors."""
    networks = {"G": state["G"], "D": state["D"]}
    if state.get("encoder"):
        networks["E"] = state["encoder"]["E"]
    return {
        f"{network}.{name}": tensor.half().contiguous() if tensor.is_floating_point() else tensor.contiguous()
        for network, tensors in networks.items()
        for name, tensor in tensors.items()
    }


def pack_file(state: dict[str, Any]) -> bytes:
    """Return what `pack` packs, and the images that its training has shown, as a safetensors file."""
    content: bytes = safetensors.torch.save(pack(state), {IMAGES_SHOWN: str(state["images_shown"])})
    return content


def unpack(tensors: dict[str, Any]) -> dict[str, Any]:
    """Return what `pack` packed as a state for Trainer.start_from."""
    networks: dict[str, dict[str, Any]] = {"G": {}, "D": {}, "E": {}}
    for key, tensor in tensors.items():
        network, _, name = key.partition(".")
        networks[network][name] = tensor
    return {"G": networks["G"], "D": networks["D"], "encoder": {"E": networks["E"]} if networks["E"] else {}}


def _digest(source: str) -> str:
    try:
        return read_start(source).ancestors[0].digest
    except InputError:
        return ""
