"""On a GPU: the captured forward makes the eager forward's bytes, whatever ran before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models import artifact, store
from models.runtime.cuda_graph import CudaGraph
from models.sampler import Sampler
from tests.samplers import torch_runtime

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine")


@pytest.fixture(scope="module")
def digits() -> Sampler:
    # Loading mints the goldens through the graph, and they are those of a CPU, within 1 of 255.
    return artifact.load(store.BUNDLED / "digits", "cuda")


def test_a_replay_gives_the_eager_bytes(digits: Sampler) -> None:
    runtime = torch_runtime(digits)
    size, z_dim = digits.batch_size, digits.manifest.latents.z_dim
    random = np.random.RandomState(0)
    with torch.inference_mode():
        graph = CudaGraph(runtime.forward, size, z_dim, torch.device(digits.device))
        for _ in range(3):
            z = random.standard_normal((size, z_dim)).astype(np.float32)
            label = random.randint(0, 10, size)
            eager = runtime.forward(torch.from_numpy(z).cuda(), torch.from_numpy(label).cuda()).cpu().numpy()
            np.testing.assert_array_equal(graph.run(z, label), eager)


def test_bytes_do_not_depend_on_the_neighbours(digits: Sampler) -> None:
    addresses = digits.manifest.addresses(seed=3, n=100)
    together = digits.mint(addresses)
    alone = np.concatenate([digits.mint([address]) for address in addresses])
    np.testing.assert_array_equal(together, alone)
