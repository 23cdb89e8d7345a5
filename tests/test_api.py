"""The Python interface: what a user of `import ganmint` can rely on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ganmint
from ganmint.errors import ArtifactError, FileError, GanmintError, InputError, ModelNotFoundError
from models import artifact, images, marks, networks, store
from models.manifest import Manifest
from tests.conftest import TINY
from tests.samplers import torch_sampler
from tests.waiting import TIMEOUT_S


@pytest.fixture(scope="module")
def tiny(tiny_artifact: Path) -> ganmint.Model:
    return ganmint.load(tiny_artifact, device="cpu")


def test_every_public_name_exists() -> None:
    assert set(ganmint.__all__) <= set(dir(ganmint))
    assert all(getattr(ganmint, name) is not None for name in ganmint.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        ganmint.nosuch  # noqa: B018


def test_importing_ganmint_imports_nothing_heavy() -> None:
    code = "import ganmint, sys; print(*{'torch', 'bentoml', 'numpy', 'pydantic', 'PIL'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert result.stdout.split() == []


def test_an_address_needs_no_torch() -> None:
    code = "import ganmint, sys; print(ganmint.Address.parse('digits/4.2.0/7/0?label=3'), 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert result.stdout.split() == ["digits/4.2.0/7/0?label=3", "False"]


def test_the_version_is_the_packages() -> None:
    assert ganmint.__version__ == "0.1.0"


def test_a_model_says_what_it_is(tiny: ganmint.Model, tiny_manifest: Manifest) -> None:
    assert (tiny.name, tiny.version, tiny.class_names) == ("tiny", "1.0.0", ("a", "b", "c"))
    assert tiny.manifest.training == tiny_manifest.training
    assert repr(tiny) == "<ganmint.Model tiny/1.0.0 on cpu>"
    assert tiny.fingerprint.startswith("onnxruntime ")


def test_minting_gives_images_labels_and_addresses(tiny: ganmint.Model) -> None:
    minted = tiny.mint(seed=7, index=4, n=6, labels="balanced", psi=0.5)
    first, last = minted.addresses[0], minted.addresses[-1]
    assert repr(minted) == f"<ganmint.Minted 6x8x8x1 uint8: {first} .. {last}>"

    assert minted.images.shape == (6, 8, 8, 1) and minted.images.dtype == np.uint8
    assert minted.labels is not None and minted.labels.dtype == np.int64
    assert minted.labels.tolist() == [1, 2, 0, 1, 2, 0]
    assert str(minted.addresses[0]) == "tiny/1.0.0/7/4?label=1&psi=0.5"
    assert len(minted) == len(minted.addresses) == 6


def test_iterating_gives_images_with_their_labels(tiny: ganmint.Model) -> None:
    minted = tiny.mint(seed=1, n=3, labels=[2, 0, 1])
    pairs = list(minted)
    assert [label for _, label in pairs] == [2, 0, 1]
    assert all((image == expected).all() for (image, _), expected in zip(pairs, minted.images))


@pytest.mark.parametrize(
    "labels", [2, np.int64(2), "c", [2, "c"], (2, 2), np.array([2, 2]), np.array([2, 2], np.uint8)], ids=repr
)
def test_labels_are_a_number_or_a_sequence(tiny: ganmint.Model, labels: int | NDArray[np.int64]) -> None:
    minted = tiny.mint(seed=1, n=2, labels=labels)
    assert minted.labels is not None and minted.labels.tolist() == [2, 2]


def test_labels_that_are_left_out_are_drawn_from_the_seed(tiny: ganmint.Model) -> None:
    drawn = [address.label for address in tiny.manifest.addresses(seed=1, n=9)]
    minted = tiny.mint(seed=1, n=9)
    assert minted.labels is not None and minted.labels.tolist() == drawn


def test_numpy_numbers_are_taken_for_python_numbers(tiny: ganmint.Model) -> None:
    minted = tiny.mint(seed=np.int64(7), index=np.uint32(1), n=np.int64(2), psi=np.float64(0.5), labels=1)
    assert [str(a) for a in minted.addresses] == ["tiny/1.0.0/7/1?label=1&psi=0.5", "tiny/1.0.0/7/2?label=1&psi=0.5"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"index": -1}, "index"),
        ({"n": 0}, "n"),
        ({"labels": 3}, "labels"),
        ({"labels": True}, "labels"),
        ({"labels": "all"}, "labels"),
        ({"labels": [0, 1]}, "labels"),
        ({"psi": 2}, "psi"),
    ],
)
def test_wrong_arguments_are_refused_by_name(tiny: ganmint.Model, arguments: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as refused:
        tiny.mint(**{"seed": 0, **arguments})  # type: ignore[arg-type]
    assert refused.value.field == field


def test_addresses_mint_the_same_images_again(tiny: ganmint.Model) -> None:
    minted = tiny.mint(seed=3, n=5)
    from_objects = tiny.mint_addresses(minted.addresses)
    from_text = tiny.mint_addresses(map(str, reversed(minted.addresses)))
    assert (from_objects.images == minted.images).all()
    assert (from_text.images == minted.images[::-1]).all()
    assert from_objects.addresses == minted.addresses


def test_an_address_without_a_label_gets_the_drawn_one(tiny: ganmint.Model) -> None:
    minted = tiny.mint_addresses(["tiny/1.0.0/3/0"])
    assert minted.addresses == tiny.mint(seed=3).addresses


@pytest.mark.parametrize(("text", "field"), [("other/1.0.0/3/0", "model"), ("tiny/1.0.0/3/0?label=7", "label")])
def test_an_address_of_another_model_is_refused(tiny: ganmint.Model, text: str, field: str) -> None:
    with pytest.raises(InputError) as refused:
        tiny.mint_addresses([text])
    assert refused.value.field == field


def test_one_text_is_no_list_of_addresses(tiny: ganmint.Model) -> None:
    with pytest.raises(InputError, match=r"^addresses: must be a list of addresses, got the text 'tiny/1\.0\.0/3/0'$"):
        tiny.mint_addresses("tiny/1.0.0/3/0")


def test_a_model_without_classes_has_no_labels(tiny_artifact: Path) -> None:
    generator = networks.build_generator(TINY.model_copy(update={"num_classes": 0})).eval()
    manifest = artifact.load(tiny_artifact).manifest.model_copy(update={"class_names": ()})
    minted = ganmint.Model(torch_sampler(generator, manifest)).mint(seed=1, n=2)
    assert minted.labels is None
    assert [label for _, label in minted] == [None, None]


def test_an_encoded_image_carries_its_address(tiny: ganmint.Model) -> None:
    minted = tiny.mint(seed=3)
    for media_type in images.MEDIA_TYPES:
        data = ganmint.encode(minted.images[0], minted.addresses[0], media_type)
        assert data == images.encode(minted.images[0], media_type, str(minted.addresses[0]))
        assert marks.read_address(data) == str(minted.addresses[0])
    assert ganmint.encode(minted.images[0], str(minted.addresses[0])).startswith(b"\x89PNG")


def test_an_unknown_media_type_is_refused(tiny: ganmint.Model) -> None:
    with pytest.raises(InputError, match="image/png, image/jpeg, image/webp, got 'png'"):
        ganmint.encode(tiny.mint(seed=3).images[0], "tiny/1.0.0/3/0", "png")  # type: ignore[arg-type]


def test_a_picture_is_verified_by_path_and_as_bytes(store_home: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    store.install(tiny_artifact)
    model = ganmint.load("tiny", device="cpu")
    minted = model.mint(seed=3, n=2)
    path = tmp_path / "one.png"
    path.write_bytes(ganmint.encode(minted.images[0], minted.addresses[0]))
    other = ganmint.encode(minted.images[0] ^ np.uint8(128), minted.addresses[0])
    for loaded in (None, model):
        assert ganmint.verify(path, model=loaded, device="cpu").result == "identical"
        verification = ganmint.verify(other, model=loaded, device="cpu")
        assert isinstance(verification, ganmint.Verification)
        assert not verification.is_good and verification.changed_pixels == 64
    with pytest.raises(FileError, match=r"missing\.png: cannot be read"):
        ganmint.verify(tmp_path / "missing.png")


def test_only_the_model_that_a_picture_names_verifies_it(
    store_home: Path, tiny: ganmint.Model, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a folder that is called as the model is: whoever sends the picture may send one, too."""
    minted = tiny.mint(seed=3)
    picture = ganmint.encode(minted.images[0], minted.addresses[0])
    shutil.copytree(tiny_artifact, tmp_path / "tiny" / "1.0.0")
    monkeypatch.chdir(tmp_path)
    assert ganmint.verify(picture).result == "unknown_model"
    bundled = ganmint.load("digits", device="cpu").mint(seed=3)
    digit = ganmint.encode(bundled.images[0], bundled.addresses[0])
    assert ganmint.verify(digit, device="cpu").result == "identical"
    assert ganmint.verify(digit, model=tiny).result == "unknown_model"


