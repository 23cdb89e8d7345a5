"""The torch runtime: write, load and run TorchScript generators.

A convolution's last bits depend on the batch size, the number of threads and TF32. So every forward runs at one
fixed batch size, on one thread, in float32 without TF32.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import ArtifactError, InputError, first_line
from models.manifest import DeviceClass, Manifest
from models.memory import is_out_of_memory
from models.runtime.cuda_graph import CudaGraph
from models.runtime.processor import describe_processor, get_processor_model

THREADS = 1
# Environment variables by which the libraries below torch choose their code.
DISPATCH_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)
# (z float32 (B, z_dim), class weights float32 (B, num_classes)) -> float32 (B, C, H, W), nominally -1 .. 1.
# Generators of schema 1 take labels int64 (B,) in place of class weights.
Generator = Callable[[Tensor, Tensor], Tensor]


def has_cuda() -> bool:
    """Whether torch sees a GPU."""
    return torch.cuda.is_available()


def check_device(name: str) -> None:
    """Check that torch can use a device.

    Raises: InputError.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"{name!r} cannot be used: {first_line(error)}", "device") from None


def get_reserved_bytes(device: str) -> int:
    """Return the memory of a GPU that torch has reserved in this process."""
    return torch.cuda.memory_reserved(device)


def is_device_lost(device: str) -> bool:
    """Return whether a GPU refuses all work of this process, as it does for ever after some CUDA errors."""
    try:
        torch.zeros(1, device=device).add_(1).cpu()
    except torch.cuda.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False


def limit_threads() -> None:
    """Let threads that have not used torch yet compute on one thread, so that their forwards need not change it."""
    torch.set_num_threads(THREADS)


def to_uint8(images: Tensor) -> Tensor:
    """Convert a generator's output to pixels, on its own device: four times less to copy from a GPU.

    Args: images, float32 (N, C, H, W), nominally -1 .. 1; values outside are clipped.
    Returns: uint8 (N, H, W, C), contiguous, on the same device.
    """
    pixels = images.add(1.0).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous()


class TorchRuntime:
    """Runs a torch generator at one batch size (see `models.runtime.base.Runtime`).

    Args:
        generator: on `device`, in evaluation mode; see `Generator` for its signature.
        manifest: of the model; names the batch size and the shape of the images.
        device: a torch device name.
        batch_size: instead of the manifest's, for measuring only.
        takes_labels: whether the generator takes labels; by default, whether the manifest is of schema 1.
    """

    name = "torchscript"
    needs_padding = True

    def __init__(
        self,
        generator: Generator,
        manifest: Manifest,
        device: str = "cpu",
        batch_size: int | None = None,
        takes_labels: bool | None = None,
    ) -> None:
        self.generator = generator
        self.device = device
        self._device = torch.device(device)
        device_class: DeviceClass = "cuda" if self._device.type == "cuda" else "cpu"
        self.batch_size = batch_size or manifest.batch_size[device_class]
        self._manifest = manifest
        self._takes_labels = manifest.schema_version == 1 if takes_labels is None else takes_labels
        self._graph: CudaGraph | None = None
        if self._device.type == "cuda":
            use_exact_cuda()

    @property
    def fingerprint(self) -> str:
        """What the last bits of the output depend on."""
        processor = _describe_gpu(self._device) if self._device.type == "cuda" else _describe_cpu()
        return f"torch {torch.__version__}, {processor}, {THREADS} thread, float32, batch {self.batch_size}"

    def run(
        self, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool = False
    ) -> NDArray[np.uint8]:
        """Return the images of one full batch, on one thread (see `models.runtime.base.Runtime.run`).

        Raises: InputError when a generator that takes labels is given a mixture of classes.
        """
        if self._takes_labels:
            _check_one_hot(class_weights)
        with one_thread(), torch.inference_mode():
            if self._device.type != "cuda":
                return self.forward(torch.from_numpy(z), torch.from_numpy(class_weights)).numpy()
            if self._graph is None:
                shapes = (self.batch_size, z.shape[1]), (self.batch_size, class_weights.shape[1])
                self._graph = CudaGraph(self.forward, *shapes, self._device)
            return self._graph.run(z, class_weights)

    def forward(self, z: Tensor, class_weights: Tensor) -> Tensor:
        """Return one full batch of pixels, uint8 (B, H, W, C), on the device.

        Raises: ArtifactError when the images do not have the manifest's shape.
        """
        shape = self._manifest.image
        output = self.generator(z, _to_labels(class_weights) if self._takes_labels else class_weights)
        expected = (self.batch_size, shape.channels, shape.height, shape.width)
        if output.shape != expected:
            raise ArtifactError(
                self._manifest.name,
                f"makes images of shape {tuple(output.shape)}, but its manifest says {expected}",
            )
        return to_uint8(output)


