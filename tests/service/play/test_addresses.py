"""Addresses in the browser mean what they mean in Python, bit for bit, and the same ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.address import Address
from models.errors import InputError
from models.manifest import Manifest
from models.sample_command import make_file_name
from tests.service.play.node import run_node

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "address_vectors.json").read_text())
PLAIN = "tiny/1.0.0/7/0"
WRITTEN = "tiny/1.0.0/z/AAAAPwAAgL_NzMw9AAAAQAAAgL4AAEBAAACAwQAAgEE"
# Refused, each with the name of the part at fault.
REFUSED = {
    "tiny/1.0.0/7": "address",
    "tiny/1.0.0/-7/0": "seed",
    "tiny/1.0.0/7/9007199254740992": "index",
    f"{PLAIN}?label=10": "label",
    f"{PLAIN}?label=03": "label",
    f"{PLAIN}?label=3&label=3": "label",
    f"{PLAIN}?psi=0": "psi",
    f"{PLAIN}?psi=1.5": "psi",
    f"{PLAIN}?psi=.": "psi",
    f"{PLAIN}?to=8&at=0.5": "to",
    f"{PLAIN}?to=8.0.0&at=0.5": "to",
    f"{PLAIN}?to=8.0": "at",
    f"{PLAIN}?at=0.5": "at",
    f"{PLAIN}?tolabel=5": "tolabel",
    f"{PLAIN}?to=8.0&at=0": "at",
    f"{PLAIN}?to=8.0&at=1": "at",
    f"{PLAIN}?to=8.0&at=0.50": "at",
    f"{PLAIN}?to=7.0&at=0.5": "to",
    f"{PLAIN}?to=7.0&at=0.5&tolabel=1": "to",
    f"{PLAIN}?label=5&to=8.0&tolabel=5&at=0.5": "tolabel",
    f"{PLAIN}?label=5&to=8.0&tolabel=10&at=0.5": "tolabel",
    f"{PLAIN}?z8=1": "z8",
    f"{PLAIN}?z1=-0": "z1",
    f"{PLAIN}?z1=16.0001": "z1",
    f"{PLAIN}?z1=1.00001": "z1",
    f"{PLAIN}?z01=1": "address",
    f"{PLAIN}?toString=1": "address",
    f"{PLAIN}?": "address",
    f"{PLAIN}?label=3&": "address",
    WRITTEN: "label",
    f"{WRITTEN}?label=1&z1=1": "z1",
    f"{WRITTEN}A?label=1": "latent",
    f"{WRITTEN[:-6]}?label=1": "latent",
    "tiny/1.0.0/z/AAAAPw?label=1": "latent",
    "tiny/1.0.0/z/AADAfwAAgL_NzMw9AAAAQAAAgL4AAEBAAACAwQAAgEE?label=1": "latent[0]",
    f"{PLAIN}?paste=0_8_0_0_1_1": "paste",
    f"{PLAIN}?paste=0_8.0_0_0_1": "paste",
    f"{PLAIN}?paste=0_8.0_1_0_0_1": "paste",
    f"{PLAIN}?paste=00_8.0_0_0_1_1": "paste",
    f"{PLAIN}?paste=0_8.0_1_0_1_1": "paste",
    f"{PLAIN}?paste=0_8.0_10_0_0_1_1": "paste",
    f"{PLAIN}?paste=2_8.0_0_0_1_1": "paste",
    f"{PLAIN}?paste=0_8.0_0_0_5_1": "paste",
    f"{PLAIN}?paste=0_8.0_0_0_4_4": "paste",
    f"{PLAIN}?label=1&paste=1_7.0_1_0_0_1_1": "paste",
    f"{PLAIN}?paste=1_9.0_0_0_2_2&paste=1_8.0_0_0_2_2": "paste",
    f"{PLAIN}?paste=1_8.0_1_1_2_2&paste=1_8.0_1_1_3_2": "paste",
    f"{PLAIN}?{'&'.join(f'paste=1_8.0_{k}_0_{k + 1}_1' for k in range(5))}": "paste",
    f"{PLAIN}?dir.tilt=0": "dir.tilt",
    f"{PLAIN}?dir.tilt=16.5": "dir.tilt",
    f"{PLAIN}?dir.other=1": "dir.other",
    f"{PLAIN}?dir.Tilt=1": "address",
    f"{PLAIN}?dir.tilt-=1": "address",
    f"{PLAIN}?{'&'.join(f'dir.d{k}=1' for k in range(17))}": "directions",
    f"{PLAIN}?u0.0=1&u0.0=2": "u0.0",
    f"{PLAIN}?u0.0=100.5": "u0.0",
    f"{PLAIN}?u0.0=1_0_0_1": "u0.0",
    f"{PLAIN}?u0.0=1_0_0_4_4": "u0.0",
    f"{PLAIN}?u0.8=1": "u0.8",
    f"{PLAIN}?u2.0=1": "u2.0",
    f"{PLAIN}?u00.0=1": "address",
    f"{PLAIN}?{'&'.join(f'u0.{k}=1' for k in range(65))}": "units",
    f"{PLAIN}?{'&'.join(f'u1.{k}=-99.1234_0_0_1_{k + 1}' for k in range(64))}" + "&z0=-1.2345" * 50: "address",
}
# Asked -> canonical.
ACCEPTED = [f"{PLAIN}?label=3&psi={psi}" for psi in ("0.70", "1.0", "0.0001", "0.00001234", "1e-5", "5e-324")] + [
    f"{PLAIN}?at=0.5&tolabel=2&to=8.0&label=2".replace("&tolabel=2", "&tolabel=4"),
    f"{PLAIN}?z5=-0.0001&z0=12&psi=0.5",
    f"{PLAIN}?label=2&paste=1_7.0_2_0_0_1_1&dir.wide-2=-0.25&z5=1&dir.tilt=3",
    f"{PLAIN}?label=2&u0.7=1&u1.0=-0.0001_1_2_3_4&paste=1_7.0_1_0_0_1_1",
    f"{PLAIN}?label=2&paste=0_8.0_1_0_0_2_2&paste=0_7.0_2_1_1_3_3",
]


@pytest.fixture
def manifest(tiny_manifest: Manifest) -> Manifest:
    names = tuple(VECTORS["directions"]["vectors"])
    return tiny_manifest.model_copy(update={"class_names": tuple("0123456789"), "directions": names})


def _read(addresses: list[str], manifest: Manifest) -> list[dict[str, Any]]:
    vectors = {name: np.float32(vector).tolist() for name, vector in VECTORS["directions"]["vectors"].items()}
    case = {"addresses": addresses, "manifest": manifest.model_dump(mode="json"), "vectors": vectors}
    results: list[dict[str, Any]] = run_node("inputs_of.mjs", case)
    return results


def test_vectors(manifest: Manifest) -> None:
    results = _read([vector["asked"] for vector in VECTORS["vectors"]], manifest)
    for vector, result in zip(VECTORS["vectors"], results, strict=True):
        expected = {name: vector[name] for name in ("address", "z", "class_weights")} | {"pastes": [], "units": []}
        assert {name: result[name] for name in expected} == expected, vector["asked"]


def test_vectors_of_edited_feature_maps(manifest: Manifest) -> None:
    results = _read([vector["asked"] for vector in VECTORS["level_edits"]], manifest)
    for vector, result in zip(VECTORS["level_edits"], results, strict=True):
        expected = {name: vector[name] for name in ("address", "pastes", "units")}
        assert {name: result[name] for name in expected} == expected


def test_vectors_of_directions(manifest: Manifest) -> None:
    vectors = VECTORS["directions"]["addresses"]
    for vector, result in zip(vectors, _read([vector["asked"] for vector in vectors], manifest), strict=True):
        assert {name: result[name] for name in vector if name != "asked"} == {
            k: v for k, v in vector.items() if k != "asked"
        }


def test_vectors_of_files_names(manifest: Manifest) -> None:
    vectors = VECTORS["file_names"]
    for vector, result in zip(vectors, _read([vector["address"] for vector in vectors], manifest), strict=True):
        assert (result["address"], result["file"]) == (vector["address"], f"{vector['name']}.png")
        assert make_file_name(Address.parse(vector["address"])) == vector["name"]


def test_canonical_texts_are_pythons(manifest: Manifest) -> None:
    expected = [str(manifest.check(Address.parse(text))) for text in ACCEPTED]
    assert [result.get("address", result) for result in _read(ACCEPTED, manifest)] == expected


def test_what_python_refuses_is_refused_with_the_same_part_named(manifest: Manifest) -> None:
    for (text, part), result in zip(REFUSED.items(), _read(list(REFUSED), manifest), strict=True):
        with pytest.raises(InputError) as caught:
            manifest.check(Address.parse(text))
        assert caught.value.field == part, text
        assert result["error"].startswith(f"{part}: "), (text, result)


def test_numbers_are_refused_in_pythons_words(manifest: Manifest) -> None:
    parts = ["to=8.0&at=0.50", "to=8.0&at=1", "z1=1.50", "z1=-0", "z1=16.0001", "dir.tilt=17", "u0.1=2.0", "u0.1=101"]
    texts = [f"{PLAIN}?label=2&{part}" for part in parts]
    for text, result in zip(texts, _read(texts, manifest), strict=True):
        with pytest.raises(InputError) as caught:
            Address.parse(text)
        said = str(caught.value)
        # Python ends some with the number, which it writes as a float.
        assert result["error"] in (said, said.partition(", got ")[0]), text


def test_a_name_for_a_class_gets_words_about_classes(manifest: Manifest) -> None:
    results = _read([f"{PLAIN}?label=three", f"{PLAIN}?to=8.0&at=0.5&tolabel=three"], manifest)
    assert [result["error"] for result in results] == [
        f"{part}: must be the number of a class, such as 3" for part in ("label", "tolabel")
    ]


def test_a_model_of_schema_1_mixes_latents_and_no_classes(manifest: Manifest) -> None:
    old = manifest.model_copy(update={"schema_version": 1})
    mixed, refused = _read([f"{PLAIN}?label=3&to=8.0&at=0.5", f"{PLAIN}?to=8.0&at=0.5"], old)
    assert mixed["address"] and refused["error"].startswith("tolabel: ")
