"""Samplers and their runtimes, for tests."""

from __future__ import annotations

from models.manifest import Manifest
from models.runtime.onnx import OnnxRuntime
from models.runtime.torchscript import Generator, TorchRuntime
from models.sampler import Sampler


def torch_sampler(generator: Generator, manifest: Manifest, batch_size: int | None = None) -> Sampler:
    """Return a sampler that runs any torch generator on the CPU."""
    return Sampler(TorchRuntime(generator, manifest, batch_size=batch_size), manifest)


def torch_runtime(sampler: Sampler) -> TorchRuntime:
    """Return a sampler's runtime, which must be torch's."""
    assert isinstance(sampler.runtime, TorchRuntime)
    return sampler.runtime


def onnx_runtime(sampler: Sampler) -> OnnxRuntime:
    """Return a sampler's runtime, which must be onnxruntime's."""
    assert isinstance(sampler.runtime, OnnxRuntime)
    return sampler.runtime
