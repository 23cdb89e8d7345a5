"""Training: what every tick saves and reports."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tests.training.runs.helpers import (
    read_ticks,
    train,
)
from training.config import Config
from training.config_files import load_config, load_preset
from training.data.dataset import Dataset
from training.data.split import split_dataset
from training.gan.trainer import Trainer
from training.gan.updates import STATS
from training.runs import checkpoint, loop

MakeConfig = Callable[..., Config]


def test_every_tick_has_at_least_one_step(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_weights(trainer: Trainer) -> dict[str, Tensor]:
        trainer.images_shown += 100
        return dict.fromkeys(STATS, torch.ones(()))

    monkeypatch.setattr(Trainer, "step", no_weights)

    train(tiny_config("tick_kimg=0.03333333333333333", "total_kimg=2.2", "batch=100"), tiny_data, tmp_path / "run")


def test_every_tick_saves_stats_a_grid_and_a_checkpoint(finished: Path, tiny_data: Dataset) -> None:
    lines = read_ticks(finished)
    assert [line["kimg"] for line in lines] == pytest.approx([0.064 * k for k in range(1, 11)])
    assert all(line.keys() == {"kimg", "lr", "gamma", "augment_p", *STATS} for line in lines)
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert lines[-1]["lr"] == pytest.approx(1e-4) and lines[-1]["gamma"] == pytest.approx(0.1)

    assert sorted(p.name for p in (finished / "grids").iterdir()) == [f"{64 * k:012d}.png" for k in range(1, 11)]
    with Image.open(finished / "grids" / f"{640:012d}.png") as grid:
        # Three classes: nine columns.
        assert grid.size == (72, 64) and grid.mode == "L"
        assert len(set(grid.tobytes())) > 10

    assert [p.name for p in checkpoint.list_paths(finished)] == [
        "checkpoint-000000000576.pt",
        "checkpoint-000000000640.pt",
    ]
    state = checkpoint.load(checkpoint.list_paths(finished)[-1])
    assert state["trainer"]["images_shown"] == 640
    assert state["data"] == {
        "name": "stripes",
        "digest": tiny_data.digest,
        "images": 256,
        "held_out": 0,
        "licence": "CC0",
        "attribution": "",
        "use": "",
        "label_names": ["none", "flat", "upright"],
        "label_values": {},
    }


def test_a_preset_describes_only_the_data_it_was_written_for(tiny_data: Dataset) -> None:
    preset = load_preset("digits")
    other = loop.describe_data(preset, tiny_data)
    assert (other["name"], other["licence"], other["attribution"]) == (tiny_data.name, "not stated", "")

    own = preset.model_copy(update={"data": preset.data.model_copy(update={"digest": tiny_data.digest})})
    said = loop.describe_data(own, tiny_data)
    assert (said["name"], said["licence"]) == ("MNIST", "CC BY-SA 3.0")
    assert "LeCun" in said["attribution"]

    mine = loop.describe_data(load_preset("digits", ("data.licence=CC0",)), tiny_data)
    assert (mine["name"], mine["licence"], mine["attribution"]) == (tiny_data.name, "CC0", "")


def test_a_run_saves_no_licence_of_other_data(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    terms = ("data.name=MNIST", "data.licence=CC0", "data.attribution=nobody", f"data.digest='{'0' * 64}'")
    train(tiny_config("total_kimg=0.064", *terms), tiny_data, tmp_path / "run")

    data = load_config(tmp_path / "run" / "config.yaml").data
    assert (data.name, data.licence, data.attribution, data.digest) == ("", "", "", "")


def record_shown_images(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Return a set that every image which is trained on from now on is added to."""
    shown: set[bytes] = set()
    batch = Dataset.batch

    def recorded(self: Dataset, indices: NDArray[np.int64]) -> Any:
        shown.update(self.images[k].tobytes() for k in indices)
        return batch(self, indices)

    monkeypatch.setattr(Dataset, "batch", recorded)
    return shown


def test_holdout_images_are_never_trained_on(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = record_shown_images(monkeypatch)

    train(tiny_config("data.holdout=0.25"), tiny_data, tmp_path / "run")

    train_set, _, held_out = split_dataset(tiny_data, 0.25, 0.0, stratify_holdout=False)
    assert shown == {image.tobytes() for image in train_set.images}
    assert not shown & {image.tobytes() for image in held_out.images}
    data_info = checkpoint.load(checkpoint.list_paths(tmp_path / "run")[-1])["data"]
    assert (data_info["images"], data_info["held_out"], data_info["digest"]) == (256, 64, tiny_data.digest)


def test_validation_images_are_never_trained_on(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = record_shown_images(monkeypatch)

    train(tiny_config("data.holdout=0.25", "data.validation=0.1"), tiny_data, tmp_path / "run")

    train_set, validation, _ = split_dataset(tiny_data, 0.25, 0.1, stratify_holdout=False)
    assert shown == {image.tobytes() for image in train_set.images}
    assert len(train_set) + len(validation) == 192 and len(validation) == 18
    data_info = checkpoint.load(checkpoint.list_paths(tmp_path / "run")[-1])["data"]
    assert data_info["held_out"] == 64 + 18


def test_every_tick_is_reported_to_tensorboard(finished: Path) -> None:
    (events,) = (finished / "tensorboard").glob("events.out.tfevents.*")

    content = events.read_bytes()

    # With its length in front, because names begin other names.
    tags = [bytes([len(name)]) + name.encode() for name in ("loss_G", "loss_D", "acc_pair", "images_per_second")]
    assert all(content.count(tag) == 10 for tag in tags)


def test_printed_losses_equal_the_stats(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_config("total_kimg=0.128"), tiny_data, tmp_path / "run")

    printed = [line for line in capsys.readouterr().out.splitlines() if "images/s" in line]

    assert len(printed) == 2
    for text, tick in zip(printed, read_ticks(tmp_path / "run")):
        assert f"loss G {tick['loss_G']:.3f} D {tick['loss_D']:.3f}" in text
        assert "left" in text and "\r" not in text


def test_a_run_with_codes_saves_their_traversals(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    train(tiny_config("infogan_codes=2", "total_kimg=0.064"), tiny_data, tmp_path / "run")

    with Image.open(tmp_path / "run" / "codes.png") as strips:
        # Ten rows of eleven images for each, and a gap.
        assert strips.size == (11 * 8, 2 * 10 * 8 + 4)
        pixels = np.asarray(strips)
    rows = pixels[:80].reshape(10, 8, 11, 8)
    assert all(np.any(rows[:, :, 0] != rows[:, :, k]) for k in range(1, 11))
    assert np.any(pixels[:80] != pixels[84:])
