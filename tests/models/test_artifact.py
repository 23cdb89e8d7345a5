"""Artifact folders: what is written is what is loaded, and nothing else is loaded."""

from __future__ import annotations

import re
import shutil
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models import artifact, batch_size, images, network_config, networks
from models.address import Address
from models.artifact_files import ArtifactFiles
from models.errors import ArtifactError
from models.evidence import GateRecord
from models.files import sha256
from models.goldens import check_goldens
from models.latents import MAX_INTEGER
from models.manifest import MANIFEST_FILE, ImageShape, Manifest, dump_manifest, read_manifest
from models.marks import read_address
from models.model_card import render_model_card
from models.runtime.loading import RuntimeChoice
from models.sampler import Sampler
from tests.samplers import torch_sampler


@pytest.fixture
def folder(tiny_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the tiny artifact, to damage."""
    copy = tmp_path / "copy"
    shutil.copytree(tiny_artifact, copy)
    return copy


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What torch.jit.load was given; it can run code from there."""
    seen: list[bytes] = []
    load = torch.jit.load

    def seen_load(file: BytesIO, *arguments: Any, **keywords: Any) -> Any:
        seen.append(file.getvalue())
        return load(file, *arguments, **keywords)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(torch.jit, "load", seen_load)
    return seen


def change_manifest(folder: Path, **changes: Any) -> None:
    manifest = read_manifest(folder).model_copy(update=changes)
    (folder / MANIFEST_FILE).write_bytes(dump_manifest(manifest))


def replace(folder: Path, name: str, data: bytes) -> None:
    """Other content under a correct hash: what a careless publisher would make."""
    (folder / name).write_bytes(data)
    change_manifest(folder, files={**read_manifest(folder).files, name: sha256(folder / name)})


def goldens(folder: Path) -> tuple[list[str], NDArray[np.uint8]]:
    with np.load(folder / artifact.GOLDEN) as archive:
        return archive["addresses"].tolist(), archive["pixels"]


def replace_goldens(folder: Path, addresses: list[str], pixels: NDArray[Any]) -> None:
    np.savez_compressed(folder / artifact.GOLDEN, addresses=np.array(addresses), pixels=pixels)
    replace(folder, artifact.GOLDEN, (folder / artifact.GOLDEN).read_bytes())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("in the middle")


# Export


def test_an_artifact_has_exactly_the_seven_files(tiny_artifact: Path) -> None:
    assert names(tiny_artifact) == [
        "card.md",
        "generator.onnx",
        "generator.safetensors",
        "generator.ts",
        "golden.npz",
        "manifest.json",
        "samples.png",
    ]


def test_the_card_comes_back_with_batch_sizes_and_hashes(
    tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    manifest = artifact.export(tiny_generator, tiny_manifest, tmp_path / "new", batch_size=4)
    assert read_manifest(tmp_path / "new") == manifest
    assert artifact.load(tmp_path / "new").manifest == manifest
    assert manifest.files == {name: sha256(tmp_path / "new" / name) for name in (*artifact.FILES, artifact.CARD)}
    assert manifest.batch_size["cpu"] == 4
    assert manifest.batch_size_measured["cpu"] is False
    kept = manifest.model_copy(update={"batch_size": {}, "batch_size_measured": {}, "files": {}})
    assert kept == tiny_manifest


def test_a_loaded_artifact_mints_what_the_generator_makes(tiny_artifact: Path, tiny_generator: nn.Module) -> None:
    loaded = artifact.load(tiny_artifact)
    addresses = loaded.manifest.addresses(5, n=30)
    direct = torch_sampler(tiny_generator.eval(), loaded.manifest).mint(addresses)
    assert np.abs(loaded.mint(addresses).astype(int) - direct).max() <= 1
    assert len(np.unique(direct)) > 100


def test_exporting_again_gives_the_same_bytes(
    tiny_artifact: Path, tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    artifact.export(tiny_generator, tiny_manifest, tmp_path / "again", batch_size=4)
    for name in names(tiny_artifact):
        assert (tmp_path / "again" / name).read_bytes() == (tiny_artifact / name).read_bytes(), name
    assert artifact.digest(tmp_path / "again") == artifact.digest(tiny_artifact)


def test_a_script_does_not_tell_where_it_was_made(tiny_artifact: Path) -> None:
    with zipfile.ZipFile(tiny_artifact / artifact.SCRIPT) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    for module in (networks, nn):
        folder = str(Path(str(module.__file__)).parent).encode()
        assert [name for name, data in records.items() if folder in data] == []


def test_the_generator_can_be_built_again_without_torchscript(tiny_artifact: Path, loads: list[bytes]) -> None:
    manifest = read_manifest(tiny_artifact)
    rebuilt = networks.build_generator(network_config.GeneratorConfig.model_validate(manifest.network))
    rebuilt.load_state_dict(safetensors.torch.load_file(tiny_artifact / artifact.WEIGHTS))
    sampler = torch_sampler(rebuilt.eval(), manifest)
    assert check_goldens(sampler, artifact.read(tiny_artifact)) == 0
    addresses = manifest.addresses(seed=99, n=50)
    pixels = sampler.mint(addresses)
    assert not loads
    assert (artifact.load(tiny_artifact, runtime="torchscript").mint(addresses) == pixels).all()


def test_the_goldens_reach_every_class_the_far_corner_and_truncation(tiny_artifact: Path) -> None:
    texts, pixels = goldens(tiny_artifact)
    addresses = [Address.parse(text) for text in texts]
    assert len(addresses) == len(pixels) == len(set(addresses))
    assert {a.label for a in addresses} == {0, 1, 2}
    assert any(a.seed == a.index == MAX_INTEGER for a in addresses)
    assert any(a.psi != 1 for a in addresses)
    assert {(a.model, a.version) for a in addresses} == {("tiny", "1.0.0")}
    assert pixels.dtype == np.uint8 and pixels.shape[1:] == (8, 8, 1)


def test_the_card_for_people_says_what_the_manifest_says(tiny_artifact: Path) -> None:
    text = (tiny_artifact / artifact.CARD).read_text()

    assert text == render_model_card(read_manifest(tiny_artifact))
    assert text.startswith("# tiny 1.0.0\n\nAn untrained generator for tests.\n")
    assert "- classes: 0 a, 1 b, 2 c" in text and "- data licence: CC0-1.0" in text and "- attribution: nobody" in text


def test_the_card_does_not_say_that_unstated_attribution_is_not_required(tiny_manifest: Manifest) -> None:
    manifest = tiny_manifest
    data = manifest.training.data.model_copy(update={"attribution": ""})
    unstated = manifest.model_copy(update={"training": manifest.training.model_copy(update={"data": data})})
    assert "- attribution: not stated" in render_model_card(unstated)


def test_an_older_artifact_without_a_card_for_people_is_whole(folder: Path) -> None:
    (folder / artifact.CARD).unlink()
    hashes = read_manifest(folder).files
    change_manifest(folder, files={name: hashes[name] for name in artifact.FILES})

    assert artifact.load(folder).manifest.name == "tiny"


@pytest.mark.parametrize("name", ["../elsewhere", "notes.txt"])
def test_a_manifest_that_names_another_file_is_refused(folder: Path, name: str) -> None:
    (folder / "notes.txt").write_text("mine")
    change_manifest(folder, files={**read_manifest(folder).files, name: "0" * 64})

    with pytest.raises(ArtifactError, match="which is no file of an artifact"):
        artifact.load(folder)


def test_the_samples_are_a_picture_with_one_class_a_column(tiny_artifact: Path) -> None:
    data = (tiny_artifact / artifact.SAMPLES).read_bytes()
    with Image.open(tiny_artifact / artifact.SAMPLES) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (9 * 8, 8 * 8))
        pixels = np.asarray(picture)[..., None]
    addresses = [Address.parse(line) for line in read_address(data).split("\n")]
    assert [a.label for a in addresses] == [0, 1, 2] * 24
    assert (pixels == images.grid(artifact.load(tiny_artifact).mint(addresses), 9)).all()


def test_an_unconditional_colour_model_is_exported_too(tiny_manifest: Manifest, tmp_path: Path) -> None:
    config = network_config.GeneratorConfig(
        z_dim=8, num_classes=0, shape=(3, 8, 8), network=network_config.ResNetConfig(base=4, widths=(8, 4))
    )
    draft = tiny_manifest.model_copy(
        update={
            "class_names": (),
            "truncation": False,
            "image": ImageShape(channels=3, height=8, width=8),
            "network": config.model_dump(mode="json"),
        }
    )
    artifact.export(networks.build_generator(config), draft, tmp_path / "colour", batch_size=2)
    texts, _ = goldens(tmp_path / "colour")
    assert not any("?" in text for text in texts)
    with Image.open(tmp_path / "colour" / artifact.SAMPLES) as picture:
        assert (picture.mode, picture.size) == ("RGB", (80, 64))


@pytest.mark.parametrize("content", [(), ("mine.txt",)])
def test_an_existing_folder_is_never_touched(
    tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path, content: tuple[str, ...]
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for name in content:
        (there / name).write_text("mine")
    with pytest.raises(ArtifactError, match="exists already"):
        artifact.export(tiny_generator, tiny_manifest, there, batch_size=4)
    assert names(there) == list(content) and names(tmp_path) == ["there"]


@pytest.mark.parametrize(
    "step",
    [
        "models.runtime.torchscript.write_torchscript",
        "models.runtime.onnx_graph.write_onnx",
        "models.batch_size.set_batch_sizes",
        "models.artifact.write_goldens",
        "models.artifact._write_samples",
        "models.artifact.write_atomically",
        "models.artifact.compare_goldens",
        "pathlib.Path.replace",
    ],
)
def test_an_export_that_fails_in_the_middle_leaves_nothing(
    tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(step, fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        artifact.export(tiny_generator, tiny_manifest, tmp_path / "new", batch_size=4)
    assert names(tmp_path) == []


def test_a_draft_that_is_not_committed_leaves_nothing(
    tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    with artifact.draft(tiny_generator, tiny_manifest, tmp_path / "new", batch_size=4) as draft:
        assert draft.manifest.batch_size["cpu"] == 4
        assert draft.sampler.mint(draft.manifest.addresses(seed=1)).shape == (1, 8, 8, 1)
        assert not (tmp_path / "new").exists()
    assert names(tmp_path) == []


def test_a_draft_is_committed_with_what_was_added_to_its_manifest(
    tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path
) -> None:
    gate = GateRecord(passed=True, checks=("good",))
    with artifact.draft(tiny_generator, tiny_manifest, tmp_path / "new", batch_size=4) as draft:
        written = draft.commit(draft.manifest.model_copy(update={"gate": gate}))
    assert read_manifest(tmp_path / "new") == written
    assert written.gate == gate and "good" in (tmp_path / "new" / artifact.CARD).read_text()
    assert names(tmp_path) == ["new"]


def test_an_export_appears_only_when_it_is_whole_and_checked(
    tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    load = artifact.load_files

    def seen_load(files: ArtifactFiles, device: str = "cpu", runtime: RuntimeChoice | None = None) -> Sampler:
        seen.append((tmp_path / "new").exists())
        return load(files, device, runtime)

    monkeypatch.setattr(artifact, "load_files", seen_load)
    artifact.export(tiny_generator, tiny_manifest, tmp_path / "new", batch_size=4)
    assert seen == [False, False]
    assert names(tmp_path) == ["new"]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("z_dim", "widths", "message"), [(16, (8, 4), "does not fit the manifest's network"), (8, (8,), "lacks .*layers")]
)
def test_a_generator_that_is_not_the_manifests_network_is_not_exported(
    tiny_manifest: Manifest, tmp_path: Path, z_dim: int, widths: tuple[int, ...], message: str
) -> None:
    network = network_config.ResNetConfig(base=8 // len(widths), widths=widths, label_dim=4)
    config = network_config.GeneratorConfig(z_dim=z_dim, num_classes=3, shape=(1, 8, 8), network=network)
    with pytest.raises(ArtifactError, match=message):
        artifact.export(networks.build_generator(config), tiny_manifest, tmp_path / "new", batch_size=4)
    assert names(tmp_path) == []


# The batch size


def unused(z: Tensor, class_weights: Tensor) -> Tensor:
    raise AssertionError("no image is minted here")


def test_the_smallest_batch_within_5_percent_of_the_best_is_taken(
    tiny_manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fastest(rates: dict[int, float]) -> int:
        monkeypatch.setattr(batch_size, "_images_per_second", lambda sampler: rates[sampler.batch_size])
        return batch_size.fastest_batch_size([torch_sampler(unused, tiny_manifest, size) for size in rates])

    assert fastest({1: 100, 2: 300, 4: 490, 8: 520, 16: 510}) == 8
    assert fastest({1: 100, 2: 300, 4: 500, 8: 520, 16: 400}) == 4
    assert fastest({1: 100, 2: 90}) == 1
    assert fastest({1: 94, 2: 100}) == 2


def test_one_slow_or_fast_round_does_not_decide(tiny_manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[int, int] = {}

    def rate(sampler: Sampler) -> float:
        calls[sampler.batch_size] = calls.get(sampler.batch_size, 0) + 1
        # The first round warms up; in the third, the slow one is lucky.
        lucky = sampler.batch_size == 1 and calls[1] in (1, 3)
        return 10_000.0 if lucky else 100.0 * sampler.batch_size

    monkeypatch.setattr(batch_size, "_images_per_second", rate)
    assert batch_size.fastest_batch_size([torch_sampler(unused, tiny_manifest, size) for size in (1, 2)]) == 2


def test_without_a_size_the_cpu_is_measured_and_the_gpu_gets_its_default(
    tiny_generator: nn.Module, tiny_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_size, "MEASURE_S", 0.001)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    manifest = artifact.export(tiny_generator, tiny_manifest, tmp_path / "new")
    assert manifest.batch_size["cpu"] in batch_size.CPU_CANDIDATES
    assert manifest.batch_size["cuda"] == 64
    assert manifest.batch_size_measured == {"cpu": True, "cuda": False}
    assert artifact.load(tmp_path / "new").batch_size == manifest.batch_size["cpu"]


# Load


def test_an_undamaged_artifact_is_loaded_once(folder: Path, loads: list[bytes]) -> None:
    artifact.load(folder, runtime="torchscript")
    assert loads == [(folder / artifact.SCRIPT).read_bytes()]


def test_on_a_cpu_an_artifact_runs_without_torchscript(folder: Path, loads: list[bytes]) -> None:
    assert artifact.load(folder).runtime.name == "onnx"
    assert not loads


@pytest.mark.parametrize("name", artifact.FILES)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_one_changed_byte_is_refused_before_torchscript_reads_anything(
    folder: Path, loads: list[bytes], name: str, where: str
) -> None:
    data = bytearray((folder / name).read_bytes())
    data[{"first": 0, "middle": len(data) // 2, "last": -1}[where]] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match="does not have the hash") as refused:
        artifact.load(folder)
    assert refused.value.path == folder / name
    assert not loads


@pytest.mark.parametrize("name", [*artifact.FILES, MANIFEST_FILE])
def test_a_missing_file_is_refused_by_its_name(folder: Path, loads: list[bytes], name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match="is missing") as refused:
        artifact.load(folder)
    assert refused.value.path == folder / name
    assert not loads


@pytest.mark.parametrize("name", artifact.FILES)
def test_a_manifest_without_a_files_hash_is_refused(folder: Path, loads: list[bytes], name: str) -> None:
    files = {k: v for k, v in read_manifest(folder).files.items() if k != name}
    change_manifest(folder, files=files)
    with pytest.raises(ArtifactError, match=f"names no hash for {re.escape(name)}") as refused:
        artifact.load(folder)
    assert refused.value.path == folder / MANIFEST_FILE
    assert not loads


def test_a_longer_and_a_shorter_file_are_refused(folder: Path, loads: list[bytes]) -> None:
    data = (folder / artifact.SCRIPT).read_bytes()
    for other in (data + b"\0", data[:-1], b""):
        (folder / artifact.SCRIPT).write_bytes(other)
        with pytest.raises(ArtifactError, match="does not have the hash"):
            artifact.load(folder)
    assert not loads


@pytest.mark.parametrize("data", [b"", b"not TorchScript", b"PK\x03\x04"])
def test_what_is_not_torchscript_is_refused(folder: Path, data: bytes) -> None:
    replace(folder, artifact.SCRIPT, data)
    with pytest.raises(ArtifactError, match="is not TorchScript") as refused:
        artifact.load(folder, runtime="torchscript")
    assert refused.value.path == folder / artifact.SCRIPT


@pytest.mark.parametrize("sizes", [{}, {"cuda": 64}])
def test_a_manifest_without_a_batch_size_for_the_device_is_refused(folder: Path, sizes: dict[str, int]) -> None:
    change_manifest(folder, batch_size=sizes)
    with pytest.raises(ArtifactError, match="batch_size"):
        artifact.load(folder)


# Goldens


def off_by(folder: Path, difference: int) -> None:
    """Move one value of the golden pixels away from what is minted."""
    texts, pixels = goldens(folder)
    place = tuple(np.argwhere((pixels > 10) & (pixels < 245))[0])
    pixels[place] = int(pixels[place]) + difference
    replace_goldens(folder, texts, pixels)


@pytest.mark.parametrize("difference", [0, 1, -1])
def test_goldens_off_by_rounding_are_accepted(folder: Path, difference: int) -> None:
    off_by(folder, difference)
    sampler = artifact.load(folder)
    assert check_goldens(sampler, artifact.read(folder)) == abs(difference)


@pytest.mark.parametrize("difference", [2, -2, 9])
@pytest.mark.parametrize(("runtime", "fingerprint"), [("onnx", "onnxruntime 1."), ("torchscript", "batch 4")])
def test_goldens_off_by_more_are_refused(
    folder: Path, difference: int, runtime: RuntimeChoice, fingerprint: str
) -> None:
    off_by(folder, difference)
    with pytest.raises(ArtifactError, match=f"off by up to {abs(difference)} of 255") as refused:
        artifact.load(folder, runtime=runtime)
    assert refused.value.path == folder / artifact.GOLDEN
    assert fingerprint in refused.value.reason


def test_a_difference_from_0_to_255_is_not_taken_for_1(folder: Path) -> None:
    texts, pixels = goldens(folder)
    extreme = tuple(np.argwhere(pixels == 0)[0])
    pixels[extreme] = 255
    replace_goldens(folder, texts, pixels)
    with pytest.raises(ArtifactError, match="off by up to 255"):
        artifact.load(folder)


def test_goldens_of_another_shape_or_none_are_refused(folder: Path) -> None:
    texts, pixels = goldens(folder)
    for wrong_texts, wrong, message in (
        (texts, pixels[:, :4], "holds pixels of shape"),
        (texts, pixels[:-1], "holds pixels of shape"),
        (texts[:0], pixels[:0], "holds no golden"),
    ):
        replace_goldens(folder, wrong_texts, wrong)
        with pytest.raises(ArtifactError, match=message):
            artifact.load(folder)


def test_goldens_with_a_bad_address_are_refused(folder: Path) -> None:
    texts, pixels = goldens(folder)
    replace_goldens(folder, ["tiny/1.0.0/x/0", *texts[1:]], pixels)
    with pytest.raises(ArtifactError, match="cannot be read: "):
        artifact.load(folder)


def test_goldens_with_pickled_objects_are_not_unpickled(folder: Path) -> None:
    texts, pixels = goldens(folder)
    np.savez(folder / artifact.GOLDEN, addresses=np.array(texts, dtype=object), pixels=pixels)
    replace(folder, artifact.GOLDEN, (folder / artifact.GOLDEN).read_bytes())
    with pytest.raises(ArtifactError, match=r"cannot be read: .*pickle"):
        artifact.load(folder)


@pytest.mark.parametrize("text", ["tiny/1.0.0/0/0?label=3", "other/1.0.0/0/0?label=0", "tiny/2.0.0/0/0?label=0"])
def test_goldens_of_another_model_are_refused(folder: Path, text: str) -> None:
    texts, pixels = goldens(folder)
    assert texts[0] == "tiny/1.0.0/0/0?label=0"
    replace_goldens(folder, [text, *texts[1:]], pixels)
    with pytest.raises(ArtifactError):
        artifact.load(folder)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b""),
        b"\x93NUMPY",
        b"not an archive",
    ],
)
def test_goldens_that_are_no_archive_are_refused(folder: Path, data: bytes) -> None:
    replace(folder, artifact.GOLDEN, data)
    with pytest.raises(ArtifactError, match="cannot be read: ") as refused:
        artifact.load(folder)
    assert refused.value.path == folder / artifact.GOLDEN


def test_goldens_cut_short_are_refused(folder: Path) -> None:
    replace(folder, artifact.GOLDEN, (folder / artifact.GOLDEN).read_bytes()[:200])
    with pytest.raises(ArtifactError, match="cannot be read: "):
        artifact.load(folder)


# Identity


def test_the_digest_changes_with_any_file(folder: Path, tiny_artifact: Path) -> None:
    assert artifact.digest(folder) == artifact.digest(tiny_artifact)
    replace(folder, artifact.SAMPLES, b"another picture")
    assert artifact.digest(folder) != artifact.digest(tiny_artifact)
