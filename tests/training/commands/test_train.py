"""What train says of its images before it trains, and which of them it keeps from the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganmint.cli import cli
from tests.training.data.samples import random_pixels, write_image, write_npz
from training.config_files import load_preset
from training.own_preset import OWN

REPOSITORY = Path(__file__).resolve().parents[3]

Plan = Callable[..., str]


def write_classes(path: Path, count: int, num_classes: int = 2) -> Path:
    return write_npz(path, images=random_pixels(count, count, 16, 16), labels=[k % num_classes for k in range(count)])


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Print what `ganmint train` would do with 40 images in two classes, or with other data."""
    monkeypatch.setattr("training.commands.train.measure_rate", lambda *_: 100.0)
    two_classes = write_classes(tmp_path / "set.npz", 40)

    def run(*settings: str, data: Path = two_classes) -> str:
        options = [part for setting in settings for part in ("--set", setting)]
        arguments = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--dry-run", *options]
        outcome = CliRunner().invoke(cli, arguments)
        return outcome.output if outcome.exit_code == 0 else str(outcome.exception)

    return run


def test_a_share_is_held_out_only_where_there_are_no_test_images(tmp_path: Path, plan: Plan) -> None:
    test = f"data.test={write_classes(tmp_path / 'test.npz', 6)}"

    without, with_test, both = plan(), plan(test), plan(test, "data.holdout=0.1")

    assert "# parts: 32 images to train on, 4 to choose by, 4 to test with; recall and" in without
    assert "# parts: 36 images to train on, 4 to choose by, 6 to test with; recall and" in with_test
    assert "\n  holdout: 0.1\n" in without and "\n  holdout: 0.0\n" in with_test
    assert (
        "# parts: 32 images to train on, 4 to choose by, 6 to test with; 4 are held out for nothing, as there are test "
        "images (data.holdout=0 trains on them); recall and" in both
    )


def test_a_continuous_label_is_named_with_its_ends(tmp_path: Path, plan: Plan) -> None:
    for k, pixels in enumerate(random_pixels(0, 40, 16, 16)):
        write_image(tmp_path / "set" / f"{k}.png", pixels)
    (tmp_path / "set" / "ages.csv").write_text("file,age\n" + "".join(f"{k}.png,{18 + k}\n" for k in range(40)))

    said = plan("data.continuous_label=age", data=tmp_path / "set")

    assert "40 samples of 1x16x16, age from 18 to 57, sha256" in said
    assert "# parts: 32 images to train on, 4 to choose by, 4 to test with; recall and" in said


def test_a_resumed_run_keeps_what_it_held_out() -> None:
    begun = load_preset("own", ("data.holdout=0.2",))

    assert load_preset("own", saved=begun, has_test_images=True).data.holdout == 0.2
    assert load_preset("own", has_test_images=True).data.holdout == 0


def test_test_images_that_do_not_fit_are_refused_before_the_training(tmp_path: Path, plan: Plan) -> None:
    other = write_classes(tmp_path / "other.npz", 6, num_classes=3)

    assert plan(f"data.test={other}").startswith(f"{other}: has test images of classes that no training image has")
    assert plan("data.test=nosuch").startswith("nosuch: does not exist")


def test_the_help_names_the_default_preset_in_the_words_of_the_readme() -> None:
    words = f"{OWN}, which suits its networks to the images' side"

    help_text = CliRunner().invoke(cli, ["train", "--help"]).output

    assert words in " ".join(help_text.split())
    assert words in " ".join((REPOSITORY / "README.md").read_text().replace("`", "").split())