def _describe_cpu() -> str:
    # oneDNN and MKL choose their code by the model of the processor, and by these variables.
    parts = [get_processor_model(), describe_processor()]
    parts += [f"{name}={os.environ[name]}" for name in DISPATCH_VARIABLES if name in os.environ]
    return ", ".join(part for part in parts if part)


def _describe_gpu(device: torch.device) -> str:
    return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]


def _to_labels(class_weights: Tensor) -> Tensor:
    """Return the label of each one-hot row, int64 (N,); 0 where there are no classes."""
    if not class_weights.shape[1]:
        return torch.zeros(len(class_weights), dtype=torch.int64, device=class_weights.device)
    return class_weights.argmax(dim=1)


def _check_one_hot(class_weights: NDArray[np.float32]) -> None:
    """Check that each row is one class.

    Raises: InputError.
    """
    is_one_hot = ((class_weights == 1).sum(axis=1) == 1) & ((class_weights != 0).sum(axis=1) == 1)
    if class_weights.shape[1] and not is_one_hot.all():
        raise InputError(
            "a model of schema 1 cannot mix classes; make a version that can with: ganmint models upgrade", "labels"
        )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, and restore the calling thread's number of them afterwards."""
    threads = torch.get_num_threads()
    if threads == THREADS:
        yield
        return
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def use_exact_cuda() -> None:
    """Let this process compute on GPUs in float32 without TF32, by algorithms that always give the same bits.

    The flags are the whole process's: they are not restored, because another thread may be computing.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def load_torchscript(data: bytes, path: Path, device: str) -> Generator:
    """Load and freeze TorchScript. Loading can run code: check the bytes' hash first.

    Args:
        data: the file's bytes.
        path: of the file, for messages.
        device: a resolved device.
    Raises: ArtifactError.
    """
    with _ignore_deprecation():
        try:
            module = torch.jit.load(io.BytesIO(data), map_location=device)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise MemoryError(f"not enough memory to load {path}") from None
            raise ArtifactError(path, f"is not TorchScript: {first_line(error)}") from None
        frozen: Generator = torch.jit.freeze(module.eval())
        return frozen


def write_torchscript(generator: nn.Module, path: Path) -> None:
    """Compile a generator and write it as TorchScript."""
    buffer = io.BytesIO()
    with _ignore_deprecation():
        generator = copy.deepcopy(generator).cpu().eval()
        # Convolutions in this memory format are the faster ones.
        generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if hasattr(generator, "channels_last"):
            generator.channels_last = True  # type: ignore[assignment]
        torch.jit.save(torch.jit.script(generator), buffer)
    path.write_bytes(_strip_debug_records(buffer.getvalue()))


def write_weights(generator: nn.Module, path: Path) -> None:
    """Write a generator's weights as safetensors."""
    path.write_bytes(safetensors.torch.save({name: w.contiguous() for name, w in generator.state_dict().items()}))


def load_weights(generator: nn.Module, data: bytes, path: Path) -> None:
    """Load weights that `write_weights` wrote into a generator of the same network.

    Args: data, the file's bytes; path, of the file, for messages.
    Raises: ArtifactError.
    """
    try:
        generator.load_state_dict(safetensors.torch.load(data))
    except RuntimeError as error:
        raise ArtifactError(path, f"does not fit the manifest's network: {error}") from None


def _strip_debug_records(script: bytes) -> bytes:
    """Drop the debug records, which hold paths of this machine, and their hash."""
    stripped = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(script)) as source, zipfile.ZipFile(stripped, "w") as target:
        for name in source.namelist():
            if not name.endswith((".debug_pkl", "/serialization_id")):
                target.writestr(zipfile.ZipInfo(name), source.read(name))
    return stripped.getvalue()


@contextlib.contextmanager
def _ignore_deprecation() -> Iterator[None]:
    """TorchScript is deprecated without a removal date; the safetensors file keeps the weights readable."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=DeprecationWarning)
        yield
