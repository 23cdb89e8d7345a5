"""The ONNX runtime: the same bits at any batch, and files that are refused."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models import artifact, store
from models.address import Address
from models.artifact_files import ONNX_FILE, ArtifactFiles, read_files
from models.errors import ArtifactError, GanmintError, InputError
from models.files import sha256
from models.goldens import check_goldens, parse_goldens
from models.manifest import MANIFEST_FILE, Manifest, dump_manifest, read_manifest
from models.network_config import DCGANConfig, GeneratorConfig, NetworkConfig, PriorConfig, ResNetConfig
from models.networks import build_generator, one_hot
from models.runtime import loading, onnx_graph, processor
from models.runtime.loading import RuntimeChoice, read_runtime_choice
from models.runtime.onnx import MIN_ALL_CORES_S, OnnxRuntime
from models.runtime.onnx_scan import find_external_data
from models.runtime.torchscript import to_uint8
from models.sampler import Sampler

OLD = Path(__file__).parents[2] / "data" / "v0.1" / "artifact"
COUNT = 64

permutations = st.permutations(range(COUNT))
cuts = st.lists(st.integers(0, COUNT), max_size=16).map(lambda places: [0, *sorted(places), COUNT])


@pytest.fixture
def folder(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the tiny artifact, to damage."""
    return Path(shutil.copytree(tiny_artifact, tmp_path / "copy"))


@pytest.fixture(scope="module", params=["digits", "faces"])
def bundled(request: pytest.FixtureRequest) -> Path:
    """A bundled artifact."""
    return store.BUNDLED / str(request.param)


@pytest.fixture(scope="module")
def sampler(bundled: Path) -> Sampler:
    """A bundled model on onnxruntime, with two threads for the runs that may use all cores."""
    loaded = artifact.load(bundled, runtime="onnx")
    path = bundled / ONNX_FILE
    runtime = OnnxRuntime(path.read_bytes(), path, loaded.manifest, threads=2)
    # Every batch is large enough for all cores.
    runtime._row_s = MIN_ALL_CORES_S
    return Sampler(runtime, loaded.manifest)


@pytest.fixture(scope="module")
def minted_alone(sampler: Sampler) -> dict[Address, bytes]:
    return {address: sampler.mint([address])[0].tobytes() for address in choose_addresses(sampler.manifest)}


def choose_addresses(manifest: Manifest) -> list[Address]:
    """64 addresses: near and far, each class, with and without psi."""
    near = manifest.addresses(seed=3, n=24)
    far = manifest.addresses(seed=2**53 - 1, index=2**53 - 20, n=20, labels="balanced")
    return near + far + manifest.addresses(seed=2**40, index=1, n=20, labels=2, psi=0.7)


def replace_onnx(folder: Path, data: bytes) -> None:
    """Other content under a correct hash: what a careless publisher would make."""
    (folder / ONNX_FILE).write_bytes(data)
    manifest = read_manifest(folder)
    files = {**manifest.files, ONNX_FILE: sha256(folder / ONNX_FILE)}
    (folder / MANIFEST_FILE).write_bytes(dump_manifest(manifest.model_copy(update={"files": files})))


