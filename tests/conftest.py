"""What all tests share: a tiny untrained model, a model store of their own, and the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import nn

from ganmint.cli import main
from models import artifact, network_config, networks
from models.evidence import DataInfo, TrainingInfo
from models.manifest import ImageShape, Latents, Manifest
from training.data.label_scale import LabelScale

# Test processes run side by side, so each has one thread, and so have the programs that they start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
LIVE = Path(__file__).parent / "live"

# The same examples at every run, and no database beside the sources.
settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.load_profile("fixed")

TINY = network_config.GeneratorConfig(
    z_dim=8, num_classes=3, shape=(1, 8, 8), network=network_config.ResNetConfig(base=4, widths=(8, 4), label_dim=4)
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of real servers as slow, before the slow ones are deselected."""
    for item in items:
        if LIVE in item.path.parents:
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True)
class Result:
    """What a command came to."""

    code: int
    output: str
    errors: str


Command = Callable[..., Result]


@pytest.fixture(scope="session")
def tiny_manifest() -> Manifest:
    """A manifest before its export: 8x8 grey, classes a, b and c, z of length 8, psi allowed."""
    return Manifest(
        name="tiny",
        version="1.0.0",
        description="An untrained generator for tests.",
        licence="CC0-1.0",
        image=ImageShape(channels=1, height=8, width=8),
        latents=Latents(z_dim=TINY.z_dim),
        class_names=("a", "b", "c"),
        truncation=True,
        batch_size={},
        batch_size_measured={},
        network=TINY.model_dump(mode="json"),
        training=TrainingInfo(
            command="none",
            code_version="0",
            torch=str(torch.__version__),
            device="cpu",
            kimg=0,
            config={},
            data=DataInfo(name="nothing", digest="0" * 64, images=1, licence="CC0-1.0", attribution="nobody"),
        ),
    )


def _tiny_generator(config: network_config.GeneratorConfig = TINY) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = networks.build_generator(config)
        # They start at zero, which would hide whatever the residual branches do.
        for name, parameter in generator.named_parameters():
            if name.endswith("conv2.weight"):
                nn.init.normal_(parameter, std=0.2)
    return generator


@pytest.fixture
def tiny_generator() -> nn.Module:
    """The generator of `tiny_artifact`, fresh for each test."""
    return _tiny_generator()


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory, tiny_manifest: Manifest) -> Path:
    """A real exported artifact, with a CPU batch of 4. Shared by all tests: copy it to change it."""
    folder = tmp_path_factory.mktemp("artifacts") / "tiny"
    artifact.export(_tiny_generator(), tiny_manifest, folder, batch_size=4)
    return folder


@pytest.fixture(scope="session")
def continuous_artifact(tmp_path_factory: pytest.TempPathFactory, tiny_manifest: Manifest) -> Path:
    """The same as `ages`, which has one continuous label: age, from 18 to 92 in 100 steps."""
    ages = LabelScale(18, 92, 100).names
    config = TINY.model_copy(update={"num_classes": len(ages)})
    label = {"class_names": ages, "label_values": {"age": ages}, "continuous_label": "age"}
    manifest = tiny_manifest.model_copy(update={"name": "ages", "network": config.model_dump(mode="json"), **label})
    folder = tmp_path_factory.mktemp("artifacts") / "ages"
    artifact.export(_tiny_generator(config), manifest, folder, batch_size=4)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _foreign_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the model store of whoever runs the tests."""
    os.environ["BENTOML_HOME"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty BENTOML_HOME."""
    home = tmp_path / "bentoml"
    monkeypatch.setenv("BENTOML_HOME", str(home))
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "true")
    return home


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the entry point in this process; an exception that would be a stack trace fails the test."""

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["ganmint", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        code = caught.value.code or 0
        assert isinstance(code, int)
        assert "Traceback" not in printed.out + printed.err
        return Result(code, printed.out, printed.err)

    return run
