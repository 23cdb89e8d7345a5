"""Edited feature maps: what torch makes with the same edits, and a file that cannot be cut."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import artifact, store
from models.address import Address
from models.artifact_files import ONNX_FILE
from models.errors import ArtifactError
from models.manifest import Manifest
from models.network_config import (
    DCGANConfig,
    GeneratorConfig,
    LevelShape,
    NetworkConfig,
    PriorConfig,
    ResNetConfig,
    list_levels,
    scale_base,
)
from models.networks import build_generator
from models.runtime import onnx_graph, onnx_levels
from models.runtime.onnx import OnnxRuntime, open_session
from models.runtime.onnx_levels import GeneratorInput, OnnxLevels
from models.runtime.torchscript import to_uint8
from models.sampler import Sampler

# At most two levels; every kind of edit, the pastes before the units, one over the other.
EDITS = (
    "paste=0_8.0_1_1_0_3_2",
    "paste=0_8.0_1_1_0_3_2&u0.3=2.5&u1.0=-1.5_0_0_3_3",
    "psi=0.5&to=9.0&at=0.5&paste=1_8.0_2_2_2_6_7&paste=1_9.3_0_3_3_5_5&u1.1=0_2_2_4_4",
    "u0.7=-4",
)
NETWORKS: dict[str, NetworkConfig] = {
    "resnet": ResNetConfig(base=4, widths=(8, 4), label_dim=4),
    "bottlenecks": ResNetConfig(
        base=(6, 4),
        widths=(8, 8),
        label_dim=4,
        blocks=2,
        group=4,
        input_layer="dense",
        prior=PriorConfig(width=4, steps=2),
    ),
    "dcgan": DCGANConfig(base=(4, 5), widths=(8, 8)),
}


def find_level_ends(generator: nn.Module) -> list[nn.Module]:
    """Return the modules that take the feature maps of a level in, by the level."""
    if hasattr(generator, "out"):
        return [*(m for m in generator.modules() if hasattr(m, "mix")), generator.out]  # type: ignore[list-item]
    return [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]


def run_with_hooks(generator: nn.Module, inputs: GeneratorInput, hooks: dict[int, Any]) -> Tensor:
    """Run a generator whose level inputs go through functions."""
    ends = find_level_ends(generator)
    handles = [
        ends[level].register_forward_pre_hook(lambda _module, args, hook=hook: (hook(args[0].clone()),))
        for level, hook in hooks.items()
    ]
    try:
        with torch.inference_mode():
            output: Tensor = generator(*map(torch.from_numpy, inputs))
            return output
    finally:
        for handle in handles:
            handle.remove()


def mint_with_torch(generator: nn.Module, sampler: Sampler, address: Address) -> NDArray[np.uint8]:
    """Mint by hooks in the network itself: another way than by pieces of the ONNX file."""

    def draw(a: Address) -> GeneratorInput:
        return GeneratorInput(*sampler.draw_inputs([a]))

    def read_maps(inputs: GeneratorInput, level: int) -> Tensor:
        seen: list[Tensor] = []

        def keep(h: Tensor) -> Tensor:
            seen.append(h)
            return h

        run_with_hooks(generator, inputs, {level: keep})
        return seen[0]

    pasted = []
    for paste in address.paste:
        source = Address(address.model, address.version, *paste.source, label=paste.label, psi=address.psi)
        pasted.append((paste, read_maps(draw(source), paste.level)))

    def edit(h: Tensor, level: int) -> Tensor:
        for paste, maps in pasted:
            if paste.level == level:
                y0, x0, y1, x1 = paste.rectangle
                h[0, :, y0:y1, x0:x1] = maps[0, :, y0:y1, x0:x1]
        for unit in address.units:
            if unit.level == level:
                y0, x0, y1, x1 = unit.rectangle or (0, 0, h.shape[2], h.shape[3])
                h[0, unit.unit, y0:y1, x0:x1] = unit.value
        return h

    num_levels = len(find_level_ends(generator))
    hooks = {level: lambda h, level=level: edit(h, level) for level in range(num_levels)}
    pixels: NDArray[np.uint8] = to_uint8(run_with_hooks(generator, draw(address), hooks)).numpy()[0]
    return pixels


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_edits_are_those_of_the_network_itself(kind: str, tiny_manifest: Manifest, tmp_path: Path) -> None:
    network = NETWORKS[kind]
    assert isinstance(network, ResNetConfig | DCGANConfig)
    shape = (1, *scale_base(network.base, 2 if kind == "dcgan" else 1))
    config = GeneratorConfig(z_dim=8, num_classes=3, shape=shape, network=network)
    image = tiny_manifest.image.model_copy(update={"height": shape[1], "width": shape[2]})
    update = {"network": config.model_dump(mode="json"), "image": image, "batch_size": {"cpu": 4, "cuda": 4}}
    manifest = tiny_manifest.model_copy(update=update)
    torch.manual_seed(1)
    generator = build_generator(config).eval()
    for parameter in generator.parameters():
        # Some start at zero, which would hide whatever their branches do.
        nn.init.normal_(parameter, std=0.3)
    weights = tmp_path / "generator.safetensors"
    weights.write_bytes(safetensors.torch.save(generator.state_dict()))
    path = tmp_path / ONNX_FILE
    onnx_graph.write_onnx(config, weights, path)
    data = path.read_bytes()
    sampler = Sampler(OnnxRuntime(data, path, manifest), manifest, OnnxLevels(data, path, manifest))
    plain = manifest.check(Address("tiny", "1.0.0", 7, 0))
    for edits in EDITS:
        address = manifest.check(Address.parse(f"tiny/1.0.0/7/0?label={plain.label}&{edits}"))
        minted = sampler.mint([address])[0]
        difference = np.abs(minted.astype(int) - mint_with_torch(generator, sampler, address))
        assert difference.max() <= 1, edits
        assert np.any(minted != sampler.mint([plain])[0]), edits


@pytest.mark.parametrize("folder", store.list_bundled(), ids=lambda folder: folder.name)
def test_the_pieces_without_an_edit_make_the_very_image(folder: Path) -> None:
    sampler = artifact.load(folder, runtime="onnx")
    addresses = sampler.manifest.addresses(7, n=4)
    path = folder / ONNX_FILE
    levels = OnnxLevels(path.read_bytes(), path, sampler.manifest)
    z, class_weights = sampler.draw_inputs(addresses)
    made = [levels.run(GeneratorInput(z[k, None], class_weights[k, None])) for k in range(4)]
    assert np.abs(np.stack(made).astype(int) - sampler.mint(addresses)).max() <= 1


def test_a_paste_changes_its_region_and_little_else() -> None:
    sampler = artifact.load(store.BUNDLED / "faces", runtime="onnx")
    texts = (f"faces/{sampler.manifest.version}/7/3", f"faces/{sampler.manifest.version}/7/3?paste=2_7.0_9_4_14_12")
    plain, edited = sampler.mint([sampler.manifest.check(Address.parse(text)) for text in texts]).astype(int)
    change = np.abs(edited - plain).mean(axis=2)
    # Level 2 has 16x16 cells of four pixels.
    assert change[36:56, 16:48].mean() > 20 and change[:24].mean() < 1


def test_the_source_of_several_pastes_is_run_once(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def open_counted(data: bytes, *args: Any) -> Any:
        session = open_session(data, *args)

        def run(*inputs: Any) -> Any:
            runs.append("piece")
            return session.run(*inputs)

        return SimpleNamespace(run=run)

    monkeypatch.setattr(onnx_levels, "open_session", open_counted)
    sampler = artifact.load(tiny_artifact, runtime="onnx")
    pastes = "paste=0_8.0_1_0_0_2_2&paste=1_8.0_1_0_0_4_4&paste=1_8.0_1_4_4_8_8"
    sampler.mint([sampler.manifest.check(Address.parse(f"tiny/1.0.0/7/0?{pastes}"))])
    # The image has three pieces: two levels and its colours.
    assert len(runs) == 3 + 2


def test_edited_images_are_the_same_on_every_runtime(tiny_artifact: Path) -> None:
    onnx_sampler, torch_sampler = (artifact.load(tiny_artifact, runtime=name) for name in ("onnx", "torchscript"))
    addresses = [onnx_sampler.manifest.check(Address.parse(f"tiny/1.0.0/7/0?{edits}")) for edits in EDITS]
    np.testing.assert_array_equal(onnx_sampler.mint(addresses), torch_sampler.mint(addresses))
    assert "edited feature maps on onnxruntime" in torch_sampler.fingerprint
    assert "edited feature maps" not in onnx_sampler.fingerprint


def test_a_file_with_other_levels_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    manifest = artifact.read(tiny_artifact).manifest
    path = tmp_path / ONNX_FILE
    model = onnx.load(tiny_artifact / ONNX_FILE)
    for node in model.graph.node:
        node.input[:] = [name.replace("layers.1.mix.weight", "other") for name in node.input]
    path.write_bytes(model.SerializeToString())
    levels = OnnxLevels(path.read_bytes(), path, manifest)
    inputs = GeneratorInput(np.zeros((1, 8), np.float32), np.zeros((1, 3), np.float32))
    with pytest.raises(ArtifactError, match=r"generator\.onnx.*cannot be cut into levels.*1 levels where 2"):
        levels.run(inputs)


def test_the_levels_of_a_network_are_its_widths_and_sides() -> None:
    assert list_levels(NETWORKS["dcgan"]) == [LevelShape(8, 4, 5), LevelShape(8, 8, 10)]
    assert list_levels(NETWORKS["resnet"]) == [LevelShape(8, 4, 4), LevelShape(4, 8, 8)]