def change_onnx(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the model in an artifact's ONNX file."""
    model = onnx.load(folder / ONNX_FILE)
    change(model)
    replace_onnx(folder, model.SerializeToString())


# The same bits


@settings(max_examples=12)
@given(order=permutations, cuts=cuts, use_all_cores=st.lists(st.booleans(), min_size=18, max_size=18))
def test_bytes_depend_neither_on_the_grouping_nor_on_the_order_nor_on_the_threads(
    sampler: Sampler, minted_alone: dict[Address, bytes], order: list[int], cuts: list[int], use_all_cores: list[bool]
) -> None:
    addresses = choose_addresses(sampler.manifest)
    shuffled = [addresses[k] for k in order]
    for (start, end), all_cores in zip(itertools.pairwise(cuts), use_all_cores):
        group = shuffled[start:end]
        for address, pixels in zip(group, sampler.mint(group, all_cores)):
            assert pixels.tobytes() == minted_alone[address]


def test_both_runtimes_make_the_goldens(bundled: Path) -> None:
    addresses, goldens = parse_goldens(artifact.read(bundled))
    pixels = {
        name: artifact.load(bundled, runtime=name).mint(addresses).astype(int) for name in ("onnx", "torchscript")
    }

    difference = np.abs(pixels["onnx"] - pixels["torchscript"])
    print(f"{bundled.name}: {(difference > 0).mean():.6%} of {difference.size} values differ, by {difference.max()}")
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    for made in pixels.values():
        assert np.abs(made - goldens).max() <= 1


def test_a_runtime_whose_bits_depend_on_the_batch_gets_full_batches(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, run_float = OnnxRuntime.run, OnnxRuntime.run_float
    sizes: list[int] = []

    def run_and_record(
        self: OnnxRuntime, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool = False
    ) -> NDArray[np.uint8]:
        sizes.append(len(z))
        return run(self, z, class_weights, use_all_cores)

    def run_by_batch(
        self: OnnxRuntime, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool
    ) -> NDArray[np.float32]:
        image = run_float(self, z, class_weights, use_all_cores)
        return np.nextafter(image, 2) if len(z) > 2 else image

    independent = artifact.load(tiny_artifact)
    monkeypatch.setattr(OnnxRuntime, "run", run_and_record)
    monkeypatch.setattr(OnnxRuntime, "run_float", run_by_batch)
    padded = artifact.load(tiny_artifact)
    sizes.clear()
    pixels = padded.mint(padded.manifest.addresses(0, n=5), use_all_cores=True)

    assert (independent.runtime.needs_padding, padded.runtime.needs_padding) == (False, True)
    assert sizes == [4, 4]
    assert pixels.tobytes() == independent.mint(padded.manifest.addresses(0, n=5)).tobytes()
    assert padded.runtime.fingerprint == f"{independent.runtime.fingerprint}, batch 4"
    assert "the bits of onnxruntime depend on the batch here: 4 images on one thread" in caplog.text


def test_a_runtime_whose_bits_depend_on_the_batch_for_mixtures_only_gets_full_batches(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_float = OnnxRuntime.run_float

    def run_mixtures_by_batch(
        self: OnnxRuntime, z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool
    ) -> NDArray[np.float32]:
        image = run_float(self, z, class_weights, use_all_cores)
        is_mixture = (class_weights.max(axis=1) < 1)[:, None, None, None]
        return np.where(is_mixture & (len(z) > 2), np.nextafter(image, 2), image)

    monkeypatch.setattr(OnnxRuntime, "run_float", run_mixtures_by_batch)
    assert artifact.load(tiny_artifact).runtime.needs_padding


def test_edited_addresses_are_the_same_alone_and_on_both_runtimes(bundled: Path, sampler: Sampler) -> None:
    manifest = sampler.manifest
    last = len(manifest.class_names) - 1
    edits = ["to=8.1&at=0.3333", f"label=0&to=8.1&tolabel={last}&at=0.5", "z3=-2.5&z0=16", "psi=0.5&to=9.9&at=0.9"]
    texts = [f"{manifest.name}/{manifest.version}/7/{index}?{edit}" for edit in edits for index in range(3)]
    addresses = [manifest.check(Address.parse(text)) for text in texts]
    together = sampler.mint(addresses)
    for address, pixels in zip(addresses, together):
        assert sampler.mint([address])[0].tobytes() == pixels.tobytes()
    other = artifact.load(bundled, runtime="torchscript").mint(addresses)
    assert np.abs(together.astype(int) - other).max() <= 1


def test_without_padding_a_run_has_as_many_rows_as_there_are_images(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = artifact.load(tiny_artifact)
    run = sampler.runtime.run
    calls: list[tuple[int, bool]] = []

    def run_and_record(
        z: NDArray[np.float32], class_weights: NDArray[np.float32], use_all_cores: bool = False
    ) -> NDArray[np.uint8]:
        calls.append((len(z), use_all_cores))
        return run(z, class_weights, use_all_cores)

    monkeypatch.setattr(sampler.runtime, "run", run_and_record)
    sampler.mint(sampler.manifest.addresses(0, n=6))
    sampler.mint(sampler.manifest.addresses(0), use_all_cores=True)

    assert calls == [(4, False), (2, False), (1, True)]


def test_the_fingerprint_names_what_the_bits_depend_on(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = artifact.load(tiny_artifact)
    for part in (
        "onnxruntime 1.",
        "all optimisations",
        processor.describe_processor(),
        "float32",
        f"NumPy {np.__version__}",
    ):
        assert part in sampler.fingerprint
    before = sampler.fingerprint
    processor.describe_processor.cache_clear()
    monkeypatch.setattr(processor, "_features", lambda: {"SSE41": True})
    assert sampler.fingerprint != before
    processor.describe_processor.cache_clear()


# The graph


@pytest.mark.parametrize("num_classes", [0, 1, 3])
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (ResNetConfig(base=4, widths=(8, 6, 4), blocks=2, label_dim=5), (1, 16, 16)),
        (ResNetConfig(base=4, widths=(8, 6, 4), label_dim=5), (3, 16, 16)),
        (ResNetConfig(base=4, widths=(8, 6, 4), label_dim=5, group=4), (3, 16, 16)),
        (ResNetConfig(base=4, widths=(8, 6, 4), label_dim=5, input_layer="dense"), (1, 16, 16)),
        (ResNetConfig(base=4, widths=(8, 6), label_dim=5, prior=PriorConfig(width=9, steps=3)), (1, 8, 8)),
        (ResNetConfig(base=8, widths=(4,)), (1, 8, 8)),
        (DCGANConfig(base=4, widths=(8, 6)), (1, 16, 16)),
        (DCGANConfig(base=4, widths=(8,)), (3, 8, 8)),
    ],
    ids=["plain", "rgb", "bottleneck", "dense", "prior", "one-level", "dcgan", "dcgan-rgb"],
)
def test_the_graph_computes_what_the_network_does(
    tiny_manifest: Manifest, network: NetworkConfig, shape: tuple[int, int, int], num_classes: int
) -> None:
    config = GeneratorConfig(z_dim=7, num_classes=num_classes, shape=shape, network=network)
    generator = create_generator(config)
    weights = {name: w.numpy() for name, w in generator.state_dict().items()}
    runtime = OnnxRuntime(
        onnx_graph.build_onnx(config, weights), Path("generator.onnx"), describe(tiny_manifest, config)
    )
    z = torch.randn(9, 7)
    classes = one_hot(torch.arange(9) % max(num_classes, 1), num_classes)
    # The last rows mix classes.
    classes[5:] = torch.rand(4, num_classes)

    with torch.no_grad():
        expected = generator(z, classes)
    floats = runtime.run_float(z.numpy(), classes.numpy(), use_all_cores=False)
    pixels = runtime.run(z.numpy(), classes.numpy())

    assert np.abs(floats - expected.numpy()).max() < 1e-4
    assert np.abs(pixels.astype(int) - to_uint8(expected).numpy()).max() <= 1
    assert len(np.unique(pixels)) > 50
    assert (floats[:4] != floats[1:5]).any()


def test_pixels_are_the_floats_rounded_half_to_even_and_clipped(tiny_manifest: Manifest, tmp_path: Path) -> None:
    """The last graph nodes on every half and beyond both ends."""
    values = np.concatenate([np.arange(-2, 257.5, 0.5, dtype=np.float32), np.array([1e9, -1e9, np.inf], np.float32)])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 1, len(values)])
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 1, len(values), 1])
    graph = onnx_graph._Graph({})
    onnx_graph._add_pixels(graph, "image")
    proto = helper.make_graph(graph.nodes, "pixels", [image], [pixels], list(graph.constants.values()))
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", onnx_graph.OPSET)], ir_version=8)
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = (values / np.float32(127.5) - np.float32(1)).reshape(1, 1, 1, -1)

    assert (session.run(["pixels"], {"image": images})[0] == to_uint8(torch.from_numpy(images)).numpy()).all()


