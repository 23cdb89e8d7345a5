"""Measure which batch size mints fastest: the best batch of onnxruntime on a CPU, the fixed one of torch on a GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from models.artifact_files import ONNX_FILE, TORCHSCRIPT_FILE
from models.manifest import DeviceClass, Manifest
from models.runtime.onnx import OnnxRuntime
from models.runtime.torchscript import TorchRuntime, has_cuda, load_torchscript
from models.sampler import Sampler

CPU_CANDIDATES = (1, 2, 4, 8, 16, 32)
CUDA_CANDIDATES = (16, 32, 64, 128, 256)
# Taken where no GPU is at hand to measure on.
CUDA_DEFAULT = 64
WITHIN_BEST = 0.95
MEASURE_S = 0.1
MEASURE_ROUNDS = 9


def set_batch_sizes(folder: Path, manifest: Manifest, cpu_batch_size: int | None) -> Manifest:
    """Return the manifest with the batch size of each kind of device.

    Args:
        folder: has the generator's files.
        manifest: of the model.
        cpu_batch_size: the CPU's, instead of measuring it.
    """
    gpu = has_cuda()
    sizes: dict[DeviceClass, int] = {
        "cpu": cpu_batch_size or fastest_batch_size(_create_onnx_samplers(folder, manifest, CPU_CANDIDATES)),
        "cuda": fastest_batch_size(_create_torch_samplers(folder, manifest, CUDA_CANDIDATES)) if gpu else CUDA_DEFAULT,
    }
    is_measured = {"cpu": cpu_batch_size is None, "cuda": gpu}
    return manifest.model_copy(update={"batch_size": sizes, "batch_size_measured": is_measured})


def _create_onnx_samplers(folder: Path, manifest: Manifest, sizes: Sequence[int]) -> list[Sampler]:
    path = folder / ONNX_FILE
    data = path.read_bytes()
    manifests = [manifest.model_copy(update={"batch_size": {"cpu": size}}) for size in sizes]
    return [Sampler(OnnxRuntime(data, path, manifest, threads=1), manifest) for manifest in manifests]


def _create_torch_samplers(folder: Path, manifest: Manifest, sizes: Sequence[int]) -> list[Sampler]:
    path = folder / TORCHSCRIPT_FILE
    generator = load_torchscript(path.read_bytes(), path, "cuda")
    return [Sampler(TorchRuntime(generator, manifest, "cuda", size), manifest) for size in sizes]


def fastest_batch_size(samplers: Sequence[Sampler]) -> int:
    """Return the smallest batch size whose median images/s is within 5 % of the best one.

    Args: samplers of one model, with batch sizes that ascend.
    """
    rates: list[list[float]] = [[] for _ in samplers]
    for round_number in range(MEASURE_ROUNDS + 1):
        for sampler, measured in zip(samplers, rates):
            rate = _images_per_second(sampler)
            # The first round warms up.
            if round_number:
                measured.append(rate)
    medians = [statistics.median(measured) for measured in rates]
    best = max(medians)
    return next(s.batch_size for s, median in zip(samplers, medians) if median >= WITHIN_BEST * best)


def _images_per_second(sampler: Sampler) -> float:
    addresses = sampler.manifest.addresses(seed=0, n=sampler.batch_size)
    started = time.perf_counter()
    minted = 0
    while (elapsed := time.perf_counter() - started) < MEASURE_S:
        sampler.mint(addresses)
        minted += len(addresses)
    return minted / elapsed
