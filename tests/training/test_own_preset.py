"""The preset for one's own pictures: it fits every side, costs little, and a run keeps what it was begun with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import InputError
from models.network_config import ResNetConfig
from tests.training.runs.helpers import train
from training import own_preset
from training.config_files import dump_config, find_preset, load_config, load_preset
from training.data.dataset import Dataset
from training.discriminator_config import ResNetDiscriminatorConfig
from training.gan.image_ops import average_pixels
from training.gan.trainer import Trainer
from training.own_preset import SIDES
from training.precision import resolve_precision

COMPUTES = ("small", "medium", "large")


def make_data(side: int, channels: int = 3, count: int = 64) -> Dataset:
    images = np.random.RandomState(0).randint(0, 256, (count, side, side, channels)).astype(np.uint8)
    return Dataset("own", images, np.arange(count) % 2, ("a", "b"))


def count_weights(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_side_is_a_base_from_4_to_7_doubled() -> None:
    assert SIDES == [16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256]
    for side, base in ((28, 7), (48, 6), (64, 4), (96, 6), (128, 4), (80, 5)):
        network = load_preset("own", (), (3, side, side)).generator
        assert isinstance(network, ResNetConfig)
        assert (network.base, network.base * 2 ** (len(network.widths) - 1)) == (base, side)


@pytest.mark.parametrize(
    ("width", "height", "base", "levels"),
    [(96, 64, (4, 6), 5), (64, 96, (6, 4), 5), (28, 32, (8, 7), 3), (256, 16, (4, 64), 3)],
)
def test_a_rectangles_sides_are_halved_as_often(width: int, height: int, base: tuple[int, int], levels: int) -> None:
    config = load_preset("own", (), (3, height, width))

    assert isinstance(config.generator, ResNetConfig) and isinstance(config.discriminator, ResNetDiscriminatorConfig)
    for network in (config.generator, config.discriminator):
        assert (network.base, len(network.widths)) == (base, levels)
        network.check_size((3, height, width))


def test_a_rectangle_has_the_settings_of_a_square_of_as_many_pixels() -> None:
    wide, square = load_preset("own", (), (3, 64, 96)), load_preset("own", (), (3, 80, 80))

    assert (wide.batch, wide.lr, wide.gamma, wide.tick_kimg) == (
        square.batch,
        square.lr,
        square.gamma,
        square.tick_kimg,
    )
    values = average_pixels(torch.zeros(1, 3, 64, 96)).numel()
    assert wide.encoder and wide.encoder.kl_weight == pytest.approx(6e-4 * 196 / values)


@pytest.mark.parametrize(
    ("width", "height", "sizes"),
    [(100, 60, "96x56 or 56"), (60, 100, "56x96 or 56"), (1000, 65, "256x64 or 64"), (9, 30, "16x52 or 16")],
)
def test_another_rectangle_is_refused_with_a_near_one(width: int, height: int, sizes: str) -> None:
    with pytest.raises(InputError, match=rf"its images are {width}x{height}, .*data\.size={sizes}, or give"):
        find_preset((3, height, width))
    near_width, near_height = (int(side) for side in sizes.split(" ")[0].split("x"))
    assert find_preset((3, near_height, near_width)) == "own"


@pytest.mark.parametrize(("width", "height"), [(96, 64), (16, 40)])
def test_a_step_is_taken_on_a_rectangle(width: int, height: int) -> None:
    images = np.random.RandomState(0).randint(0, 256, (16, height, width, 3)).astype(np.uint8)
    data = Dataset("own", images, np.arange(16) % 2, ("a", "b"))
    settings = ("compute=small", "batch=8", "precision=float32", "augment.p=0.5")
    trainer = Trainer(load_preset("own", settings, data.shape), data, "cpu")

    stats = trainer.step()

    assert trainer.learners.is_finite() and float(stats["recon_loss"]) > 0


@pytest.mark.parametrize(
    ("side", "generator", "discriminator"),
    [
        # As the presets for digits and for faces.
        (28, (96, 48, 24), (64, 32, 16)),
        (32, (128, 96, 48, 24), (128, 64, 32, 16)),
        (64, (160, 128, 64, 32, 16), (160, 128, 64, 32, 16)),
    ],
)
def test_medium_has_the_widths_of_the_presets_that_were_trained(
    side: int, generator: tuple[int, ...], discriminator: tuple[int, ...]
) -> None:
    config = load_preset("own", (), (1, side, side))

    assert isinstance(config.generator, ResNetConfig)
    assert isinstance(config.discriminator, ResNetDiscriminatorConfig)
    assert (config.generator.widths, config.discriminator.widths) == (generator, discriminator)


@pytest.mark.parametrize("compute", COMPUTES)
@pytest.mark.parametrize("side", SIDES)
def test_no_networks_weights_explode(side: int, compute: str) -> None:
    shape = (3, side, side)
    config = resolve_precision(load_preset("own", (f"compute={compute}",), shape), "cpu")
    with torch.device("meta"):
        trainer = Trainer(config, make_data(side, count=2), "meta")

    assert trainer.learners.encoder is not None
    limit = {"small": 2e6, "medium": 4e6, "large": 12e6}[compute]
    for network in (trainer.learners.G, trainer.learners.D, trainer.learners.encoder.network):
        assert count_weights(network) < limit
    assert isinstance(config.generator, ResNetConfig)
    if config.generator.input_layer == "dense":
        first = count_weights(trainer.learners.G.project)  # type: ignore[arg-type]
        assert first <= own_preset.MAX_DENSE_WEIGHTS


def test_more_compute_is_wider_networks() -> None:
    small, medium, large = (load_preset("own", (f"compute={name}",), (3, 64, 64)) for name in COMPUTES)

    assert medium == load_preset("own", (), (3, 64, 64))
    for ours, theirs in ((small, medium), (medium, large)):
        assert isinstance(ours.generator, ResNetConfig) and isinstance(theirs.generator, ResNetConfig)
        assert all(2 * a == b for a, b in zip(ours.generator.widths, theirs.generator.widths))
    with pytest.raises(InputError, match="compute: must be 'small', 'medium' or 'large', got 'huge'"):
        load_preset("own", ("compute=huge",))
    with pytest.raises(InputError, match="compute is for preset own"):
        load_preset("digits", ("compute=large",))


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 28), (3, 64), (3, 96), (1, 128), (3, 256)])
def test_the_encoder_is_held_to_the_prior_in_proportion_to_what_it_is_compared_by(channels: int, side: int) -> None:
    config = load_preset("own", (), (channels, side, side))

    values = average_pixels(torch.zeros(1, channels, side, side)).numel()
    assert config.encoder is not None
    assert config.encoder.kl_weight == pytest.approx(6e-4 * 196 / values)


def test_faces_have_the_encoder_of_their_preset() -> None:
    measured, own = load_preset("faces-cpu").encoder, load_preset("own", (), (3, 64, 64)).encoder
    assert measured and own and own.kl_weight == pytest.approx(measured.kl_weight, rel=0.05)


def test_the_description_is_of_the_images_that_are_trained_on() -> None:
    wide, mine = load_preset("own", (), (3, 64, 96)), load_preset("own", ("description=mine",), (1, 28, 28))

    assert wide.description == "96x64 RGB images, by networks of their size."
    assert load_preset("own", (), (1, 28, 28)).description == "28x28 grey images, by networks of their size."
    assert mine.description == "mine"
    # A run keeps what it was begun with.
    assert load_preset("own", (), (1, 28, 28), mine).description == "mine"


def test_a_setting_of_ones_own_goes_before_the_rule() -> None:
    config = load_preset("own", ("batch=8", "encoder.kl_weight=1", "generator.widths=[8, 8, 8, 8]"), (3, 48, 48))

    assert config.batch == 8 and config.encoder and config.encoder.kl_weight == 1
    assert isinstance(config.generator, ResNetConfig) and config.generator.widths == (8, 8, 8, 8)


def test_another_side_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(InputError, match=r"its images are 100x100, .* reduce them with --set data\.size=96 or 112"):
        find_preset((3, 100, 100))


@pytest.mark.slow
@pytest.mark.parametrize("side", [48, 96, 128])
def test_a_step_is_taken(side: int) -> None:
    config = load_preset("own", ("compute=small", "batch=8", "precision=float32"), (3, side, side))
    trainer = Trainer(config, make_data(side), "cpu")

    stats = trainer.step()

    assert trainer.learners.is_finite() and float(stats["recon_loss"]) > 0


def test_a_run_keeps_what_the_rule_chose_when_the_rule_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_data(16, 1)
    assignments = ("compute=small", "batch=8", "total_kimg=0.008", "data.holdout=0", "data.validation=0")
    begun = load_preset("own", assignments, data.shape)
    train(begun, data, tmp_path)
    saved = load_config(tmp_path / "config.yaml")
    assert saved.generator == begun.generator

    monkeypatch.setitem(own_preset.WIDTH_FACTORS, "small", 0.75)

    longer = (*assignments[:2], "total_kimg=0.016", *assignments[3:])
    assert load_preset("own", longer, data.shape).generator != saved.generator
    resumed = load_preset("own", longer, data.shape, saved)
    assert resumed.generator == saved.generator
    train(resumed, data, tmp_path)
    # Another choice is refused when the run is resumed.
    assert load_preset("own", ("compute=medium",), data.shape, saved).generator != saved.generator


@pytest.mark.parametrize("name", ["images28", "images64"])
def test_an_earlier_preset_is_read_and_resumed_and_its_name_means_own(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(load_preset("toy1d", ("total_kimg=5",))).replace("preset: toy1d", f"preset: {name}"))
    saved = load_config(path)

    resumed = load_preset(name, ("total_kimg=7",), (1, 28, 28), saved)

    assert resumed == saved.model_copy(update={"total_kimg": 7})
    assert load_preset(name, (), (3, 64, 64)) == load_preset("own", (), (3, 64, 64))
