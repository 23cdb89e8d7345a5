"""The command compare: settings, results and curves of runs side by side."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.errors import FileError
from tests.training.commands.in_process import ganmint
from training.config import Config
from training.data.dataset import Dataset
from training.metric_results import MetricName
from training.runs import comparison, loop
from training.runs.comparison_curves import REPORTS, SNAPSHOTS, TRAINING, Curves, collect_curves
from training.runs.score_record import ScoreRecord, add_score_record
from training.runs.snapshot_record import SnapshotScore, SnapshotScores, scores_path

MakeConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, tiny_config: MakeConfig, tiny_data: Dataset) -> Path:
    """A run like `finished` with another learning rate and a further column of widths; shorter."""
    out = tmp_path_factory.mktemp("other") / "other"
    config = tiny_config("lr.start=0.002", "augment={}", "total_kimg=0.192", "data.name=other words")
    loop.run(config, tiny_data, out, "cpu", "ganmint train")
    return out


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

    assert "GAN-train" not in refused and "The scores do not compare and are left out (see --force)" in refused
    assert words in refused and f"{a}: by p" in refused
    assert ["GAN-train", "90.00%", "90.00%"] in [line.split() for line in forced.splitlines()]
    assert "These scores do not compare" in forced and words in forced
    assert ["GAN-train", "90.00%", "-"] in [line.split() for line in alone.splitlines()]
    assert "do not compare" not in alone


def test_scores_by_another_protocol_are_left_out(finished: Path, tmp_path: Path) -> None:
    a, b = evaluated(finished, tmp_path / "a"), evaluated(finished, tmp_path / "b")
    path = b / "evaluation" / "report.json"
    path.write_text(path.read_text().replace('"name": "p"', '"name": "q"'))

    output = ganmint("compare", a, b).output

    assert "GAN-train" not in output and f"{a}: by p (" in output and f"{b}: by q (" in output


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

    assert f"Mean and deviation over the seeds of {runs[0]}, {runs[1]}: GAN-train 0.91 ± 0.014" in output
    assert "Mean and deviation" not in ganmint("compare", runs[0], other).output


def test_a_run_without_scores_is_not_named_in_the_mean_over_seeds(finished: Path, tmp_path: Path) -> None:
    runs = [evaluated(finished, tmp_path / f"seed{seed}", seed=seed) for seed in (0, 1, 2)]
    shutil.rmtree(runs[0] / "evaluation")

    assert f"Mean and deviation over the seeds of {runs[1]}, {runs[2]}: GAN-train" in ganmint("compare", *runs).output


def curves_of(*paths: Path) -> dict[tuple[str, str], Curves]:
    """Return the curves of runs by section and title."""
    found = collect_curves(comparison.read_runs(paths), with_scores=True, with_snapshot_scores=True)
    return {(curves.section, curves.title): curves for curves in found}


def test_evaluations_of_a_run_become_a_curve(finished: Path, tmp_path: Path) -> None:
    run = evaluated(finished, tmp_path / "run", kimg=0.32)
    report = json.loads((run / "evaluation" / "report.json").read_text())
    report["figures"].append({"name": "classifier_fd", "value": 0.0})
    for kimg, score in ((0.32, 0.5), (0.64, 0.7), (0.32, 0.6)):
        report["kimg"], report["figures"][0]["value"] = kimg, score
        add_score_record(run, ScoreRecord.from_report(report))
    (run / "evaluation" / "report.json").write_text(json.dumps(report))

    found = curves_of(run, finished)

    # The last evaluation of a state counts, and the other run has none.
    gan_train = found[REPORTS, "GAN-train"]
    assert gan_train.lines == [[(0.32, 0.6), (0.64, 0.7)], []] and gan_train.better == "higher"
    assert found[REPORTS, "Fréchet distance (classifier)"].lines[0] == [(0.32, 0), (0.64, 0)]
    assert len(found[TRAINING, "D right in pairs"].lines[1]) == 10
    # Neither has an encoder.
    assert (TRAINING, "Reconstruction") not in found
    # One evaluation is no curve.
    assert not any(section == REPORTS for section, _ in curves_of(evaluated(finished, tmp_path / "once")))
    (run / "evaluation" / "scores.jsonl").write_text("[]\n")
    with pytest.raises(FileError, match=r"scores\.jsonl: is damaged"):
        comparison.read_run(run)


def with_snapshots(
    finished: Path, out: Path, fds: Sequence[float], data: str = "0", real: Mapping[MetricName, float] | None = None
) -> Path:
    """Copy a run and give its snapshots, one at each kimg, these Fréchet distances."""
    shutil.copytree(finished, out)
    scores = SnapshotScores(
        protocol="p",
        protocol_digest="f" * 64,
        data_digest=data * 64,
        images=50,
        scores=tuple(
            SnapshotScore(kimg=k + 1.016, fd=fd, recall=0.25, gan_test=None, sharpness=1.5) for k, fd in enumerate(fds)
        ),
        real=real or {},
    )
    scores_path(out).parent.mkdir()
    scores_path(out).write_text(scores.model_dump_json())
    return out


def test_scores_of_snapshots_are_shown_by_kimg_beside_real_images(finished: Path, tmp_path: Path) -> None:
    long = with_snapshots(finished, tmp_path / "long", range(20, 0, -1), real={"fd": 0.5, "recall": 0.75})
    short = with_snapshots(finished, tmp_path / "short", (9, 8))

    result = ganmint("compare", long, short, finished, "--html", tmp_path / "p.html", "--plot", tmp_path / "p.svg")

    found = curves_of(long, short, finished)
    distance = found[SNAPSHOTS, "Fréchet distance"]
    assert distance.lines[1:] == [[(1.016, 9), (2.016, 8)], []] and len(distance.lines[0]) == 20
    assert distance.real == 0.5 and distance.is_logarithmic and distance.better == "lower"
    assert found[SNAPSHOTS, "Sharpness"].real is None and (SNAPSHOTS, "GAN-test") not in found
    rows = [" ".join(line.split()) for line in result.output.splitlines()]
    start = rows.index("Fréchet distance, lower is better")
    # Of twenty states every third, and the newest of each run.
    assert rows[start + 1 : start + 4] == [
        "at 2.02 kimg 19.000 8.000 -",
        "at 3.02 kimg 18.000 - -",
        "at 6.02 kimg 15.000 - -",
    ]
    assert rows[start + 8] == "at 20 kimg 1.000 - -" and rows[start + 9] == "real images 0.500 0.500 -"
    assert rows[start + 10] == "Recall, higher is better"
    assert f"The best of {long} is at 20.016 kimg, which has the lowest Fréchet distance of 20 on 50" in result.output
    assert f"No scores by kimg of {finished}: ganmint evaluate RUN --data DATA --snapshots" in result.output
    page = (tmp_path / "p.html").read_text()
    assert "<h2>Scores by kimg</h2>" in page and page.count('<line class="real"') == 2
    assert f"No scores by kimg of {finished}" in page and "Lower is better: " in page
    assert "real images" in (tmp_path / "p.svg").read_text()


def test_what_the_scores_of_snapshots_lack_is_said(finished: Path, tmp_path: Path) -> None:
    old = with_snapshots(finished, tmp_path / "old", (2, 0))

    output = ganmint("compare", old).output

    assert f"The scores by kimg of {old} lack those of real images: ganmint evaluate RUN" in output
    assert "No scores by kimg" not in output and "real images  " not in output
    # A logarithmic axis has no 0.
    assert not curves_of(old)[SNAPSHOTS, "Fréchet distance"].is_logarithmic
    text = scores_path(old).read_text()
    scores_path(old).write_text(re.sub(',"gan_test":null,"sharpness":1.5,"fails":\\[\\]', "", text))
    assert {title for section, title in curves_of(old) if section == SNAPSHOTS} == {"Fréchet distance", "Recall"}
    assert f"of {old} lack GAN-test, sharpness, those of real images: " in ganmint("compare", old).output
    scores_path(old).write_text("{}")
    with pytest.raises(FileError, match=r"scores\.json: is damaged; run ganmint evaluate"):
        comparison.read_run(old)


def test_scores_of_snapshots_that_do_not_compare_are_left_out_unless_forced(finished: Path, tmp_path: Path) -> None:
    a, b = (with_snapshots(finished, tmp_path / name, (2, 1), name, real={"fd": 0.5}) for name in ("a", "b"))

    refused = ganmint("compare", a, b, "--html", tmp_path / "p.html").output
    forced = ganmint("compare", a, b, "--force").output

    assert "The scores by kimg do not compare and are left out (see --force)" in refused
    assert f"{a}: by p (ffffffff) on 50 validation images (aaaaaaaaaaaa)" in refused
    assert "at 1.02 kimg" not in refused
    assert "<h3>Fréchet distance</h3>" not in (tmp_path / "p.html").read_text()
    assert "These scores by kimg do not compare" in forced and "at 1.02 kimg" in forced
    # There is no one value of real images.
    assert "real images" not in forced


def test_the_page_has_the_table_and_a_curve_for_each_run(finished: Path, other: Path, tmp_path: Path) -> None:
    run = evaluated(finished, tmp_path / "a<b>")

    result = ganmint("compare", run, other, "--html", tmp_path / "page.html")

    text = (tmp_path / "page.html").read_text()
    assert result.output.endswith(f"page: {tmp_path / 'page.html'}\n")
    assert "a&lt;b&gt;" in text and "<b>" not in text
    assert "lr.start" in text and "GAN-train" in text and "different lengths of training" in text
    for title in ("D right in pairs", "D right on real", "D right on generated", "Images per second"):
        assert f"<h3>{title}</h3>" in text
    assert text.count('class="line line1" points') == 4 and "http" not in text and "src=" not in text
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
