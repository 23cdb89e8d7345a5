"""Freed memory stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from models import artifact, memory
from models.runtime.loading import RuntimeChoice

SCRIPT = """
import resource, sys
import torch
from models import memory
if "keep" in sys.argv:
    memory.keep_freed()
def batch():
    # Together more than glibc keeps by itself, as the activations of one forward are.
    return [torch.ones(1 << 18) for _ in range(16)]
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is tuned")
def test_a_batch_uses_the_memory_of_the_one_before() -> None:
    kept, given_back = page_faults("keep"), page_faults()
    # How many pages a fault brings is the kernel's choice (huge pages), so only the two are compared.
    assert kept < 0.75 * given_back


@pytest.mark.parametrize(("runtime", "calls"), [("torchscript", 1), ("onnx", 0)])
def test_memory_is_kept_for_torch_only(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, runtime: RuntimeChoice, calls: int
) -> None:
    count = 0

    def keep_and_count() -> None:
        nonlocal count
        count += 1

    monkeypatch.setattr(memory, "keep_freed", keep_and_count)
    artifact.load(tiny_artifact, runtime=runtime)
    assert count == calls