def test_the_same_weights_give_the_same_file(tiny_artifact: Path, tmp_path: Path) -> None:
    config = GeneratorConfig.model_validate(read_manifest(tiny_artifact).network)
    onnx_graph.write_onnx(config, tiny_artifact / artifact.WEIGHTS, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tiny_artifact / ONNX_FILE).read_bytes()
    assert b"/" not in (tmp_path / "again.onnx").read_bytes()[:64]


def create_generator(config: GeneratorConfig) -> torch.nn.Module:
    """A generator whose weights are all in use."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = build_generator(config)
        with torch.no_grad():
            for name, value in generator.state_dict().items():
                if "running_var" in name:
                    value.uniform_(0.5, 2)
                elif value.is_floating_point():
                    value.add_((0.3 if config.network.kind == "dcgan" else 0.1) * torch.randn_like(value))
    return generator.eval()


def describe(manifest: Manifest, config: GeneratorConfig) -> Manifest:
    """Return the manifest for such a generator."""
    channels, height, width = config.shape
    return manifest.model_copy(
        update={
            "image": manifest.image.model_copy(update={"channels": channels, "height": height, "width": width}),
            "latents": manifest.latents.model_copy(update={"z_dim": config.z_dim}),
            "class_names": tuple("abc"[: config.num_classes]),
            "batch_size": {"cpu": 4, "cuda": 4},
        }
    )


# The choice


def test_without_onnxruntime_torchscript_runs_with_a_word(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tiny_artifact: Path
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: name != "onnxruntime")

    assert artifact.load(tiny_artifact).runtime.name == "torchscript"
    assert "tiny/1.0.0 runs on TorchScript, because onnxruntime is not installed; pip install" in caplog.text


def test_an_artifact_of_schema_1_runs_on_torchscript_with_a_word(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert artifact.load(OLD).runtime.name == "torchscript"
    assert (
        "runs on TorchScript, because it has no generator.onnx; ganmint models upgrade olddigits/1.0.0 makes"
        in caplog.text
    )

    monkeypatch.setenv("GANMINT_RUNTIME", "onnx")
    with pytest.raises(
        ArtifactError, match="of schema 1; make a version that has it with: ganmint models upgrade"
    ) as refused:
        artifact.load(OLD)
    assert refused.value.path == OLD / ONNX_FILE


@pytest.mark.parametrize("name", ["onnx", "torchscript"])
def test_the_variable_chooses_the_runtime(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GANMINT_RUNTIME", name)
    assert artifact.load(tiny_artifact).runtime.name == name


def test_an_unknown_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANMINT_RUNTIME", "tensorrt")
    with pytest.raises(InputError, match="GANMINT_RUNTIME: must be one of auto, onnx, torchscript, got 'tensorrt'"):
        read_runtime_choice()


def test_onnx_is_refused_on_a_gpu(tiny_artifact: Path) -> None:
    with pytest.raises(InputError, match="onnx runs on the CPU only, not on cuda:1"):
        artifact.load(tiny_artifact, "cuda:1", "onnx")


def test_without_onnxruntime_onnx_is_refused_and_auto_takes_torchscript(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(loading, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))

    with pytest.raises(
        GanmintError, match="the runtime onnx needs onnxruntime; install it with: pip install onnxruntime"
    ):
        artifact.load(tiny_artifact, runtime="onnx")
    assert artifact.load(tiny_artifact).runtime.name == "torchscript"

    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(
        GanmintError, match="no runtime that can run this model is installed; try: pip install onnxruntime"
    ):
        artifact.load(tiny_artifact)


def test_minting_on_a_cpu_imports_neither_torch_nor_onnx(tiny_artifact: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; from models import artifact\n"
        "sampler = artifact.load(Path(sys.argv[1])); sampler.mint(sampler.manifest.addresses(0))\n"
        "print(json.dumps([sampler.runtime.name, *({'torch', 'onnx', 'safetensors'} & sys.modules.keys())]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_artifact)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["onnx"]


# Bad files


def test_a_tampered_file_is_refused(folder: Path) -> None:
    data = bytearray((folder / ONNX_FILE).read_bytes())
    data[-1] ^= 1
    (folder / ONNX_FILE).write_bytes(data)
    with pytest.raises(ArtifactError, match="does not have the hash") as refused:
        artifact.load(folder)
    assert refused.value.path == folder / ONNX_FILE


@pytest.mark.parametrize("runtime", ["onnx", "torchscript"])
def test_what_was_checked_is_what_is_loaded(
    folder: Path, runtime: RuntimeChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write to the folder may swap files at any moment after they were read."""

    def read_then_swap(read: Path) -> ArtifactFiles:
        files = read_files(read)
        for path in read.iterdir():
            path.write_bytes(b"swapped")
        return files

    expected = artifact.load(folder).manifest
    monkeypatch.setattr(artifact, "read_files", read_then_swap)
    assert artifact.load(folder, runtime=runtime).manifest == expected


