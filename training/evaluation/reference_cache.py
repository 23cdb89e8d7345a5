"""Keeps what was measured of real images for the next evaluation; the key is of data, protocol and platform.

Not here: measuring (training.evaluation.reference).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.files import write_atomically
from training import efficientnet
from training.evaluation.classifier import Classifier
from training.evaluation.data_split import DataSplit
from training.evaluation.features import Standard
from training.evaluation.metrics import Features
from training.evaluation.protocol import Protocol
from training.metric_results import Measurement


@dataclass(frozen=True, eq=False)
class RealMeasurements:
    """What is measured of real images, and cached.

    Attributes:
        judges: classifiers trained on real images, one a seed; empty if there are no classes.
        baselines: the metrics of real images in place of generated ones.
        class_accuracies: float64 (num_classes,), of the judges on all compared images; NaN for a class without any.
        test_distances: float32 (n,), from each compared image to its nearest training image; empty if not measured.
        standard: the usual statistics of the feature space; None if there is no such space.
        train_features: float32 (len(train), d), of all training images; None without a space.
        space_problem: why there is no space.
    """

    judges: tuple[Classifier, ...]
    baselines: dict[str, Measurement]
    class_accuracies: NDArray[np.float64]
    test_distances: NDArray[np.float32]
    standard: Standard | None
    train_features: Features | None
    space_problem: str


def default_cache_dir() -> Path:
    """Return GANMINT_CACHE, or `ganmint` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    if chosen := os.environ.get("GANMINT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganmint"


def cache_key(split: DataSplit, protocol: Protocol) -> str:
    """Return the name of the cache file: everything that the measurements depend on."""
    platform = torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.cuda.is_available()
    digests = split.train.digest, split.validation.digest, split.compared.digest
    parts = (protocol.digest, *digests, split.part, split.mirror, platform, efficientnet.is_installed())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def write_cache(path: Path, measurements: RealMeasurements) -> None:
    """Write a cache file."""
    judges = measurements.judges
    facts = {
        "floors": measurements.baselines,
        "sha256": [judge.sha256 for judge in judges],
        "space_problem": measurements.space_problem,
    }
    arrays: dict[str, Any] = {
        "facts": np.array(json.dumps(facts)),
        "accuracy": measurements.class_accuracies,
        "distance": measurements.test_distances,
        **{f"judge.{k}.{name}": array for k, judge in enumerate(judges) for name, array in judge.state().items()},
    }
    if measurements.standard is not None and measurements.train_features is not None:
        arrays["features"] = measurements.train_features
        arrays |= {f"standard.{name}": array for name, array in measurements.standard._asdict().items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_cache(path: Path, split: DataSplit, protocol: Protocol) -> RealMeasurements | None:
    """Read a cache file; return None if it is missing or damaged, so that everything is measured again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        facts = json.loads(str(arrays["facts"]))
        judges = tuple(_judge(arrays, k, split, protocol) for k in range(len(facts["sha256"])))
        if facts["sha256"] != [judge.sha256 for judge in judges]:
            return None
        has_space = "features" in arrays
        return RealMeasurements(
            judges,
            {name: Measurement(*values) for name, values in facts["floors"].items()},
            arrays["accuracy"],
            arrays["distance"],
            Standard(arrays["standard.mean"], arrays["standard.deviation"]) if has_space else None,
            arrays["features"] if has_space else None,
            facts["space_problem"],
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile):
        return None


def _judge(arrays: dict[str, Any], k: int, split: DataSplit, protocol: Protocol) -> Classifier:
    prefix = f"judge.{k}."
    state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return Classifier.from_state(state, split.train.shape, len(split.train.class_names), protocol.classifier)