def test_threads_may_share_a_model(tiny: ganmint.Model) -> None:
    expected = [tiny.mint(seed=seed, n=9).images for seed in range(8)]
    minted: dict[int, NDArray[np.uint8]] = {}

    def mint(seed: int) -> None:
        minted[seed] = tiny.mint(seed=seed, n=9).images

    threads = [threading.Thread(target=mint, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((minted[seed] == expected[seed]).all() for seed in range(8))


def test_a_name_is_looked_up_in_the_store(store_home: Path, tiny_artifact: Path) -> None:
    store.install(tiny_artifact)
    assert ganmint.load("tiny").version == ganmint.load("tiny/1.0.0", device="cpu").version == "1.0.0"


def test_a_bundled_model_loads_from_an_empty_store(store_home: Path) -> None:
    assert ganmint.load("digits", device="cpu").class_names == tuple("0123456789")
    assert not store_home.exists()


def test_a_model_that_does_not_exist_is_not_found(store_home: Path) -> None:
    for name in ("nosuch", "digits/99.0.0"):
        with pytest.raises(ModelNotFoundError):
            ganmint.load(name)


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ArtifactError) as refused:
        ganmint.load(tmp_path)
    assert isinstance(refused.value, GanmintError)


def test_a_data_set_is_exported_as_by_the_command(store_home: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    store.install(tiny_artifact)
    summary = ganmint.export(
        "tiny", count=9, out=tmp_path / "out", format="npz", labels="balanced", seed=1, device="cpu"
    )
    assert (summary.images, summary.shards) == (9, 1)
    (path,) = (tmp_path / "out").rglob("*.npz")
    with np.load(path) as arrays:
        minted = ganmint.load("tiny", device="cpu").mint(seed=1, n=9, labels="balanced")
        assert (arrays["images"] == minted.images).all()


def test_a_bundled_model_is_installed_for_an_export(store_home: Path, tmp_path: Path) -> None:
    ganmint.export("digits", count=3, out=tmp_path / "out", format="npz", device="cpu")
    assert store.list_names() == ["digits"]