@pytest.mark.parametrize(("difference", "is_refused"), [(1, False), (2, True), (-2, True)])
def test_a_file_whose_images_are_off_by_2_is_refused_by_its_goldens(
    folder: Path, difference: int, is_refused: bool
) -> None:
    def shift(model: Any) -> None:
        for constant in model.graph.initializer:
            if constant.name == "one":
                constant.CopyFrom(numpy_helper.from_array(np.array(1 + difference / 127.5, np.float32), "one"))

    change_onnx(folder, shift)
    if not is_refused:
        artifact.load(folder)
        return
    with pytest.raises(ArtifactError, match="off by up to 2 of 255") as refused:
        artifact.load(folder)
    assert refused.value.path == folder / artifact.GOLDEN
    assert artifact.load(folder, runtime="torchscript").runtime.name == "torchscript"


def set_operator(model: Any) -> None:
    model.graph.node[-1].op_type = "Divine"


def set_newer_opset(model: Any) -> None:
    model.opset_import[0].version = 9999


def set_z_dim(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 16


def set_num_classes(model: Any) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 4


def drop_pixels(model: Any) -> None:
    del model.graph.output[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_operator, r"cannot be run by onnxruntime [0-9.]+: .*Divine"),
        (set_newer_opset, r"cannot be run by onnxruntime [0-9.]+: "),
        (
            set_z_dim,
            r"has 'z' of the form \('tensor\(float\)', \[16\]\), but its manifest asks for .*\[8\]|cannot be run",
        ),
        (
            set_num_classes,
            r"has 'class_weights' of the form .*\[4\]\), but its manifest asks for .*\[3\]|cannot be run",
        ),
        (drop_pixels, "has no 'pixels'; it has class_weights, image, z"),
    ],
)
def test_a_model_that_cannot_be_run_is_refused_by_its_file(
    folder: Path, change: Callable[[Any], None], message: str
) -> None:
    change_onnx(folder, change)
    with pytest.raises(ArtifactError, match=message) as refused:
        artifact.load(folder)
    assert refused.value.path == folder / ONNX_FILE


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("latents", "has 'z' of the form .*8.* asks for .*9"),
        ("class_names", "has 'class_weights' of the form .*3.* asks for .*2"),
    ],
)
def test_a_manifest_that_differs_from_the_model_is_refused(tiny_artifact: Path, field: str, message: str) -> None:
    manifest = read_manifest(tiny_artifact)
    changes = {"latents": manifest.latents.model_copy(update={"z_dim": 9}), "class_names": ("a", "b")}
    data = (tiny_artifact / ONNX_FILE).read_bytes()
    with pytest.raises(ArtifactError, match=message):
        OnnxRuntime(data, Path("generator.onnx"), manifest.model_copy(update={field: changes[field]}))


