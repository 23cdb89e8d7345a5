"""The core promise: an image's bytes depend on its address alone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import artifact
from models.address import Address
from models.errors import ArtifactError
from models.latents import MAX_INTEGER, draw_latent
from models.manifest import ImageShape, Latents, Manifest
from models.runtime import loading
from models.runtime.loading import resolve_device
from models.runtime.torchscript import Generator, TorchRuntime
from models.sampler import Sampler
from tests.samplers import torch_sampler

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "address_vectors.json").read_text())


@pytest.fixture(scope="module")
def manifest(tiny_manifest: Manifest) -> Manifest:
    return tiny_manifest.model_copy(update={"batch_size": {"cpu": 4, "cuda": 64}})


@pytest.fixture(scope="module")
def real(tiny_artifact: Path) -> Sampler:
    return artifact.load(tiny_artifact)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@dataclass
class Recorder:
    """A generator that keeps what it was given; its images are black, 8x8."""

    shape: tuple[int, int, int] = (1, 8, 8)
    z: list[Tensor] = field(default_factory=list)
    class_weights: list[Tensor] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    inference: list[bool] = field(default_factory=list)

    def __call__(self, z: Tensor, class_weights: Tensor) -> Tensor:
        self.z.append(z.clone())
        self.class_weights.append(class_weights.clone())
        self.threads.append(torch.get_num_threads())
        self.inference.append(torch.is_inference_mode_enabled())
        return torch.full((len(z), *self.shape), -1.0)


def depends_on_the_batch_size(z: Tensor, class_weights: Tensor) -> Tensor:
    """What real convolutions do in their last bits, made large: another batch size, another image."""
    label = class_weights.argmax(dim=1, keepdim=True)
    value = torch.tanh(z[:, :1] + 0.1 * label + 0.25 * len(z))
    return (value * torch.linspace(0.5, 1.0, 64)).reshape(-1, 1, 8, 8)


def forty(manifest: Manifest) -> list[Address]:
    """Every kind of address: near and far, each label, with and without psi."""
    near = manifest.addresses(seed=3, n=20)
    far = manifest.addresses(seed=MAX_INTEGER, index=MAX_INTEGER - 9, n=10, labels="balanced")
    return near + far + manifest.addresses(seed=2**40, index=1, n=10, labels=2, psi=0.7)


def mint_alone(sampler: Sampler, addresses: list[Address]) -> dict[Address, bytes]:
    return {a: sampler.mint([a])[0].tobytes() for a in addresses}


permutations = st.permutations(range(40))
cuts = st.lists(st.integers(0, 40), max_size=12).map(lambda places: [0, *sorted(places), 40])


@pytest.fixture(scope="module")
def minted_alone(real: Sampler, manifest: Manifest) -> dict[Address, bytes]:
    return mint_alone(real, forty(manifest))


@settings(max_examples=40)
@given(order=permutations, cuts=cuts)
def test_bytes_do_not_depend_on_position_neighbours_order_or_grouping(
    real: Sampler, manifest: Manifest, minted_alone: dict[Address, bytes], order: list[int], cuts: list[int]
) -> None:
    addresses = forty(manifest)
    shuffled = [addresses[k] for k in order]
    for start, end in itertools.pairwise(cuts):
        group = shuffled[start:end]
        for address, pixels in zip(group, real.mint(group)):
            assert pixels.tobytes() == minted_alone[address]


@settings(max_examples=40)
@given(order=permutations, cuts=cuts)
def test_bytes_do_not_depend_on_grouping_even_if_the_generator_depends_on_its_batch_size(
    manifest: Manifest, order: list[int], cuts: list[int]
) -> None:
    addresses = forty(manifest)
    sampler = torch_sampler(depends_on_the_batch_size, manifest)
    alone = mint_alone(sampler, addresses[:3])
    shuffled = [addresses[k] for k in order]
    for start, end in itertools.pairwise(cuts):
        group = shuffled[start:end]
        for address, pixels in zip(group, sampler.mint(group)):
            assert address not in alone or pixels.tobytes() == alone[address]


def test_the_same_address_twice_in_a_call_is_the_same_image(real: Sampler, manifest: Manifest) -> None:
    address = manifest.addresses(seed=9)[0]
    pixels = real.mint([address] * 9)
    assert all((image == pixels[0]).all() for image in pixels)


def test_a_sampler_loaded_again_mints_the_same_bytes(tiny_artifact: Path, real: Sampler, manifest: Manifest) -> None:
    addresses = forty(manifest)
    first = real.mint(addresses).tobytes()
    # TorchScript specialises itself during its first calls; that must not show.
    again = artifact.load(tiny_artifact)
    assert all(again.mint(addresses).tobytes() == first for _ in range(4))


def test_every_part_of_an_address_counts(real: Sampler, manifest: Manifest) -> None:
    variants = [
        manifest.addresses(3, 5, labels=1)[0],
        manifest.addresses(4, 5, labels=1)[0],
        manifest.addresses(3, 6, labels=1)[0],
        manifest.addresses(3, 5, labels=2)[0],
        manifest.addresses(3, 5, labels=1, psi=0.5)[0],
        manifest.addresses(5, 3, labels=1)[0],
    ]
    assert len({image.tobytes() for image in real.mint(variants)}) == len(variants)


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_every_forward_runs_at_exactly_the_manifests_batch_size(manifest: Manifest, count: int, calls: int) -> None:
    recorder = Recorder()
    pixels = torch_sampler(recorder, manifest).mint(manifest.addresses(0, n=count))
    assert [tuple(z.shape) for z in recorder.z] == [(4, 8)] * calls
    assert [tuple(weights.shape) for weights in recorder.class_weights] == [(4, 3)] * calls
    assert pixels.shape == (count, 8, 8, 1) and pixels.dtype == np.uint8


def test_the_batch_size_can_be_overridden_for_measuring(manifest: Manifest) -> None:
    recorder = Recorder()
    torch_sampler(recorder, manifest, batch_size=16).mint(manifest.addresses(0, n=20))
    assert [len(z) for z in recorder.z] == [16, 16]


def test_the_generator_gets_the_addresses_latents_and_classes(manifest: Manifest) -> None:
    recorder = Recorder()
    addresses = manifest.addresses(5, index=2, n=6, labels=[2, 0, 1, 1, 0, 2])
    torch_sampler(recorder, manifest).mint(addresses)
    z, class_weights = torch.cat(recorder.z), torch.cat(recorder.class_weights)
    assert z.dtype == torch.float32 and class_weights.dtype == torch.float32
    assert z[:6].tolist() == [draw_latent(5, 2 + k, 8).tolist() for k in range(6)]
    assert class_weights[:6].tolist() == torch.eye(3)[[2, 0, 1, 1, 0, 2]].tolist()


def test_the_padding_is_neutral(manifest: Manifest) -> None:
    recorder = Recorder()
    torch_sampler(recorder, manifest).mint(manifest.addresses(5, n=6, labels=2))
    assert not recorder.z[1][2:].any()
    assert recorder.class_weights[1].tolist() == torch.eye(3)[[2, 2, 0, 0]].tolist()
    assert recorder.z[1][:2].any()


def test_psi_scales_the_latent_of_its_own_sample_only(manifest: Manifest) -> None:
    recorder = Recorder()
    addresses = manifest.addresses(1, psi=0.5) + manifest.addresses(1) + manifest.addresses(1, psi=0.7)
    torch_sampler(recorder, manifest).mint(addresses)
    z = draw_latent(1, 0, 8)
    np.testing.assert_array_equal(recorder.z[0][0].numpy(), z * np.float32(0.5))
    np.testing.assert_array_equal(recorder.z[0][1].numpy(), z)
    np.testing.assert_array_equal(recorder.z[0][2].numpy(), z * np.float32(0.7))


def test_an_unconditional_model_gets_no_class_weights(manifest: Manifest) -> None:
    recorder = Recorder()
    unconditional = manifest.model_copy(update={"class_names": ()})
    torch_sampler(recorder, unconditional).mint(unconditional.addresses(0, n=2))
    assert recorder.class_weights[0].shape == (4, 0)


@pytest.mark.parametrize(("class_names", "labels"), [(("a", "b", "c"), [2, 1, 0, 0]), ((), [0, 0, 0, 0])])
def test_a_generator_of_schema_1_gets_labels(
    manifest: Manifest, class_names: tuple[str, ...], labels: list[int]
) -> None:
    recorder = Recorder()
    old = manifest.model_copy(update={"class_names": class_names, "schema_version": 1})
    torch_sampler(recorder, old).mint(old.addresses(0, n=3, labels=[2, 1, 0] if class_names else None))
    assert recorder.class_weights[0].dtype == torch.int64
    assert recorder.class_weights[0].tolist() == labels


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 1), (1, 4, 4), (3, 8, 8)])
def test_images_that_do_not_have_the_manifests_shape_are_refused(
    manifest: Manifest, shape: tuple[int, int, int]
) -> None:
    with pytest.raises(ArtifactError, match="makes images of shape"):
        torch_sampler(Recorder(shape), manifest).mint(manifest.addresses(0))


def test_no_addresses_make_no_images_and_no_forward(manifest: Manifest) -> None:
    recorder = Recorder()
    assert torch_sampler(recorder, manifest).mint([]).shape == (0, 8, 8, 1)
    assert not recorder.z


def test_pixels_are_rows_columns_channels(manifest: Manifest) -> None:
    def generator(z: Tensor, class_weights: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, 3 * 2 * 4).reshape(1, 3, 2, 4)
        return ramp.repeat(len(z), 1, 1, 1)

    wide = manifest.model_copy(update={"image": ImageShape(channels=3, height=2, width=4)})
    pixels = torch_sampler(generator, wide).mint(wide.addresses(0, n=5))
    assert pixels.shape == (5, 2, 4, 3)
    expected = np.round(np.linspace(0, 255, 24)).reshape(3, 2, 4).transpose(1, 2, 0)
    assert np.abs(pixels - expected[None]).max() <= 1


def test_it_computes_on_one_thread_and_restores_the_callers_threads(manifest: Manifest) -> None:
    recorder = Recorder()
    torch.set_num_threads(3)
    torch_sampler(recorder, manifest).mint(manifest.addresses(0, n=5))
    assert recorder.threads == [1, 1]
    assert recorder.inference == [True, True]
    assert torch.get_num_threads() == 3


def read_flags() -> list[bool]:
    """Whether torch takes shortcuts on GPUs, which depend on the kernel that it happens to choose."""
    cudnn = torch.backends.cudnn
    return [torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, not cudnn.deterministic]


def set_flags(flags: list[bool]) -> None:
    cudnn = torch.backends.cudnn
    torch.backends.cuda.matmul.allow_tf32 = flags[0]
    cudnn.allow_tf32 = flags[1]
    cudnn.benchmark = flags[2]
    cudnn.deterministic = not flags[3]


@pytest.fixture
def shortcuts() -> Iterator[None]:
    """Torch takes every shortcut; afterwards it is as it was."""
    before = read_flags()
    set_flags([True] * 4)
    yield
    set_flags(before)


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_computes_without_shortcuts_for_the_rest_of_the_process(
    manifest: Manifest, shortcuts: None, device: str
) -> None:
    TorchRuntime(Recorder(), manifest, device)
    assert read_flags() == [False] * 4


def test_a_cpu_leaves_the_flags_of_gpus_to_the_caller(manifest: Manifest, shortcuts: None) -> None:
    torch_sampler(Recorder(), manifest).mint(manifest.addresses(0))
    assert read_flags() == [True] * 4


def test_a_failing_generator_leaves_the_thread_count_as_it_was(manifest: Manifest) -> None:
    def failing(z: Tensor, class_weights: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    torch.set_num_threads(3)
    with pytest.raises(RuntimeError, match="out of memory"):
        torch_sampler(failing, manifest).mint(manifest.addresses(0))
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_bytes_do_not_depend_on_the_callers_thread_count(
    real: Sampler, manifest: Manifest, minted_alone: dict[Address, bytes], threads: int
) -> None:
    torch.set_num_threads(threads)
    assert mint_alone(real, forty(manifest)) == minted_alone


def test_the_fingerprint_names_what_byte_identity_depends_on(manifest: Manifest) -> None:
    def fingerprint(generator: Generator, batch_size: int | None = None) -> str:
        return torch_sampler(generator, manifest, batch_size=batch_size).fingerprint

    text = fingerprint(Recorder())
    for part in (f"torch {torch.__version__}", "1 thread", "float32", "batch 4", f"Pillow {PIL.__version__}", "zlib "):
        assert part in text
    assert fingerprint(Recorder()) == text
    assert fingerprint(Recorder(), 8) != text


def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cpu") == "cpu"
    # Torch is not asked, and so not imported, where there is no driver.
    monkeypatch.setattr(loading, "has_nvidia_driver", lambda: False)
    assert resolve_device("auto") == "cpu"


def test_a_gpu_sampler_takes_the_gpus_batch_size(manifest: Manifest) -> None:
    assert TorchRuntime(Recorder(), manifest, "cuda").batch_size == 64
    assert TorchRuntime(Recorder(), manifest, "cuda:1").batch_size == 64
    assert TorchRuntime(Recorder(), manifest, "cpu").batch_size == 4


def read_float32(text: str) -> list[float]:
    """Return the float32 values of hexadecimal digits, eight a value, the most significant first."""
    return [float(value) for value in np.frombuffer(bytes.fromhex(text), ">f4")]


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["address"])
def test_the_inputs_of_an_address_never_change(manifest: Manifest, vector: dict[str, Any]) -> None:
    update = {"latents": Latents(z_dim=VECTORS["z_dim"]), "class_names": tuple("0123456789")}
    model = manifest.model_copy(update=update)
    address = model.check(Address.parse(vector["asked"]))
    assert str(address) == vector["address"]
    z, class_weights = torch_sampler(Recorder(), model).draw_inputs([address])
    assert z[0].tolist() == read_float32(vector["z"])
    assert class_weights[0].tolist() == read_float32(vector["class_weights"])


@pytest.mark.parametrize("vector", VECTORS["directions"]["addresses"], ids=lambda vector: vector["address"])
def test_the_latents_that_are_moved_along_directions_never_change(manifest: Manifest, vector: dict[str, Any]) -> None:
    vectors = {name: np.array(d, np.float32) for name, d in VECTORS["directions"]["vectors"].items()}
    update = {"class_names": tuple("0123456789"), "directions": tuple(sorted(vectors))}
    model = manifest.model_copy(update=update)
    address = model.check(Address.parse(vector["asked"]))
    assert str(address) == vector["address"]
    sampler = Sampler(TorchRuntime(Recorder(), model), model, directions=vectors)
    z, class_weights = sampler.draw_inputs([address])
    assert z[0].tolist() == read_float32(vector["z"])
    assert class_weights[0].tolist() == read_float32(vector["class_weights"])


@pytest.mark.parametrize("vector", VECTORS["level_edits"], ids=lambda vector: vector["address"])
def test_the_edits_of_feature_maps_in_an_address_never_change(manifest: Manifest, vector: dict[str, Any]) -> None:
    update = {"latents": Latents(z_dim=VECTORS["z_dim"]), "class_names": tuple("0123456789")}
    model = manifest.model_copy(update=update)
    address = model.check(Address.parse(vector["asked"]))
    assert str(address) == vector["address"]
    sources = torch_sampler(Recorder(), model).draw_sources(address)
    assert [[p.level, list(p.rectangle)] for p in address.paste] == [
        [v["level"], v["rectangle"]] for v in vector["pastes"]
    ]
    for source, expected in zip(sources, vector["pastes"]):
        assert source.z[0].tolist() == read_float32(expected["z"])
        assert source.class_weights[0].tolist() == read_float32(expected["class_weights"])
    units = [{**edit._asdict(), "rectangle": edit.rectangle and list(edit.rectangle)} for edit in address.units]
    assert units == vector["units"]


def test_a_latent_mixed_with_itself_stays_what_it_is(real: Sampler) -> None:
    plain, mixed = (Address.parse(f"tiny/1.0.0/7/0?label=1{rest}") for rest in ("", "&to=7.0&tolabel=2&at=0.25"))
    z, class_weights = real.draw_inputs([plain, mixed])
    np.testing.assert_array_equal(z[0], z[1])
    assert class_weights.tolist() == [[0, 1, 0], [0, 0.75, 0.25]]


def test_a_drawn_latent_that_is_written_out_is_the_same_image(real: Sampler, manifest: Manifest) -> None:
    drawn = manifest.addresses(7, 0, 3, labels=1, psi=0.5)
    written = manifest.latent_addresses([draw_latent(a.seed, a.index, 8) for a in drawn], labels=1, psi=0.5)
    np.testing.assert_array_equal(real.mint(drawn), real.mint(written))


def test_bytes_of_edited_addresses_do_not_depend_on_their_neighbours(real: Sampler, manifest: Manifest) -> None:
    edits = ["to=8.0&at=0.5", "to=8.1&tolabel=0&at=0.0001&z3=-2.5", "z0=16", "psi=0.5&to=3.3&at=0.75", "label=2&z7=0"]
    edits += ["paste=0_8.0_1_1_0_3_2", "psi=0.5&to=8.0&at=0.5&paste=1_8.0_2_2_6_7&u0.3=2.5&u1.0=-1.5_0_0_3_3", "u0.0=9"]
    texts = [f"tiny/1.0.0/7/{index}?{edit}" for index in range(3) for edit in edits]
    addresses = [manifest.check(Address.parse(text)) for text in texts]
    together = real.mint(addresses)
    assert len({pixels.tobytes() for pixels in together}) == len(addresses)
    for address, pixels in zip(addresses, together):
        np.testing.assert_array_equal(real.mint([address])[0], pixels)
    np.testing.assert_array_equal(real.mint(addresses[::-1], use_all_cores=True)[::-1], together)
