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
    return artifact.load(store.BUNDLED / "digits", "cuda", runtime="torchscript")


def test_a_replay_gives_the_eager_bytes(digits: Sampler) -> None:
    runtime = torch_runtime(digits)
    z_shape = (digits.batch_size, digits.manifest.latents.z_dim)
    class_weights_shape = (digits.batch_size, len(digits.manifest.class_names))
    random = np.random.RandomState(0)
    with torch.inference_mode():
        graph = CudaGraph(runtime.forward, z_shape, class_weights_shape, torch.device(digits.device))
        for _ in range(3):
            z = random.standard_normal(z_shape).astype(np.float32)
            class_weights = random.random_sample(class_weights_shape).astype(np.float32)
            eager = runtime.forward(torch.from_numpy(z).cuda(), torch.from_numpy(class_weights).cuda())
            np.testing.assert_array_equal(graph.run(z, class_weights), eager.cpu().numpy())


def test_bytes_do_not_depend_on_the_neighbours(digits: Sampler) -> None:
    addresses = digits.manifest.addresses(seed=3, n=100)
    together = digits.mint(addresses)
    alone = np.concatenate([digits.mint([address]) for address in addresses])
    np.testing.assert_array_equal(together, alone)
