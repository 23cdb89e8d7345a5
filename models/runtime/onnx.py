"""The ONNX runtime: onnxruntime on the CPU. Loading an ONNX file runs none of its code, for it has none.

The bits of an image are expected not to depend on the batch that it is in, nor on the number of threads;
`models.runtime.proof` checks that on this processor. Not here: writing the file (models.runtime.onnx_graph).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError, GanmintError
from models.manifest import Manifest
from models.runtime.processor import describe_processor

# Names of the graph's inputs and outputs.
Z = "z"
CLASS_WEIGHTS = "class_weights"
PIXELS = "pixels"
IMAGE = "image"
INSTALL = "pip install onnxruntime"


class OnnxRuntime:
    """Runs an ONNX generator (see `models.runtime.base.Runtime`).

    Args:
        data: the file's bytes, its hash checked.
        path: of the file, for messages.
        manifest: of the model; names the best batch size and the shapes.
        threads: for the runs that may use every core; 0: one per core.
    Raises:
        ArtifactError: the file cannot be run, or is not this model's.
        GanmintError: onnxruntime is not installed.
    """

    name = "onnx"
    device = "cpu"

    def __init__(self, data: bytes, path: Path, manifest: Manifest, threads: int = 0) -> None:
        self._onnxruntime = import_onnxruntime()
        if external := find_external_data(data):
            raise ArtifactError(path, f"refers to data in another file ({external!r}), which is never read")
        self.batch_size = manifest.batch_size["cpu"]
        self.needs_padding = False
        self._threads = threads or os.cpu_count() or 1
        self._one_thread = self._open(data, path, 1)
        self._all_threads = self._open(data, path, self._threads) if self._threads > 1 else self._one_thread
        _check_interface(self._one_thread, path, manifest)

    @property
    def fingerprint(self) -> str:
        """What the last bits of the output depend on."""
        padded = f", batch {self.batch_size}" if self.needs_padding else ""
        version = self._onnxruntime.__version__
        return f"onnxruntime {version}, all optimisations, {describe_processor()}, float32{padded}"

    def run(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool = False
    ) -> NDArray[np.uint8]:
        """Return the images of one batch (see `models.runtime.base.Runtime.run`)."""
        session = self._all_threads if use_all_cores and not self.needs_padding else self._one_thread
        pixels: NDArray[np.uint8] = session.run([PIXELS], {Z: z, CLASS_WEIGHTS: class_weights})[0]
        return pixels

    def run_float(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool
    ) -> NDArray[np.float32]:
        """Return the images before they are rounded, float32 (n, C, H, W)."""
        session = self._all_threads if use_all_cores else self._one_thread
        image: NDArray[np.float32] = session.run([IMAGE], {Z: z, CLASS_WEIGHTS: class_weights})[0]
        return image

    def _open(self, data: bytes, path: Path, threads: int) -> Any:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self._onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # Threads that wait would use up the processor of others.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Its warnings are of no use to users; its errors are raised.
        options.log_severity_level = 4
        try:
            return self._onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        # onnxruntime's exceptions have no common base but Exception.
        except Exception as error:
            reason = str(error).splitlines()[0]
            version = self._onnxruntime.__version__
            raise ArtifactError(path, f"cannot be run by onnxruntime {version}: {reason}") from None


def import_onnxruntime() -> Any:
    """Import onnxruntime.

    Raises: GanmintError where it is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise GanmintError(f"the runtime onnx needs onnxruntime; install it with: {INSTALL}") from None
    return onnxruntime


def _check_interface(session: Any, path: Path, manifest: Manifest) -> None:
    """Check that inputs and outputs have the manifest's shapes.

    Raises: ArtifactError.
    """
    shape = manifest.image
    expected = {
        Z: ("tensor(float)", [manifest.latents.z_dim]),
        CLASS_WEIGHTS: ("tensor(float)", [len(manifest.class_names)]),
        PIXELS: ("tensor(uint8)", [shape.height, shape.width, shape.channels]),
        IMAGE: ("tensor(float)", [shape.channels, shape.height, shape.width]),
    }
    interface = (*session.get_inputs(), *session.get_outputs())
    actual = {value.name: (value.type, list(value.shape[1:])) for value in interface}
    for name, form in expected.items():
        if name not in actual:
            raise ArtifactError(path, f"has no {name!r}; it has {', '.join(sorted(actual))}")
        if actual[name] != form:
            raise ArtifactError(path, f"has {name!r} of the form {actual[name]}, but its manifest asks for {form}")


# Fields of ONNX messages (onnx.proto3) through which a tensor can be reached.
_MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_TENSOR_NAME = 8
_EXTERNAL_DATA = 13
_DATA_LOCATION = 14


def find_external_data(data: bytes) -> str:
    """Return the name of a tensor whose values lie in another file; empty where there is none.

    onnxruntime would read such a file from wherever the model says.
    """
    return _find_external(memoryview(data), "Model")


def _find_external(message: memoryview, kind: str) -> str:
    name = ""
    is_external = False
    for field, value in _read_fields(message):
        if kind == "Tensor" and field == _TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode(errors="replace")
        elif kind == "Tensor" and field in (_EXTERNAL_DATA, _DATA_LOCATION):
            is_external = is_external or bool(value)
        elif field in _MESSAGES[kind] and isinstance(value, memoryview):
            external = _find_external(value, _MESSAGES[kind][field])
            if external:
                return external
    return (name or "unnamed") if is_external else ""


def _read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a protocol buffer (protobuf.dev, "Encoding"); stop where it is damaged."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        field, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, position = _read_varint(message, position)
            yield field, value
        elif wire_type == 2:
            size, position = _read_varint(message, position)
            yield field, message[position : position + size]
            position += size
        elif wire_type in (1, 5):
            position += 8 if wire_type == 1 else 4
        else:
            return


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80 or shift > 63:
            break
    return value, position
