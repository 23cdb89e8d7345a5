"""A run and an artifact of version 0.1 (tests/data/v0.1) still work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import artifact
from models.network_config import GeneratorConfig, ResNetConfig
from training.config_files import load_config, read_data_config, read_gate
from training.data.labels import LabelColumn
from training.data.loader import load_dataset
from training.gate import Bound
from training.runs import checkpoint, comparison, loop, trained_run

DATA = Path(__file__).parent.parent / "data"
OLD = DATA / "v0.1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the old run."""
    return Path(shutil.copytree(OLD / "run", tmp_path / "run"))


@pytest.fixture
def manifest_config() -> dict[str, Any]:
    """The configuration in the old artifact's manifest."""
    config: dict[str, Any] = json.loads((OLD / "artifact" / "manifest.json").read_text())["training"]["config"]
    return config


def test_an_old_configuration_is_read_by_its_new_names() -> None:
    config = load_config(OLD / "run" / "config.yaml")

    assert config.encoder is not None
    assert config.encoder.kl_weight == 1e-3
    assert (config.clip_fakes, config.latent_std, config.infogan_codes, config.infogan_weight) == (True, 0.9, 1, 0.1)
    assert isinstance(config.generator, ResNetConfig)
    assert config.generator.input_layer == "dense"
    assert config.data.label_columns == ()
    assert config.gate["gan_train"] == Bound(min_ratio_to_real=0.97)
    assert "start" not in config.model_dump()["generator"]


def test_an_old_run_trains_on(run: Path) -> None:
    state = checkpoint.load(checkpoint.list_paths(run)[-1])["trainer"]
    assert {"augment", "cover"} < state.keys()
    config = load_config(run / "config.yaml").model_copy(update={"total_kimg": 0.128})

    loop.run(config, load_dataset(DATA / "digits"), run, "cpu", "ganmint train")

    ticks = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert [tick["kimg"] for tick in ticks] == [0.032, 0.064, 0.096, 0.128]
    # As version 0.1 goes on from this checkpoint.
    last = {"loss_G": 0.6274244487, "loss_D": 0.7849504054, "grad_norm_G": 3.5741186738, "r1": 0.0647560861}
    assert {name: ticks[-1][name] for name in last} == pytest.approx(last, rel=1e-3)


def test_an_old_run_is_evaluated_and_compared(run: Path) -> None:
    trained = trained_run.load_latest(run)

    assert trained.network_config.num_classes == 10
    assert trained.generator(torch.zeros(2, 4), torch.eye(10)[[0, 9]]).shape == (2, 1, 28, 28)
    assert comparison.read_run(run).settings["encoder.kl_weight"] == 1e-3


def test_an_old_artifact_mints_its_goldens() -> None:
    sampler = artifact.load(OLD / "artifact")

    images = sampler.mint(sampler.manifest.addresses(seed=7, n=4))

    assert images.shape == (4, 28, 28, 1) and images.dtype == np.uint8
    config = GeneratorConfig.model_validate(sampler.manifest.network)
    assert config.num_classes == 10
    assert isinstance(config.network, ResNetConfig) and config.network.input_layer == "dense"


def test_an_old_manifest_keeps_its_gate_and_data_settings(manifest_config: dict[str, Any]) -> None:
    manifest_config["data"] |= {"holdout": 0.2, "labels": [{"column": "age"}], "class_power": 0.5}

    assert read_gate(manifest_config)["near_copies"] == Bound(max_above_real=0.001)
    data = read_data_config(manifest_config)
    assert (data.name, data.holdout, data.class_sampling_power) == ("MNIST", 0.2, 0.5)
    assert data.label_columns == (LabelColumn(column="age"),)
