"""`ganmint data check` with test images that lie elsewhere, and with a continuous label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganmint.cli import cli
from tests.training.data.samples import random_pixels, write_image

Check = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def check() -> Check:
    """Run `ganmint data check`; return its exit code, lines and error."""

    def run(*arguments: Path | str) -> tuple[int, list[str], str]:
        outcome = CliRunner().invoke(cli, ["data", "check", *map(str, arguments)])
        return outcome.exit_code, outcome.output.splitlines(), str(outcome.exception or "")

    return run


def write_set(folder: Path, seed: int, names: tuple[str, ...] = ("cat", "dog"), side: int = 16) -> Path:
    """Two images of each class."""
    for k, pixels in enumerate(random_pixels(seed, 2 * len(names), side, side, 3)):
        write_image(folder / names[k % len(names)] / f"{k}.png", pixels)
    return folder


def write_ages(folder: Path, seed: int, ages: list[str]) -> Path:
    for k, pixels in enumerate(random_pixels(seed, len(ages), 16, 16, 3)):
        write_image(folder / f"{k}.png", pixels)
    (folder / "ages.csv").write_text("file,age\n" + "".join(f"{k}.png,{age}\n" for k, age in enumerate(ages)))
    return folder


def test_test_images_are_described_as_training_images_are(tmp_path: Path, check: Check) -> None:
    training, test = write_set(tmp_path / "set", 0), write_set(tmp_path / "other", 1)
    (test / "notes.csv").write_text("x")

    code, lines, _ = check(training, "--test", test)

    assert code == 0
    start = lines.index("test images:")
    assert lines[start + 1 :][:3] == [f"{test}: 4 images", "size: 16x16 RGB, 4 images", "classes: 2 (cat 2, dog 2)"]
    assert lines[start + 6] == "not used: notes.csv"
    command = f"ganmint train --data {training} --out runs/mine --set data.test={test}"
    assert lines[-1] == f"If you do not miss notes.csv (preset own): {command}"


def test_damage_and_several_sizes_of_test_images_are_obstacles(tmp_path: Path, check: Check) -> None:
    training, test = write_set(tmp_path / "set", 0), write_set(tmp_path / "other", 1)
    (test / "cat" / "0.png").write_bytes(b"no picture")
    write_image(test / "dog" / "1.png", random_pixels(2, 1, 20, 20, 3)[0])

    code, lines, error = check(training, "--test", test)

    assert code == 1 and "unreadable: 1" in lines
    assert "1 of 4 images cannot be read" in error and "the images have different sizes" in error


@pytest.mark.parametrize(
    ("names", "side", "words"),
    [
        (("cat", "emu"), 16, "has test images of classes that no training image has: 'emu'; remove or rename them"),
        (("cat", "dog"), 20, "has test images of shape (3, 20, 20), but training images of shape (3, 16, 16)"),
    ],
)
def test_test_images_that_do_not_match_are_obstacles(
    tmp_path: Path, check: Check, names: tuple[str, ...], side: int, words: str
) -> None:
    training, test = write_set(tmp_path / "set", 0), write_set(tmp_path / "other", 1, names, side)

    code, _, error = check(training, "--test", test)

    assert code == 1
    assert error == f"{training} cannot be trained on yet: {test}: {words}"


def test_training_images_among_the_test_images_are_doubted(tmp_path: Path, check: Check) -> None:
    training, test = write_set(tmp_path / "set", 0), write_set(tmp_path / "other", 0)

    code, lines, _ = check(training, "--test", test)

    assert code == 0 and "duplicates: none" in lines
    assert any(line.startswith("look at: 4 test images are training images, too") for line in lines)
    assert lines[-1].startswith("If this is meant (preset own)")


def test_own_test_images_are_not_used_beside_others(tmp_path: Path, check: Check) -> None:
    write_set(tmp_path / "set" / "train", 0)
    write_set(tmp_path / "set" / "test", 2, ("cat", "emu"))
    test = write_set(tmp_path / "other", 1)

    code, lines, _ = check(tmp_path / "set", "--test", test)

    assert code == 0
    assert "not used: 4 images in test/" in lines
    assert not any(line.startswith("test: ") for line in lines)


def test_a_continuous_label_is_described_by_its_ends(tmp_path: Path, check: Check) -> None:
    training = write_ages(tmp_path / "set", 0, ["18", "92.5", "30", "30", "41"])
    test = write_ages(tmp_path / "other", 1, ["50"])

    code, lines, _ = check(training, "--continuous-label", "age", "--test", test)

    assert code == 0
    assert "age: from 18 to 92.5, 4 different values" in lines and "age: from 50 to 50, 1 different values" in lines
    assert not any(line.startswith(("look at", "classes")) for line in lines)
    settings = f"--set data.continuous_label=age --set data.test={test}"
    assert lines[-1] == f"Ready (preset own): ganmint train --data {training} --out runs/mine {settings}"


@pytest.mark.parametrize(
    ("ages", "words"),
    [(["18", "old"], "has the age 'old', which is no number"), (["18", "18"], "has one age only, 18")],
)
def test_a_column_that_is_no_scale_is_an_obstacle(tmp_path: Path, check: Check, ages: list[str], words: str) -> None:
    training = write_ages(tmp_path / "set", 0, ages)

    code, lines, error = check(training, "--continuous-label", "age")

    assert code == 1 and "age: none" in lines
    assert f"{training}: {words}" in error


def test_another_label_beside_a_continuous_one_is_refused(tmp_path: Path, check: Check) -> None:
    training = write_ages(tmp_path / "set", 0, ["18", "30"])

    code, _, error = check(training, "--continuous-label", "age", "--unlabelled")

    assert code != 0
    assert error == "--continuous-label: is the only label; leave --label and --unlabelled out"


MANY_AGES = [str(18 + k) for k in range(12)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "images have numbers that no label is read from; --continuous-label age learns them as one label"),
        (("--label", "age"), "give --continuous-label age to learn numbers as one label, or --unlabelled to read none"),
    ],
)
def test_a_column_of_many_numbers_is_offered_as_a_continuous_label(
    tmp_path: Path, check: Check, options: tuple[str, ...], words: str
) -> None:
    code, lines, _ = check(write_ages(tmp_path / "set", 0, MANY_AGES), *options)

    assert code == 0
    assert [line for line in lines if line.startswith("look at: ") and words in line], lines


@pytest.mark.parametrize(
    ("ages", "options"),
    [(MANY_AGES, ("--unlabelled",)), (["18", "30", "41"], ()), ([*MANY_AGES, "old"], ())],
)
def test_no_continuous_label_is_offered_where_none_is_likely(
    tmp_path: Path, check: Check, ages: list[str], options: tuple[str, ...]
) -> None:
    _, lines, _ = check(write_ages(tmp_path / "set", 0, ages), *options)

    assert not any("--continuous-label" in line for line in lines)


def test_a_damaged_table_that_no_label_needs_is_no_obstacle(tmp_path: Path, check: Check) -> None:
    folder = write_ages(tmp_path / "set", 0, MANY_AGES)
    (folder / "labels.csv").write_text((folder / "ages.csv").read_text().replace("age", "label"))
    (folder / "metadata.jsonl").write_text("{")

    code, lines, error = check(folder)

    assert code == 0, error
    assert any("too few of each" in line for line in lines)


def test_a_column_with_another_name_is_suggested(tmp_path: Path, check: Check) -> None:
    code, _, error = check(write_ages(tmp_path / "set", 0, ["18", "30"]), "--continuous-label", "agee")

    assert code == 1
    assert "has no csv with the columns 'agee' (did you mean 'age'? ages.csv has 'file', 'age')" in error
