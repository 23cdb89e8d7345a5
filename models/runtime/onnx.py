"""The ONNX runtime: onnxruntime on the CPU. Loading an ONNX file runs none of its code, for it has none.

The bits of an image are expected not to depend on the batch that it is in, nor on the number of threads;
`models.runtime.proof` checks that on this processor. Not here: writing the file (models.runtime.onnx_graph).
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ArtifactError, GanmintError, first_line
from models.manifest import Manifest
from models.memory import is_out_of_memory
from models.runtime.onnx_scan import find_external_data
from models.runtime.processor import count_cores, describe_processor

# Names of the graph's inputs and outputs.
Z = "z"
CLASS_WEIGHTS = "class_weights"
PIXELS = "pixels"
IMAGE = "image"
INSTALL = "pip install onnxruntime"
# Batches that take less on one thread get one: handing parts to other threads costs more than it saves.
MIN_ALL_CORES_S = 0.002


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
        check_self_contained(data, path)
        self.batch_size = manifest.batch_size["cpu"]
        # Until models.runtime.proof finds otherwise.
        self.needs_padding = False
        self._threads = threads or count_cores()
        self._one_thread = open_session(data, path, 1)
        self._all_threads = open_session(data, path, self._threads) if self._threads > 1 else self._one_thread
        _check_interface(self._one_thread, path, manifest)
        self._row_s = self._measure_row_s(manifest) if self._threads > 1 else 0.0

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
        is_large = len(z) * self._row_s >= MIN_ALL_CORES_S
        session = self._all_threads if use_all_cores and is_large and not self.needs_padding else self._one_thread
        pixels: NDArray[np.uint8] = session.run([PIXELS], {Z: z, CLASS_WEIGHTS: class_weights})[0]
        return pixels

    def run_float(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool
    ) -> NDArray[np.float32]:
        """Return the images before they are rounded, float32 (n, C, H, W)."""
        session = self._all_threads if use_all_cores else self._one_thread
        image: NDArray[np.float32] = session.run([IMAGE], {Z: z, CLASS_WEIGHTS: class_weights})[0]
        return image

    def _measure_row_s(self, manifest: Manifest) -> float:
        """Return the processor time of one image on one thread in seconds, which other load hardly changes."""
        z = np.zeros((1, manifest.latents.z_dim), np.float32)
        class_weights = np.zeros((1, len(manifest.class_names)), np.float32)
        seconds = []
        for _ in range(5):
            started_s = time.thread_time()
            self._one_thread.run([PIXELS], {Z: z, CLASS_WEIGHTS: class_weights})
            seconds.append(time.thread_time() - started_s)
        return min(seconds)


def open_session(data: bytes, path: Path, threads: int) -> Any:
    """Open a session on ONNX bytes that `check_self_contained` passed.

    Args:
        data: an ONNX file.
        path: that it is from, for messages.
        threads: that it computes on.
    Raises: ArtifactError; MemoryError; GanmintError where onnxruntime is not installed.
    """
    onnxruntime = import_onnxruntime()
    _register_arena(onnxruntime)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that wait would use up the processor of others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Otherwise it would take its own format, too, which nothing here looks through.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Its warnings are of no use to users; its errors are raised.
    options.log_severity_level = 4
    # All sessions share one memory arena; each would otherwise keep its own.
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    # onnxruntime's exceptions have no common base but Exception.
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(f"not enough memory to load {path}") from None
        reason = first_line(error)
        version = onnxruntime.__version__
        raise ArtifactError(path, f"cannot be run by onnxruntime {version}: {reason}") from None


def import_onnxruntime() -> Any:
    """Import onnxruntime, without its reports to its makers.

    Raises: GanmintError where it is not installed.
    """
    # It is read on import, and would start a thread and a database in the user's cache.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise GanmintError(f"the runtime onnx needs onnxruntime; install it with: {INSTALL}") from None
    return onnxruntime


@functools.cache
def _register_arena(onnxruntime: Any) -> None:
    """Give the process one memory arena for all sessions; it can be registered only once."""
    # onnxruntime.h, OrtArenaCfg: -1 is the default, 1 grows by what is asked for instead of to the next power of two.
    growth = onnxruntime.OrtArenaCfg(
        {
            "max_mem": 0,
            "arena_extend_strategy": 1,
            "initial_chunk_size_bytes": -1,
            "max_dead_bytes_per_chunk": -1,
        }
    )
    kinds = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", kinds[0], 0, kinds[1]), growth)


def check_self_contained(data: bytes, path: Path) -> None:
    """Check that a file can be loaded without reading another one.

    Raises: ArtifactError.
    """
    try:
        external = find_external_data(data)
    except ValueError as error:
        raise ArtifactError(path, f"is not an ONNX file: {error}; install the model again") from None
    if external:
        raise ArtifactError(path, f"has the data of {external!r} in another file, which is never read")


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
