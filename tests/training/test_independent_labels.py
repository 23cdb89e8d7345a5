"""From a table with two labels to images that are asked for by both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganmint
from models.errors import InputError
from models.manifest import read_manifest
from tests.training.runs.helpers import train
from training import configured_data
from training.config import Config
from training.publish import PublishOptions, publish
from training.runs import trained_run

COLUMNS = "data.label_columns=[{column: shape}, {column: ink}]"
# No picture is round and dark.
ROWS = [(shape, ink) for shape in ("flat", "round") for ink in ("light", "dark")][:3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = [ROWS[k % 3] for k in range(64)]
    for k, pixels in enumerate(np.random.RandomState(0).randint(0, 256, (64, 8, 8)).astype(np.uint8)):
        Image.fromarray(pixels).save(folder / f"{k}.png")
    table = "".join(f"{k}.png,{shape},{ink}\n" for k, (shape, ink) in enumerate(rows))
    (folder / "labels.csv").write_text(f"file,shape,ink\n{table}")
    return folder


def make_model(config: Config, folder: Path, out: Path) -> Path:
    train(config, configured_data.load(folder, config.data), out / "run")
    return publish(out / "run", PublishOptions("tiny", batch_size=4, accept="a test", to=out / "model")).path


def test_a_combination_that_no_picture_has_is_asked_for_by_its_values(
    folder: Path, tmp_path: Path, tiny_config: Callable[..., Config]
) -> None:
    config = tiny_config(COLUMNS, "data.independent_labels=true", "total_kimg=0.064", "snapshot_kimg=0")
    path = make_model(config, folder, tmp_path)

    model = ganmint.load(path)
    minted = model.mint(seed=1, n=2, labels=[{"shape": "round", "ink": "dark"}, {"ink": "light", "shape": "flat"}])

    assert model.class_names == ("flat dark", "flat light", "round dark", "round light")
    assert minted.labels is not None
    assert minted.labels.tolist() == [2, 1]


def test_classes_of_several_columns_are_asked_for_by_their_values(
    folder: Path, tmp_path: Path, tiny_config: Callable[..., Config]
) -> None:
    path = make_model(tiny_config(COLUMNS, "total_kimg=0.064", "snapshot_kimg=0"), folder, tmp_path)

    manifest = read_manifest(path)

    assert manifest.label_values == {"shape": ("flat", "flat", "round"), "ink": ("dark", "light", "light")}
    assert manifest.find_label({"shape": "round"}) == 2
    with pytest.raises(InputError, match="labels: is a combination without a class"):
        manifest.find_label({"shape": "round", "ink": "dark"})


def test_an_older_run_has_the_values_that_its_columns_name(
    folder: Path, tmp_path: Path, tiny_config: Callable[..., Config]
) -> None:
    named = "[{column: shape, names: {flat: flat, round: round}}, {column: ink, names: {light: pale, dark: deep}}]"
    config = tiny_config(f"data.label_columns={named}", "total_kimg=0.064", "snapshot_kimg=0")
    make_model(config, folder, tmp_path)
    run = trained_run.load_latest(tmp_path / "run")
    kept = run.data_info.pop("label_values")

    values = run.draft_manifest("tiny", "1.0.0").label_values

    assert values == {"shape": ("flat", "flat", "round"), "ink": ("pale", "deep", "pale")} == kept
