"""Load what a run has trained so far: its averaged generator and a draft of its manifest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import nn

from models.errors import CheckpointError, InputError
from models.evidence import TrainingInfo, format_kimg
from models.manifest import ImageShape, Latents, Manifest
from models.network_config import GeneratorConfig, Shape
from models.networks import build_generator
from training.config import Config
from training.config_files import list_presets, load_config, load_preset
from training.data.labels import split_class_names
from training.precision import resolve_precision
from training.runs import checkpoint, run_dir, snapshots
from training.runs.ancestry import to_data_info
from training.runs.provenance import read_provenance

# The terms for using weights follow from the data; the licence of the code does not decide them.
DEFAULT_LICENCE = "as the training data's: {}"


@dataclass(frozen=True)
class TrainedRun:
    """The newest checkpoint of a run, or one of its snapshots.

    Attributes:
        path: the run's folder.
        config: the run's configuration.
        network_config: the generator's; its shape is channels, height, width, the latter two 1 for points.
        generator: averaged weights, on the CPU.
        data_info: what the checkpoint states about the training data (training.runs.loop.describe_data).
        kimg: thousand real images shown so far.
    """

    path: Path
    config: Config
    network_config: GeneratorConfig
    generator: nn.Module
    data_info: dict[str, Any]
    kimg: float

    @property
    def title(self) -> str:
        """What reports of it are headed by."""
        return f"{self.path} at {format_kimg(self.kimg)} kimg"

    @property
    def is_image_run(self) -> bool:
        """Whether the generator makes images rather than points."""
        return self.network_config.shape[0] in (1, 3) and self.network_config.shape[1:] != (1, 1)

    def _find_label_values(self) -> dict[str, tuple[str, ...]]:
        """Return what the data said, or for older runs, which did not keep it, what the class names say."""
        if "label_values" in self.data_info:
            return {column: tuple(values) for column, values in self.data_info["label_values"].items()}
        columns = [column.column for column in self.config.data.label_columns]
        return split_class_names(self.data_info["label_names"], columns)

    def draft_manifest(self, name: str, version: str, licence: str | None = None) -> Manifest:
        """Draft the manifest, without batch sizes, scores and files; for an image run only.

        Raises: FileError when run.json is damaged.
        """
        provenance = read_provenance(self.path)
        ancestors = provenance.ancestors
        licences = dict.fromkeys([self.data_info["licence"], *(ancestor.data.licence for ancestor in ancestors)])
        channels, height, width = self.network_config.shape
        return Manifest(
            name=name,
            version=version,
            description=self.config.description,
            licence=licence or DEFAULT_LICENCE.format("; ".join(licences)),
            image=ImageShape.model_validate({"channels": channels, "height": height, "width": width}),
            latents=Latents(z_dim=self.network_config.z_dim),
            class_names=tuple(self.data_info["label_names"]),
            label_values=self._find_label_values(),
            continuous_label=self.config.data.continuous_label,
            truncation=True,
            # The export measures both.
            batch_size={},
            batch_size_measured={},
            network=self.network_config.model_dump(mode="json"),
            training=TrainingInfo(
                command=provenance.command,
                code_version=read_code_version(),
                torch=provenance.torch,
                device=provenance.device,
                kimg=self.kimg,
                config=self.config.model_dump(mode="json"),
                data=to_data_info(self.data_info),
                changed_settings=find_changed_settings(self.config, self.network_config.shape),
                test_evaluations=len(provenance.test_evaluations),
                ancestors=ancestors,
            ),
        )


def load_snapshots(run: Path) -> Iterator[TrainedRun]:
    """Load the snapshots of a run one by one, oldest first, and its newest checkpoint at the end.

    Raises: FileError, CheckpointError.
    """
    latest = load_latest(run)
    for path in snapshots.list_paths(run):
        if checkpoint.count_images(path) < round(latest.kimg * 1000):
            yield _load(run, path)
    yield latest


def load_at(run: Path, kimg: float) -> TrainedRun:
    """Load the snapshot or newest checkpoint of a run at this many thousand images.

    Args: kimg, in full, or to six digits where these mean one state only.
    Raises: InputError naming what there is; FileError, CheckpointError.
    """
    run_dir.require_run(run)
    paths = {checkpoint.count_images(path) / 1000: path for path in snapshots.list_paths(run)}
    if newest := checkpoint.latest_path(run):
        paths[checkpoint.count_images(newest) / 1000] = newest
    # Older versions printed six digits.
    found = [kimg] if kimg in paths else [one for one in paths if float(f"{one:g}") == kimg]
    if len(found) != 1:
        known = ", ".join(map(format_kimg, sorted(paths))) or "none"
        raise InputError(f"{run} has no weights at {kimg} kimg; there are those at {known}", "--checkpoint")
    return _load(run, paths[found[0]])


def find_changed_settings(config: Config, shape: Shape) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ from the preset of this version, with the preset's value and the run's.

    Args: shape, of the images: channels, height, width.
    """
    if config.preset not in list_presets():
        return {}
    compute = (f"compute={config.compute}",) if config.compute else ()
    # A saved precision that the preset leaves open does not differ from it.
    preset = load_preset(config.preset, compute, shape)
    used, default = (
        run_dir.flatten(one.model_dump(mode="json", exclude={"gate", "threads"}))
        for one in (config, resolve_precision(preset, "cpu", config))
    )
    # The base has the run's own, so that what it chooses does not differ.
    default["compute"] = load_preset(config.preset, (), shape).compute
    names = sorted((used.keys() | default.keys()) - run_dir.MUTABLE_FIELDS)
    return {name: (default.get(name), used.get(name)) for name in names if default.get(name) != used.get(name)}


def load_latest(run: Path) -> TrainedRun:
    """Load the newest checkpoint of a run; training need not be finished.

    Args: run, the run's folder.
    Raises: FileError, CheckpointError.
    """
    run_dir.require_run(run)
    path = checkpoint.latest_path(run)
    if path is None:
        raise CheckpointError(run, "has no checkpoint yet: no tick was finished; run ganmint train again")
    return _load(run, path)


def _load(run: Path, path: Path) -> TrainedRun:
    state = checkpoint.load(path)
    if not state["trainer"]["images_shown"]:
        raise CheckpointError(path, "is what the run started from: no tick was finished; run ganmint train again")
    network_config = GeneratorConfig.model_validate(state["generator"])
    averaged = build_generator(network_config)
    prior = {f"prior.{name}": weight for name, weight in state.get("prior", {}).items()}
    averaged.load_state_dict({**state["trainer"]["ema"], **prior})
    return TrainedRun(
        path=run,
        config=load_config(run / run_dir.CONFIG_FILE),
        network_config=network_config,
        generator=averaged.eval(),
        data_info=state["data"],
        kimg=state["trainer"]["images_shown"] / 1000,
    )


def read_code_version() -> str:
    """Return the package's version, followed by the commit if the sources are in a git checkout."""
    version = metadata.version("ganmint")
    folder = Path(__file__).parent
    if not (folder.parents[1] / ".git").exists():
        return version
    described = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return f"{version}+{described.stdout.strip()}" if described.returncode == 0 and described.stdout else version
