"""From a table with a column of numbers to images that are asked for by value."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganmint
from models import store
from models.artifact import CARD
from models.errors import InputError
from models.manifest import read_manifest
from service.settings import Settings
from tests.conftest import Command
from tests.protocols import SMALL
from tests.service.app_client import connect_when_ready
from tests.training.runs.helpers import train
from training import configured_data
from training.config import Config
from training.publish import EvaluationSettings, PublishOptions, publish

AGES = [18 + k * 74 / 63 for k in range(64)]
SMALLEST = SMALL.model_copy(update={"min_images": 5, "kid_size": 4, "neighbours": 2})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 images of noise, and their ages from 18 to 92."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    folder.mkdir()
    for k, pixels in enumerate(np.random.RandomState(0).randint(0, 256, (64, 8, 8)).astype(np.uint8)):
        Image.fromarray(pixels).save(folder / f"{k}.png")
    (folder / "ages.csv").write_text("file,age\n" + "".join(f"{k}.png,{age:.3f}\n" for k, age in enumerate(AGES)))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[..., Config]) -> Path:
    """A model that was trained for a few steps, evaluated on a part of its data and published."""
    config = tiny_config(
        "data.continuous_label=age", "total_kimg=0.064", "snapshot_kimg=0", "data.validation=0.25", "encoder=true"
    )
    out = tmp_path_factory.mktemp("model")
    train(config, configured_data.load(folder, config.data), out / "run")
    options = PublishOptions("ages", batch_size=4, accept="a test", to=out / "ages", data=folder)
    return publish(out / "run", options, EvaluationSettings(SMALLEST)).path


@pytest.fixture
def installed(model: Path, store_home: Path) -> None:
    store.install(model)


def test_images_are_asked_for_by_value(model: Path) -> None:
    loaded = ganmint.load(model)
    minted = loaded.mint(seed=1, n=3, labels=[{"age": 37.5}, {"age": np.float32(18)}, {"age": "92"}])

    assert minted.labels is not None
    assert [loaded.class_names[label] for label in minted.labels] == ["37.24", "18", "92"]
    with pytest.raises(InputError, match=r"^labels\.age: must be a number from 18 to 92, got 17\.5$"):
        loaded.mint(seed=1, labels={"age": 17.5})
    with pytest.raises(
        InputError, match=r'^labels: must be a value of age from 18 to 92 as {"age": VALUE}, .* got 37\.5$'
    ):
        loaded.mint(seed=1, labels=37.5)  # type: ignore[arg-type]


def test_the_same_image_is_asked_for_over_http(model: Path, installed: None) -> None:
    async def main() -> None:
        async with connect_when_ready(Settings(device="cpu")) as client:
            body = {"model": "ages", "seed": 7, "n": 2, "labels": {"age": 37.5}}
            answer = (await client.post("/generate", json=body)).json()
            assert [image["label_name"] for image in answer["images"]] == ["37.24", "37.24"]
            assert answer["images"][1]["address"] == "ages/1.0.0/7/1?label=26"
            refused = await client.post("/generate", json=body | {"labels": {"age": 93}})
            assert refused.status_code == 422
            assert refused.json()["errors"][0]["field"] == "labels.age"
            assert "must be a number from 18 to 92, got 93" in refused.text

    asyncio.run(main())


def test_sample_and_export_take_a_value(installed: None, tmp_path: Path, command: Command) -> None:
    sampled = command("sample", "ages", "--seed", "7", "--labels", "age=37.5", "--out", str(tmp_path / "one.png"))
    exported = command(
        *(
            "export",
            "ages",
            "--count",
            "2",
            "--labels",
            "age=60",
            "--format",
            "imagefolder",
            "--out",
            str(tmp_path / "set"),
        )
    )

    assert "ages/1.0.0/7/0?label=26 (age 37.24)" in sampled.output
    assert exported.code == 0, exported.errors
    rows = [path.read_text() for path in (tmp_path / "set").rglob("metadata.jsonl")]
    assert len(rows) == 1 and '"label_name": "60.18"' in rows[0]


def test_data_check_offers_the_values_of_an_export_as_the_label(
    installed: None, tmp_path: Path, command: Command
) -> None:
    out = str(tmp_path / "set")
    assert command("export", "ages", "--count", "24", "--seed", "1", "--format", "imagefolder", "--out", out).code == 0

    doubted = command("data", "check", out)
    checked = command("data", "check", out, "--continuous-label", "label_name")

    assert "give --continuous-label label_name to learn numbers as one label" in doubted.output
    assert checked.code == 0 and "label_name: from " in checked.output


def test_a_label_that_is_left_out_is_any_value_of_the_scale(model: Path) -> None:
    labels = {address.label for address in read_manifest(model).addresses(seed=1, n=2000)}

    assert labels == set(range(101))


def test_what_needs_classes_is_left_out_of_its_evaluation(model: Path) -> None:
    manifest = read_manifest(model)

    assert manifest.gate is not None
    assert all("GAN-train" not in words for words in manifest.gate.checks)
    scores = {score.name: score.value for score in manifest.scores}
    assert scores.get("gan_train") is None and scores["sharpness"] is not None
    assert "- continuous label: age, from 18 to 92 in 100 equal steps" in (model / CARD).read_text()


def test_directions_of_its_label_are_refused(model: Path, folder: Path, command: Command) -> None:
    refused = command("directions", str(model), "--data", str(folder), "--images", "100")

    assert refused.code == 2
    assert (
        "--data: finds directions of classes, and age is continuous; leave it out, or give a --column" in refused.errors
    )
