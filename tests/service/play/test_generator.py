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
from numpy.typing import NDArray
from torch import nn

from models import artifact, networks, store
from models.address import Address
from models.latents import draw_latent
from models.level_edits import Paste, Rectangle, UnitEdit
from models.manifest import Manifest
from models.network_config import GeneratorConfig, PriorConfig, ResNetConfig, list_levels, scale_base
from models.sampler import Sampler
from tests.service.play.node import STATIC, run_node

KERNEL = STATIC / "kernel.wasm"
BASE = ResNetConfig(base=3, widths=(8, 4), label_dim=4)
NETWORKS = {
    "basis": (3, BASE),
    "dense": (3, BASE.model_copy(update={"input_layer": "dense"})),
    "one level, no classes": (0, BASE.model_copy(update={"base": 6, "widths": (5,)})),
    "high": (3, BASE.model_copy(update={"base": (5, 3)})),
    "wide and dense": (3, BASE.model_copy(update={"base": (3, 4), "input_layer": "dense"})),
    "several blocks": (2, BASE.model_copy(update={"blocks": 2, "widths": (6, 3)})),
    "bottlenecks": (3, BASE.model_copy(update={"group": 2, "blocks": 2})),
    "wide bottlenecks": (3, BASE.model_copy(update={"group": 8})),
    "prior": (3, BASE.model_copy(update={"prior": PriorConfig(width=8, steps=3)})),
    "prior without classes": (0, BASE.model_copy(update={"prior": PriorConfig(width=8, steps=2)})),
}


def _compare(folder: Path, n: int, kernel: Path | None, psi: float = 1.0) -> None:
    sampler = artifact.load(folder)
    labels = "balanced" if sampler.manifest.class_names else None
    addresses = sampler.manifest.addresses(7, 5, n, labels, psi)
    addresses[-2:] = _edit_levels(sampler.manifest, addresses[-2:])
    _compare_addresses(folder, sampler, addresses, kernel)


def _compare_addresses(folder: Path, sampler: Sampler, addresses: list[Address], kernel: Path | None) -> None:
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


def _export(name: str, tiny_manifest: Manifest, folder: Path) -> nn.Module:
    num_classes, network = NETWORKS[name]
    height, width = scale_base(network.base, len(network.widths) - 1)
    config = GeneratorConfig(z_dim=5, num_classes=num_classes, shape=(3, height, width), network=network)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator = networks.build_generator(config)
        for parameter in generator.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.2)
    image = tiny_manifest.image.model_copy(update={"channels": 3, "height": height, "width": width})
    changes = {
        "image": image,
        "latents": tiny_manifest.latents.model_copy(update={"z_dim": 5}),
        "class_names": tuple("abc"[:num_classes]),
        "network": config.model_dump(mode="json"),
    }
    artifact.export(generator, tiny_manifest.model_copy(update=changes), folder, batch_size=4)
    return generator


@pytest.mark.parametrize("kernel", [KERNEL, None], ids=["kernel", "javascript"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_form_of_the_network(name: str, kernel: Path | None, tmp_path: Path, tiny_manifest: Manifest) -> None:
    _export(name, tiny_manifest, tmp_path / "a")
    _compare(tmp_path / "a", 8, kernel)


def test_what_was_computed_before_changes_no_image(tiny_artifact: Path) -> None:
    sampler = artifact.load(tiny_artifact)
    parts = [
        "", "&u1.0=2", "&u1.0=3_0_0_4_4", "&u0.1=1&u1.0=3_0_0_4_4", "&u0.1=2&u1.0=3_0_0_4_4", "",
        "&paste=0_8.0_1_0_0_2_2", "&paste=0_8.0_1_1_1_3_3", "&paste=0_8.0_2_1_1_3_3",
        "&psi=0.5&paste=0_8.0_2_1_1_3_3", "&z0=2",
    ]  # fmt: skip
    addresses = [sampler.manifest.check(Address.parse(f"tiny/1.0.0/7/0?label=1{part}")) for part in parts]
    _compare_addresses(tiny_artifact, sampler, addresses, KERNEL)


def test_a_level_is_read_after_its_edits(tmp_path: Path, tiny_manifest: Manifest) -> None:
    network = _export("several blocks", tiny_manifest, tmp_path / "a")
    config = NETWORKS["several blocks"][1]
    levels: list[NDArray[np.float32]] = []
    for layer in (config.blocks - 1, 2 * config.blocks):
        network.get_submodule(f"layers.{layer}").register_forward_hook(
            lambda *call: levels.append(call[-1].detach().numpy()[0])
        )
    address = "tiny/1.0.0/7/0?label=1"
    with torch.inference_mode():
        network(torch.from_numpy(draw_latent(7, 0, 5))[None], torch.tensor([[0.0, 1.0]]))
    parts = {"folder": str(tmp_path / "a"), "kernel": str(KERNEL), "addresses": [address]}
    for level, expected in enumerate(levels):
        result = run_node("pixels_of.mjs", parts | {"level": level})
        maps = np.frombuffer(base64.b64decode(result["maps"]), np.float32).reshape(expected.shape)
        assert np.abs(maps - expected).max() < 1e-4
    result = run_node("pixels_of.mjs", parts | {"addresses": [f"{address}&u1.2=3_0_0_2_4"], "level": 1})
    maps = np.frombuffer(base64.b64decode(result["maps"]), np.float32).reshape(levels[1].shape)
    assert (maps[2, :2, :4] == 3).all()
    assert np.abs(np.delete(maps, 2, 0) - np.delete(levels[1], 2, 0)).max() < 1e-4


@pytest.mark.skipif(
    not (shutil.which("clang-14") and shutil.which("wasm-ld-14")), reason="needs Debian's clang-14 and lld-14"
)
def test_the_kernel_is_what_its_source_gives(tmp_path: Path) -> None:
    subprocess.run([STATIC / "build_kernel.sh", tmp_path / "kernel.wasm"], check=True)
    assert (tmp_path / "kernel.wasm").read_bytes() == KERNEL.read_bytes()
