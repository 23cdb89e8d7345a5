"""The run folder: what it is refused for, and what it saves."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import CheckpointError, FileError, GanmintError, InputError
from tests.training.runs.helpers import (
    assert_equal_runs,
    fail_on_step,
    read_files,
    train,
)
from training.config import Config
from training.config_files import load_config, load_preset
from training.data.dataset import Dataset
from training.gan.trainer import Trainer
from training.runs.loggers import LoggerGroup
from training.runs.run_dir import prepare_resume, refuse_other_files

MakeConfig = Callable[..., Config]


def test_running_a_finished_run_again_changes_nothing(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr(Trainer, "step", fail_on_step)

    train(tiny_config(), tiny_data, tmp_path / "run")

    assert read_files(tmp_path / "run") == read_files(finished)
    assert "already trained to 0.64 kimg; nothing to do" in capsys.readouterr().out


def change_images(data: Dataset) -> Dataset:
    return dataclasses.replace(data, images=(255 - data.images).astype(np.uint8))


def change_labels(data: Dataset) -> Dataset:
    assert data.labels is not None
    return dataclasses.replace(data, labels=2 - data.labels)


def change_class_names(data: Dataset) -> Dataset:
    return dataclasses.replace(data, class_names=("x", "y", "z"))


@pytest.mark.parametrize("change", [change_images, change_labels, change_class_names])
def test_resuming_with_other_data_is_refused(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    finished: Path,
    change: Callable[[Dataset], Dataset],
) -> None:
    shutil.copytree(finished, tmp_path / "run")

    with pytest.raises(CheckpointError, match="was trained on other data"):
        train(tiny_config("total_kimg=1"), change(tiny_data), tmp_path / "run")

    assert read_files(tmp_path / "run") == read_files(finished)


def test_resuming_with_renamed_data_is_allowed(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")

    train(tiny_config(), dataclasses.replace(tiny_data, name="moved.npz"), tmp_path / "run")


@pytest.mark.parametrize(
    ("assignment", "field"),
    [
        ("seed=1", "seed"),
        ("batch=32", "batch"),
        ("lr.end=2e-4", "lr.end"),
        ("generator.widths=[8, 8]", "generator.widths"),
        ("data.mirror=true", "data.mirror"),
        ("schedule_kimg=1", "schedule_kimg"),
    ],
)
def test_resuming_with_other_settings_is_refused(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path, assignment: str, field: str
) -> None:
    shutil.copytree(finished, tmp_path / "run")

    with pytest.raises(InputError, match="give the same settings to resume it, or another --out") as caught:
        train(tiny_config(assignment), tiny_data, tmp_path / "run")

    assert caught.value.field == field
    assert read_files(tmp_path / "run") == read_files(finished)


def test_a_folder_with_other_files_is_refused(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with pytest.raises(FileError, match=r"not empty and holds no run \(found thesis.txt\); choose another --out"):
        train(tiny_config(), tiny_data, tmp_path)

    assert read_files(tmp_path) == {"thesis.txt": b"mine"}


def test_a_new_volume_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    refuse_other_files(tmp_path)


def test_a_refused_folder_keeps_its_lock_file(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / ".lock").write_text("pid 17")

    with pytest.raises(FileError):
        train(tiny_config(), tiny_data, tmp_path)

    assert (tmp_path / ".lock").read_text() == "pid 17"


def test_a_file_as_run_folder_is_refused(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    (tmp_path / "file").write_text("mine")

    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(GanmintError, match="file"):
            train(tiny_config(), tiny_data, out)


def test_a_folder_of_an_active_run_is_refused(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = []

    def run_again(self: LoggerGroup, images_shown: int, *args: float) -> None:
        if images_shown == 80:
            before = read_files(tmp_path / "run")
            with pytest.raises(FileError, match="another training run is writing here") as caught:
                train(tiny_config(), tiny_data, tmp_path / "run")
            refusals.append(caught.value.path)
            assert read_files(tmp_path / "run") == before

    monkeypatch.setattr(LoggerGroup, "log_step", run_again)
    train(tiny_config(), tiny_data, tmp_path / "run")

    assert refusals == [tmp_path / "run"]
    assert_equal_runs(tmp_path / "run", finished)


def test_images_that_do_not_fit_the_preset_are_refused(tmp_path: Path, tiny_data: Dataset) -> None:
    with pytest.raises(InputError, match=r"make 28x28 images .* but the data has 8x8 \(preset digits\)") as caught:
        train(load_preset("digits"), tiny_data, tmp_path / "run")

    assert caught.value.field == "--data"
    assert read_files(tmp_path) == {}


def test_resuming_deletes_half_written_files_of_every_folder_that_training_writes(
    tmp_path: Path, tiny_config: MakeConfig, finished: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "snapshots").mkdir(exist_ok=True)
    for folder in ("", "grids", "snapshots"):
        (tmp_path / "run" / folder / ".checkpoint-000000000064.pt.0a.tmp").touch()

    prepare_resume(tmp_path / "run", tiny_config(), kimg=0.64)

    assert list((tmp_path / "run").rglob("*.tmp")) == []


@pytest.mark.parametrize("content", [b"", b"a: [1", b"\xff\xfe\x00", b"batch: 3\n"])
def test_a_damaged_configuration_is_named(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path, content: bytes
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_bytes(content)

    with pytest.raises(GanmintError, match=r"config\.yaml"):
        train(tiny_config(), tiny_data, tmp_path / "run")


def test_a_run_saves_its_command_and_configuration(finished: Path, tiny_config: MakeConfig) -> None:
    origin = json.loads((finished / "run.json").read_text())

    assert origin["command"] == "ganmint train --preset digits"
    assert origin["torch"] == torch.__version__
    assert load_config(finished / "config.yaml") == tiny_config()