@pytest.mark.parametrize("place", ["weights", "attribute", "function", "sparse", "subgraph"])
def test_data_in_another_file_is_never_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Wherever a tensor can stand, and where onnxruntime would find the file."""
    monkeypatch.chdir(tmp_path)
    model = onnx.load(folder / ONNX_FILE)
    if place == "weights":
        onnx.save_model(
            model,
            tmp_path / "m.onnx",
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location="secret.bin",
            size_threshold=0,
        )
        model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
        assert (tmp_path / "secret.bin").exists()
    else:
        add_external_tensor(model, place)
    replace_onnx(folder, model.SerializeToString())

    with pytest.raises(ArtifactError, match=r"has the data of '.*' in another file, which is never read") as refused:
        artifact.load(folder)
    assert refused.value.path == folder / ONNX_FILE


def add_external_tensor(model: Any, place: str) -> None:
    tensor = TensorProto(name="elsewhere", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    if place == "attribute":
        model.graph.node.append(constant)
    elif place == "function":
        model.functions.append(helper.make_function("mine", "F", [], ["c"], [constant], [helper.make_opsetid("", 17)]))
    elif place == "sparse":
        model.graph.sparse_initializer.add(values=tensor, indices=tensor, dims=[1])
    else:
        graph = helper.make_graph([constant], "inner", [], [])
        node = helper.make_node("If", ["x"], ["y"], then_branch=graph, else_branch=graph)
        model.graph.node.append(node)


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08", b"\xff" * 64, b"\x0b\x0c", b"\x3a\xff\x01\x00"])
def test_what_is_no_onnx_file_is_refused(folder: Path, data: bytes) -> None:
    replace_onnx(folder, data)
    with pytest.raises(ArtifactError, match=r"is not an ONNX file|cannot be run by onnxruntime") as refused:
        artifact.load(folder)
    assert refused.value.path == folder / ONNX_FILE


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_file_ends_in_a_refusal_or_in_the_same_images(tiny_artifact: Path, data: st.DataObject) -> None:
    manifest = read_manifest(tiny_artifact)
    content = bytearray((tiny_artifact / ONNX_FILE).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    try:
        runtime = OnnxRuntime(bytes(content), Path("generator.onnx"), manifest, threads=1)
        sampler = Sampler(runtime, manifest)
        check_goldens(sampler, artifact.read(tiny_artifact))
    except ArtifactError:
        return


@pytest.mark.parametrize("depth", [30, 50, 5000])
def test_nesting_has_an_end(depth: int) -> None:
    def wrap(field: int, content: bytes) -> bytes:
        size, varint = len(content), b""
        while size >= 0x80:
            varint += bytes([size & 0x7F | 0x80])
            size >>= 7
        return bytes([field << 3 | 2]) + varint + bytes([size]) + content

    graph = b""
    for _ in range(depth):
        # A graph in an attribute of a node.
        graph = wrap(1, wrap(5, wrap(6, graph)))
    data = wrap(7, graph)
    if depth < 33:
        assert find_external_data(data) == ""
        return
    with pytest.raises(ValueError, match="nested too deeply"):
        find_external_data(data)


def test_importing_onnxruntime_starts_no_reports_to_its_makers(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; from models.runtime.onnx import import_onnxruntime; import_onnxruntime();"
        "print([p.name for p in pathlib.Path.home().rglob('*')])"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert process.stdout == "[]\n", process.stderr


def test_only_a_batch_that_takes_long_enough_gets_all_cores(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = artifact.load(tiny_artifact)
    runtime = sampler.runtime
    assert isinstance(runtime, OnnxRuntime)
    used: list[str] = []

    class Recorder:
        def __init__(self, name: str, session: Any) -> None:
            self._name, self._session = name, session

        def run(self, *arguments: Any) -> Any:
            used.append(self._name)
            return self._session.run(*arguments)

    monkeypatch.setattr(runtime, "_all_threads", Recorder("all", runtime._all_threads))
    monkeypatch.setattr(runtime, "_one_thread", Recorder("one", runtime._one_thread))
    monkeypatch.setattr(runtime, "_row_s", MIN_ALL_CORES_S / 2)
    for n in (1, 2):
        sampler.mint(sampler.manifest.addresses(0, n=n), use_all_cores=True)
    sampler.mint(sampler.manifest.addresses(0, n=2), use_all_cores=False)
    assert used == ["one", "all", "one"]
