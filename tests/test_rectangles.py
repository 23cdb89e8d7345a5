"""Images that are no squares, on the whole way: trained, measured, published, sampled, walked, exported, served."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models import artifact
from models.address import Address
from models.units import Units
from service.settings import Settings
from tests.conftest import Command
from tests.protocols import SMALL
from tests.service.app_client import connect_when_ready
from training.data.loader import load_dataset
from training.publish import EvaluationSettings, PublishOptions, publish

WIDTH, HEIGHT = 24, 16
SETTINGS = ("compute=small", "batch=8", "total_kimg=0.016", "tick_kimg=0.008", "precision=float32", "threads=1")


def read_size(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as opened:
        return opened.width, opened.height


@pytest.mark.slow
@pytest.mark.usefixtures("store_home")
def test_a_rectangle_goes_the_whole_way(command: Command, tmp_path: Path) -> None:
    data, run = tmp_path / "data.npz", tmp_path / "run"
    images = np.random.RandomState(0).randint(0, 256, (240, HEIGHT, WIDTH)).astype(np.uint8)
    np.savez(data, images=images, labels=np.arange(240) % 2)
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    trained = command("train", "--data", str(data), "--out", str(run), *options)
    assert trained.code == 0, trained.errors
    assert read_size((run / "grids" / "000000000016.png").read_bytes())[0] % WIDTH == 0

    publishing = PublishOptions("wide", batch_size=4, data=data, accept="a test")
    stored = publish(run, publishing, EvaluationSettings(SMALL))
    sampler = artifact.load(stored.path)
    manifest = sampler.manifest
    assert {score.name for score in manifest.scores} >= {"fd", "recall", "gan_train", "sharpness", "near_copies"}
    assert (manifest.image.width, manifest.image.height) == (WIDTH, HEIGHT)
    edited = manifest.check(Address.parse("wide/1.0.0/7/0?label=0&u1.0=9_0_6_8_12"))
    (pixels,) = sampler.mint([edited])
    assert pixels.shape == (HEIGHT, WIDTH, 1)

    out = str(tmp_path / "out")
    for arguments in (
        ("sample", "wide", "--count", "4", "--out", f"{out}.png"),
        (
            "walk",
            "wide/1.0.0/7/0?label=0",
            "wide/1.0.0/8/0?label=1",
            "--seconds",
            "0.2",
            "--size",
            "48",
            "--out",
            f"{out}.webp",
        ),
        ("export", "wide", "--count", "6", "--format", "idx", "--out", out),
    ):
        result = command(*arguments)
        assert result.code == 0, result.errors
    assert read_size(Path(f"{out}.png").read_bytes()) == (2 * WIDTH, 2 * HEIGHT)
    assert read_size(Path(f"{out}.webp").read_bytes()) == (48, 32)
    assert load_dataset(Path(out)).shape == (1, HEIGHT, WIDTH)

    report, dissected = tmp_path / "units.html", tmp_path / "dissected"
    few = ("--images", "4", "--changed-images", "1")
    assert command("dissect", "wide", *few, "--out", str(report), "--to", str(dissected)).code == 0
    levels = Units.model_validate_json((dissected / "units.json").read_bytes()).levels
    assert [(level.width, level.side) for level in levels][-1] == (WIDTH, HEIGHT)
    assert f"units of {WIDTH}x{HEIGHT} cells" in report.read_text()

    async def ask() -> None:
        async with connect_when_ready(Settings(device="cpu")) as client:
            answer = await client.post(
                "/generate", json={"model": "wide", "seed": 7, "n": 4}, headers={"Accept": "image/png"}
            )
            assert read_size(answer.content) == (2 * WIDTH, 2 * HEIGHT)
            path, _, query = str(edited).partition("?")
            image = await client.get(f"/v1/images/{path}.png?{query}")
            assert image.status_code == 200, image.text
            with Image.open(io.BytesIO(image.content)) as opened:
                assert np.array_equal(np.asarray(opened), pixels[..., 0])

    asyncio.run(ask())
