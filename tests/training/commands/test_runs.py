"""The commands that show runs: movie and compare."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ganmint.cli import cli
from models.errors import FileError, InputError
from training.config import Config
from training.data.dataset import Dataset
from training.runs import comparison, loop
from training.runs.score_record import ScoreRecord, add_score_record
from training.runs.timelapse import encode_movie

MakeConfig = Callable[..., Config]


def ganmint(*arguments: Path | str) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, tiny_config: MakeConfig, tiny_data: Dataset) -> Path:
    """A run like `finished` with another learning rate and a further column of widths; shorter."""
    out = tmp_path_factory.mktemp("other") / "other"
    config = tiny_config("lr.start=0.002", "augment={}", "total_kimg=0.192", "data.name=other words")
    loop.run(config, tiny_data, out, "cpu", "ganmint train")
    return out


# The movie


def read_frames(content: bytes) -> tuple[list[Image.Image], list[int]]:
    with Image.open(io.BytesIO(content)) as picture:
        frames, durations = [], []
        for k in range(getattr(picture, "n_frames", 1)):
            picture.seek(k)
            frames.append(picture.convert("RGB"))
            durations.append(int(picture.info["duration"]))
        return frames, durations


def test_a_movie_shows_the_grids_in_order_and_the_last_one_longer(finished: Path) -> None:
    content, count = encode_movie(finished, fps=10, max_seconds=60)

    shown, durations = read_frames(content)
    assert count == 10
    # The encoder makes one frame of two that look alike, for as long as both.
    assert 2 <= len(shown) <= 10
    assert sum(durations) == 9 * 100 + 2500 and durations[-1] >= 2500
    # Above the caption, the first frame is the first grid, except for compression.
    with Image.open(sorted((finished / "grids").glob("*.png"))[0]) as grid:
        expected = grid.convert("RGB").resize((grid.width * 9, grid.height * 9), Image.Resampling.NEAREST)
    assert shown[0].width == expected.width == 648 and shown[0].height > expected.height
    difference = np.asarray(shown[0].crop((0, 0, *expected.size)), float) - np.asarray(expected, float)
    assert np.abs(difference).mean() < 12


def test_a_movie_is_marked_as_synthetic_and_reproducible(finished: Path) -> None:
    content, _ = encode_movie(finished, fps=10, max_seconds=60)

    assert b"trainedAlgorithmicMedia" in content
    assert encode_movie(finished, fps=10, max_seconds=60)[0] == content


def test_a_long_training_is_subsampled_and_keeps_its_end(finished: Path) -> None:
    content, count = encode_movie(finished, fps=2, max_seconds=2)
    every, _ = encode_movie(finished, fps=10, max_seconds=60)

    assert count == 4
    difference = np.asarray(read_frames(content)[0][-1], float) - np.asarray(read_frames(every)[0][-1], float)
    assert np.abs(difference).mean() < 4


def test_a_run_with_too_few_grids_has_no_movie(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    for path in sorted((tmp_path / "run" / "grids").glob("*.png"))[1:]:
        path.unlink()

    with pytest.raises(FileError, match="has 1 grids so far, and a movie needs two"):
        encode_movie(tmp_path / "run", 10, 60)
    with pytest.raises(FileError, match="holds no run"):
        encode_movie(tmp_path / "nosuch", 10, 60)


def test_a_damaged_grid_is_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    damaged = sorted((tmp_path / "run" / "grids").glob("*.png"))[3]
    damaged.write_bytes(b"no image")

    with pytest.raises(FileError) as caught:
        encode_movie(tmp_path / "run", 10, 60)

    assert caught.value.path == damaged


def test_the_movie_command_writes_into_the_run_or_to_out(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")

    default, explicit = (
        ganmint("movie", tmp_path / "run"),
        ganmint("movie", finished, "--out", tmp_path / "a" / "m.webp"),
    )
    refused = ganmint("movie", finished, "--out", tmp_path / "m.mp4")

    assert re.fullmatch(rf"{tmp_path}/run/movie.webp: 10 frames, 0\.\d MB\n", default.output)
    assert explicit.exit_code == 0 and (tmp_path / "a" / "m.webp").exists()
    assert isinstance(refused.exception, InputError) and not (tmp_path / "m.mp4").exists()


# Comparing


def test_only_settings_that_differ_and_matter_are_listed(finished: Path, other: Path) -> None:
    differences = comparison.find_differences(comparison.read_runs([finished, other]))

    # The data's name is only a name. None: a run lacks the setting.
    assert differences == {
        "total_kimg": [0.64, 0.192],
        "lr.start": [0.001, 0.002],
        "augment.p.start": [None, 0.0],
        "augment.p.end": [None, 0.3],
        "augment.colour": [None, 0.5],
    }


def test_results_are_means_over_the_last_ticks(finished: Path) -> None:
    run = comparison.read_run(finished)

    results = comparison.collect_results([run])

    assert results["kimg"] == [0.64]
    assert results["loss_D"] == [pytest.approx(sum(tick["loss_D"] for tick in run.ticks[-5:]) / 5)]
    assert results["images/s"][0] > 0


def test_scores_are_listed_for_an_evaluated_run(finished: Path, other: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    report = {"figures": [{"name": "gan_train", "value": 0.985}, {"name": "kid", "value": None}]}
    (tmp_path / "run" / "evaluation").mkdir()
    (tmp_path / "run" / "evaluation" / "report.json").write_text(json.dumps(report))

    results = comparison.collect_results(comparison.read_runs([tmp_path / "run", other]))

    assert results["gan_train"][0] == 0.985 and math.isnan(results["gan_train"][1])
    assert "kid" not in results


def evaluated(finished: Path, out: Path, kimg: float = 0.64, seed: int | None = None, **data: str | int) -> Path:
    """Copy a run and give it a report by the protocol "p"; `data` changes what the report says of the real images."""
    shutil.copytree(finished, out)
    if seed is not None:
        text = (out / "config.yaml").read_text()
        (out / "config.yaml").write_text(text.replace("seed: 0", f"seed: {seed}"))
    report = {
        "kimg": kimg,
        "protocol": {"name": "p"},
        "data": {"name": "d", "digest": "0" * 64, "split": "test", "test_split": "own", "test_images": 90, **data},
        "figures": [{"name": "gan_train", "value": 0.9 + 0.02 * (seed or 0)}],
    }
    (out / "evaluation").mkdir()
    (out / "evaluation" / "report.json").write_text(json.dumps(report))
    return out


@pytest.mark.parametrize(
    ("other_data", "words"),
    [
        ({"name": "e", "digest": "1" * 64}, "on e (111111111111), 90 test images: own"),
        ({"split": "validation"}, "on d (000000000000), 90 validation images: own"),
        ({"test_split": "10%, held out"}, "90 test images: 10%, held out"),
        ({"test_images": 55}, "55 test images: own"),
    ],
)
def test_scores_that_do_not_compare_are_left_out_unless_forced(
    finished: Path, tmp_path: Path, other_data: dict[str, Any], words: str
) -> None:
    a, b = evaluated(finished, tmp_path / "a"), evaluated(finished, tmp_path / "b", **other_data)

    refused = ganmint("compare", a, b).output
    forced = ganmint("compare", a, b, "--force").output
    alone = ganmint("compare", a, finished).output

    assert "gan_train" not in refused and "The scores do not compare and are left out (see --force)" in refused
    assert words in refused and f"{a}: by p" in refused
    assert ["gan_train", "0.9", "0.9"] in [line.split() for line in forced.splitlines()]
    assert "These scores do not compare" in forced and words in forced
    assert ["gan_train", "0.9", "-"] in [line.split() for line in alone.splitlines()]
    assert "do not compare" not in alone


def test_scores_by_another_protocol_are_left_out(finished: Path, tmp_path: Path) -> None:
    a, b = evaluated(finished, tmp_path / "a"), evaluated(finished, tmp_path / "b")
    path = b / "evaluation" / "report.json"
    path.write_text(path.read_text().replace('"name": "p"', '"name": "q"'))

    output = ganmint("compare", a, b).output

    assert "gan_train" not in output and f"{a}: by p (" in output and f"{b}: by q (" in output


def test_different_lengths_of_training_are_said(finished: Path, other: Path, tmp_path: Path) -> None:
    early, late = evaluated(finished, tmp_path / "early", kimg=0.32), evaluated(finished, tmp_path / "late")
    words = "The results are of different lengths of training: "

    output = ganmint("compare", early, late).output
    unscored = ganmint("compare", finished, other).output

    assert ["scored", "at", "kimg", "0.32", "-"] in [line.split() for line in output.splitlines()]
    assert f"{words}{early} 0.32 kimg, {late} 0.64 kimg" in output
    assert f"{words}{finished} 0.64 kimg, {other} 0.192 kimg" in unscored
    assert words not in ganmint("compare", finished, late).output


def test_runs_that_differ_in_the_seed_only_are_averaged(finished: Path, other: Path, tmp_path: Path) -> None:
    runs = [evaluated(finished, tmp_path / f"seed{seed}", seed=seed) for seed in (0, 1)]

    output = ganmint("compare", *runs, other).output

    assert f"Mean and deviation over the seeds of {runs[0]}, {runs[1]}: gan_train 0.91 ± 0.014" in output
    assert "Mean and deviation" not in ganmint("compare", runs[0], other).output


def test_evaluations_of_a_run_become_a_curve(finished: Path, tmp_path: Path) -> None:
    run = evaluated(finished, tmp_path / "run", kimg=0.32)
    report = json.loads((run / "evaluation" / "report.json").read_text())
    for kimg, score in ((0.32, 0.5), (0.64, 0.7), (0.32, 0.6)):
        report["kimg"], report["figures"][0]["value"] = kimg, score
        add_score_record(run, ScoreRecord.from_report(report))
    (run / "evaluation" / "report.json").write_text(json.dumps(report))

    panels = {panel.title: panel for panel in comparison.collect_panels(comparison.read_runs([run, finished]))}

    # The last evaluation of a state counts, and the other run has none.
    assert panels["GAN-train"].lines[0] == [(0.32, 0.6), (0.64, 0.7)] and panels["GAN-train"].lines[1] == []
    assert len(panels["D right in pairs"].lines[1]) == 10
    # Neither has an encoder.
    assert "Reconstruction" not in panels
    (run / "evaluation" / "scores.jsonl").write_text("[]\n")
    with pytest.raises(FileError, match=r"scores\.jsonl: is damaged"):
        comparison.read_run(run)


def test_the_page_has_the_table_and_a_curve_for_each_run(finished: Path, other: Path, tmp_path: Path) -> None:
    run = evaluated(finished, tmp_path / "a<b>")

    result = ganmint("compare", run, other, "--html", tmp_path / "page.html")

    text = (tmp_path / "page.html").read_text()
    assert result.output.endswith(f"page: {tmp_path / 'page.html'}\n")
    assert "a&lt;b&gt;" in text and "<b>" not in text
    assert "lr.start" in text and "gan_train" in text and "different lengths of training" in text
    for title in ("GAN-train", "D right in pairs", "D right on real", "D right on generated", "Images per second"):
        assert f"<h3>{title}</h3>" in text
    assert text.count('class="line line1" points') == 5 and "http" not in text and "src=" not in text
    refused = ganmint("compare", run, "--html", tmp_path / "page.txt")
    assert "--html: must end in .html, got page.txt" in str(refused.exception)


def test_the_table_lists_settings_then_results(finished: Path, other: Path) -> None:
    lines = ganmint("compare", finished, other).output.splitlines()

    assert lines[0].split() == ["run", "other"]
    assert lines.index("settings") < lines.index("results")
    assert ["lr.start", "0.001", "0.002"] in [line.split() for line in lines]
    assert ["kimg", "0.64", "0.192"] in [line.split() for line in lines]
    assert len({len(line) for line in lines[2:] if line.startswith("  ")}) == 1


def test_runs_with_equal_settings_are_reported_as_such(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")

    lines = ganmint("compare", finished, tmp_path / "run").output.splitlines()

    # Folders with equal names are listed by their paths.
    assert lines[0].split() == [str(finished), str(tmp_path / "run")]
    assert lines[1] == "no setting differs" and lines[2] == "results"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_curves_are_plotted(finished: Path, other: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plot.{suffix}"

    result = ganmint("compare", finished, other, "--plot", path)

    assert result.exit_code == 0
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")


def test_runs_that_cannot_be_compared_are_named(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "damaged")
    (tmp_path / "damaged" / "stats.jsonl").write_text("{")
    shutil.copytree(finished, tmp_path / "new")
    (tmp_path / "new" / "stats.jsonl").unlink()

    for arguments, words in (
        ((finished, tmp_path / "nosuch"), "nosuch: holds no run"),
        ((finished, finished), f"RUN: {finished} is given twice"),
        ((tmp_path / "damaged",), "damaged/stats.jsonl: is damaged"),
        ((tmp_path / "new",), "new: has not finished a tick yet"),
        ((finished, "--plot", tmp_path / "plot.gif"), "--plot: must end in .png, .svg or .pdf, got plot.gif"),
    ):
        assert words in str(ganmint("compare", *arguments).exception)
