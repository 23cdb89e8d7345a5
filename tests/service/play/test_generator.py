"""A generator in the browser mints the service's pixels, within 1 of 255."""

from __future__ import annotations

import base64
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models import artifact, networks, store
from models.address import Address
from models.level_edits import Paste, Rectangle, UnitEdit
from models.manifest import Manifest
from models.network_config import GeneratorConfig, PriorConfig, ResNetConfig, list_levels
from tests.service.play.node import STATIC, run_node

KERNEL = STATIC / "kernel.wasm"
BASE = ResNetConfig(base=3, widths=(8, 4), label_dim=4)
NETWORKS = {
    "basis": (3, BASE),
    "dense": (3, BASE.model_copy(update={"input_layer": "dense"})),
    "one level, no classes": (0, BASE.model_copy(update={"base": 6, "widths": (5,)})),
    "several blocks": (2, BASE.model_copy(update={"blocks": 2, "widths": (6, 3)})),
    "bottlenecks": (3, BASE.model_copy(update={"group": 2, "blocks": 2})),
    "wide bottlenecks": (3, BASE.model_copy(update={"group": 8})),
    "prior": (3, BASE.model_copy(update={"prior": PriorConfig(width=8, steps=3)})),
    "prior without classes": (0, BASE.model_copy(update={"prior": PriorConfig(width=8, steps=2)})),
}


def _compare(folder: Path, n: int, kernel: Path | None, psi: float = 1.0) -> None:
    sampler = artifact.load(folder)
    labels = "balanced" if sampler.manifest.class_names else None
    addresses = sampler.manifest.addresses(7, 5, n, labels, psi)  # type: ignore[arg-type]
    addresses[-2:] = _edit_levels(sampler.manifest, addresses[-2:])
    expected = sampler.mint(addresses)
    argument = {"folder": str(folder), "kernel": kernel and str(kernel), "addresses": [str(a) for a in addresses]}
    result = run_node("pixels_of.mjs", argument)
    assert result["hasKernel"] == (kernel is not None)
    pixels = np.stack([np.frombuffer(base64.b64decode(image), np.uint8) for image in result["images"]])
    difference = np.abs(pixels.reshape(expected.shape).astype(int) - expected)
    assert difference.max() <= 1
    # Rounding, and nothing else: the measured share is below 1 in 10,000.
    assert (difference > 0).mean() < 1e-3


def _edit_levels(manifest: Manifest, addresses: list[Address]) -> list[Address]:
    """Return the addresses with a paste and a unit in each of the last two levels."""
    edited = []
    last = len(list_levels(GeneratorConfig.model_validate(manifest.network).network)) - 1
    for address in addresses:
        levels = range(max(0, last - 1), last + 1)
        pastes = tuple(Paste(level, Rectangle(1, 0, 3, 2), (8, level)) for level in levels)
        units = tuple(UnitEdit(level, 1, 2.5, Rectangle(0, 1, 2, 3) if level else None) for level in levels)
        edited.append(manifest.check(replace(address, paste=pastes, units=units)))
    return edited


@pytest.mark.parametrize("name", ["digits", "faces"])
def test_bundled_models_by_the_kernel(name: str) -> None:
    folder = store.find_bundled(name)
    assert folder
    _compare(folder, 64, KERNEL)


@pytest.mark.parametrize("name", ["digits", "faces"])
def test_bundled_models_by_javascript_alone(name: str) -> None:
    folder = store.find_bundled(name)
    assert folder
    _compare(folder, 6, None, psi=0.7)


@pytest.mark.parametrize("kernel", [KERNEL, None], ids=["kernel", "javascript"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_form_of_the_network(name: str, kernel: Path | None, tmp_path: Path, tiny_manifest: Manifest) -> None:
    num_classes, network = NETWORKS[name]
    side = network.base * 2 ** (len(network.widths) - 1)
    config = GeneratorConfig(z_dim=5, num_classes=num_classes, shape=(3, side, side), network=network)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator = networks.build_generator(config)
        for parameter in generator.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.2)
    image = tiny_manifest.image.model_copy(update={"channels": 3, "height": side, "width": side})
    changes = {
        "image": image,
        "latents": tiny_manifest.latents.model_copy(update={"z_dim": 5}),
        "class_names": tuple("abc"[:num_classes]),
        "network": config.model_dump(mode="json"),
    }
    artifact.export(generator, tiny_manifest.model_copy(update=changes), tmp_path / "a", batch_size=4)
    _compare(tmp_path / "a", 8, kernel)


@pytest.mark.skipif(
    not (shutil.which("clang-14") and shutil.which("wasm-ld-14")), reason="needs Debian's clang-14 and lld-14"
)
def test_the_kernel_is_what_its_source_gives(tmp_path: Path) -> None:
    subprocess.run([STATIC / "build_kernel.sh", tmp_path / "kernel.wasm"], check=True)
    assert (tmp_path / "kernel.wasm").read_bytes() == KERNEL.read_bytes()
