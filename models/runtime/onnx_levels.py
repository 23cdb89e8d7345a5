"""Run an ONNX generator level by level, so that its feature maps can be edited between two levels.

Every image is computed alone and on one thread: its bits depend on nothing but itself. They may differ in the last
place from what the whole generator gives, so that images without such edits never come from here.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError
from models.level_edits import Paste, UnitEdit
from models.manifest import Manifest
from models.network_config import GeneratorConfig, list_levels
from models.runtime.onnx import CLASS_WEIGHTS, PIXELS, Z, check_self_contained, open_session
from models.runtime.onnx_cut import cut_at_levels
from models.runtime.processor import describe_processor


class GeneratorInput(NamedTuple):
    """What a generator makes one image of: z, float32 (1, z_dim), and class weights, float32 (1, num_classes)."""

    z: NDArray[np.float32]
    class_weights: NDArray[np.float32]


class OnnxLevels:
    """Makes images whose feature maps are edited. Nothing is loaded before the first. Not for two threads at once.

    Args:
        data: the bytes of generator.onnx, its hash checked.
        path: of the file, for messages.
        manifest: of the model.
    """

    def __init__(self, data: bytes, path: Path, manifest: Manifest) -> None:
        self._data = data
        self._path = path
        self._levels = list_levels(GeneratorConfig.model_validate(manifest.network).network)

    @property
    def fingerprint(self) -> str:
        """What the last bits of these images depend on; empty where onnxruntime is not installed."""
        try:
            version = importlib.metadata.version("onnxruntime")
        except importlib.metadata.PackageNotFoundError:
            return ""
        return f"edited feature maps on onnxruntime {version}, {describe_processor()}"

    def run(
        self,
        image: GeneratorInput,
        pastes: Sequence[tuple[Paste, GeneratorInput]] = (),
        units: Sequence[UnitEdit] = (),
    ) -> NDArray[np.uint8]:
        """Return an image, uint8 (H, W, C), with edited feature maps: at each level first the pastes, then the units.

        Args:
            image: before the edits.
            pastes: each with the image that it is from; in the order in which they are applied.
            units: of this generator, as the pastes (`models.level_checks`).
        Raises: ArtifactError where the file is not this generator's.
        """
        values: tuple[Any, ...] = image
        # Several pastes may be of one source, which is run once, up to the highest level that is pasted.
        sources: defaultdict[bytes, list[NDArray[np.float32]]] = defaultdict(list)
        for level in range(len(self._levels)):
            maps = self._run_piece(level, values)
            for paste, source in pastes:
                if paste.level == level:
                    rows, columns = paste.rectangle.cells
                    pasted = self._extend(sources[b"".join(a.tobytes() for a in source)], source, level)[level]
                    maps[:, :, rows, columns] = pasted[:, :, rows, columns]
            for edit in units:
                if edit.level == level:
                    rows, columns = edit.rectangle.cells if edit.rectangle else (slice(None), slice(None))
                    maps[:, edit.unit, rows, columns] = edit.value
            values = (maps,)
        pixels: NDArray[np.uint8] = self._run_piece(len(self._levels), values)[0]
        return pixels

    def compute_maps(self, image: GeneratorInput) -> list[NDArray[np.float32]]:
        """Return the feature maps of every level of an image, float32 (1, units, height, width) each."""
        return self._extend([], image, len(self._levels) - 1)

    def finish(self, level: int, maps: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the image, uint8 (H, W, C), that a generator makes of the feature maps of a level."""
        values: Any = maps
        for piece in range(level + 1, len(self._levels) + 1):
            values = self._run_piece(piece, (values,))
        pixels: NDArray[np.uint8] = values[0]
        return pixels

    def _extend(self, maps: list[NDArray[np.float32]], image: GeneratorInput, level: int) -> list[NDArray[np.float32]]:
        """Add to the feature maps of an image, one array a level, those up to a level; return them."""
        while len(maps) <= level:
            maps.append(self._run_piece(len(maps), (maps[-1],) if maps else image))
        return maps

    def _run_piece(self, piece: int, values: tuple[Any, ...]) -> Any:
        session, inputs, outputs = self._sessions[piece]
        # A copy that may be written to.
        return np.array(session.run(outputs, dict(zip(inputs, values)))[0])

    @functools.cached_property
    def _sessions(self) -> list[tuple[Any, tuple[str, ...], tuple[str, ...]]]:
        check_self_contained(self._data, self._path)
        try:
            pieces = cut_at_levels(self._data, self._levels, PIXELS)
        except ValueError as error:
            raise ArtifactError(self._path, f"cannot be cut into levels: {error}") from None
        sessions = [(open_session(piece.content, self._path, 1), piece.inputs, piece.outputs) for piece in pieces]
        if sessions[0][1] != (Z, CLASS_WEIGHTS):
            raise ArtifactError(self._path, f"takes {sessions[0][1]} in place of {(Z, CLASS_WEIGHTS)}")
        return sessions
