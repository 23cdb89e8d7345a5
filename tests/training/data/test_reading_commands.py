"""What the commands say about images of any size: data check, train and sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganmint.cli import cli
from tests.training.data.samples import (
    class_folder,
    mixed_folder,
    png,
    random_pixels,
    write_image,
    write_npz,
    write_tar,
)
from training.data.decoding import Decoding, Size
from training.data.inspection import inspect_dataset
from training.data.loader import load_dataset

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check() -> Callable[..., tuple[int, str, str]]:
    """Run `ganmint data check`; return its exit code, output and error."""

    def run(*arguments: Path | str) -> tuple[int, str, str]:
        outcome = CliRunner().invoke(cli, ["data", "check", *map(str, arguments)])
        return outcome.exit_code, outcome.output, str(outcome.exception or "")

    return run


def test_the_check_tells_the_size_that_helps(tmp_path: Path, check: Check) -> None:
    folder = mixed_folder(tmp_path / "set")

    code, _, error = check(folder)
    assert code == 1
    assert "--set data.size=20 in training (here: --size 20)" in error
    assert error.endswith(f"\nThis trains: ganmint train --data {folder} --out runs/mine --set data.size=20")

    code, output, _ = check(folder, "--size", "20")
    assert code == 0
    assert "size: 48x64 RGB, 1 images\n" in output and "crop to 20: 1 enlarged\n" in output
    assert output.endswith(f"Ready (preset own): ganmint train --data {folder} --out runs/mine --set data.size=20\n")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.size=64", "is for train; here it is --size 64"),
        ("data.skip_damaged=true", "here it is --skip-damaged"),
        ("data.label_columns=[{column: age}]", "here it is --label COLUMN"),
        ("data.continuous_label=age", "here it is --continuous-label age"),
        ("batch=64", "check --help lists the options here"),
        ("data.set=1", "check --help lists the options here"),
    ],
)
def test_a_setting_of_training_is_refused_with_the_option_to_give(
    tmp_path: Path, check: Check, setting: str, words: str
) -> None:
    code, _, error = check(tmp_path, "--set", setting)

    assert code != 0
    assert error.startswith("--set: ") and error.endswith(words)


def test_the_check_passes_on_how_it_read(tmp_path: Path, check: Check) -> None:
    folder = class_folder(tmp_path / "set")
    (folder / "cat" / "1.png").write_bytes(b"no picture")
    code, _, error = check(folder, "--size", "16", "--unlabelled")
    assert code == 1 and "--skip-damaged" in error
    assert error.endswith("--set data.unlabelled=true --set data.size=16 --set data.skip_damaged=true")

    options = ("--size", "16", "--fit", "pad", "--background", "#ffffff", "--skip-damaged")
    code, output, _ = check(folder, *options)

    assert code == 0
    assert "unreadable: 1, skipped\n" in output and "classes: 3 (cat 1, dog 1, emu 1)" in output
    assert output.strip().endswith(
        "--set data.size=16 --set data.fit=pad --set 'data.background=\"#ffffff\"' --set data.skip_damaged=true"
    )


@pytest.mark.parametrize("options", [("--size", "96x65"), ()])
def test_no_training_is_suggested_where_obstacles_stay(tmp_path: Path, check: Check, options: tuple[str, ...]) -> None:
    write_image(tmp_path / "set" / "a.png", random_pixels(1, 24, 24, 3))
    write_image(tmp_path / "set" / "b.png", random_pixels(2, 16, 16, 3))
    # Neither can networks make 96x65 pixels, nor does skipping damage help with transparent pixels.
    damaged = tmp_path / "set" / "c.png"
    damaged.write_bytes(b"no picture") if options else write_image(damaged, random_pixels(3, 16, 16, 4))

    code, _, error = check(tmp_path / "set", *options)

    assert code == 1 and "This trains" not in error


def test_the_check_passes_on_labels_and_background(tmp_path: Path, check: Check) -> None:
    folder = class_folder(tmp_path / "set", 16, 16, 4)
    (folder / "labels.csv").write_text("file,kind\ndog/0.png,a\ncat/1.png,b\ncat/2.png,a\nemu/3.png,b\n")

    code, output, _ = check(folder, "--label", "kind", "--background", "white")

    assert code == 0 and "classes: 2 (a 2, b 2)\n" in output
    assert output.strip().endswith("--set 'data.label_columns=[{column: kind}]' --set data.background=white")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("--label kind --unlabelled", "--label: leave it out, or leave --unlabelled out"),
        ("--size 8", "--size: sides must be from 16 to 256 pixels"),
        ("--size 16 --background whitte", "--background: must be a colour"),
        ("--size 16 --fit pad", "--fit: data.fit=pad needs data.background"),
        ("--fit stretch", "--fit: data.fit=stretch needs data.size"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, check: Check, options: str, error: str) -> None:
    assert check(class_folder(tmp_path / "set"), *options.split())[2].startswith(error)


def test_the_check_counts_enlarged_images_of_arrays(tmp_path: Path, check: Check) -> None:
    path = write_npz(tmp_path / "set.npz", images=random_pixels(1, 3, 20, 20))

    code, output, _ = check(path, "--size", "32")

    assert code == 0 and "crop to 32: 3 enlarged\n" in output


def test_the_check_reads_test_images_of_shards_alike(tmp_path: Path, check: Check) -> None:
    for split in ("train", "test"):
        members = {"1.png": png(1, 20, 24), "1.cls": b"0", "2.png": png(2, 18, 16), "2.cls": b"1"}
        write_tar(tmp_path / "set" / f"{split}.tar", {**members, "3.png": b"no picture", "3.cls": b"1"})

    code, output, _ = check(tmp_path / "set", "--size", "16", "--skip-damaged")

    assert code == 0
    assert "unreadable: 2, skipped\n" in output and "test: 2 images more\n" in output


def test_a_coloured_background_makes_all_images_rgb(tmp_path: Path) -> None:
    decoding = Decoding(Size(16, 20), "pad", (255, 0, 0))
    write_image(tmp_path / "set" / "a.png", random_pixels(1, 20, 20))
    path = write_npz(tmp_path / "set.npz", images=random_pixels(1, 3, 20, 20))
    for source in (tmp_path / "set", path):
        assert inspect_dataset(source, decoding=decoding).report.shape == (3, 20, 16)
        assert load_dataset(source, decoding=decoding).shape == (3, 20, 16)


def test_skipping_does_not_hide_other_obstacles(tmp_path: Path, check: Check) -> None:
    write_image(tmp_path / "set" / "a.png", random_pixels(1, 16, 16, 4))
    write_image(tmp_path / "set" / "b.png", random_pixels(2, 16, 16, 3))
    code, _, error = check(tmp_path / "set", "--skip-damaged")
    assert code == 1 and "--set data.background=white" in error

    for name in "ab":
        (tmp_path / "set" / f"{name}.png").write_bytes(b"no picture")
    code, _, error = check(tmp_path / "set", "--skip-damaged")
    assert code == 1 and "2 of 2 images cannot be read" in error


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_training_says_how_it_reads(tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.runs.loop.measure_rate", lambda *_: 100.0)
    (mixed_folder(tmp_path / "set") / "d.png").write_bytes(b"no picture")
    (tmp_path / "set" / "notes.txt").touch()
    settings = ("data.size=20", "data.skip_damaged=true", *(("seed=1,2",) if command == "sweep" else ()))
    options = [part for setting in settings for part in ("--set", setting)]
    paths = ["--data", str(tmp_path / "set"), "--out", str(tmp_path / "out")]

    outcome = CliRunner().invoke(cli, [command, "--preset", "own", *paths, *options, "--dry-run"])

    assert outcome.exit_code == 0, outcome.exception
    assert "# not used: notes.txt\n" in outcome.output
    assert "# skipped: 1 damaged: d.png\n" in outcome.output
    assert "# size: crop to 20; 1 of the images enlarged\n" in outcome.output
