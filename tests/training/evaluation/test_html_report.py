"""The report's files: a self-contained page, report.json, and the curves of a run."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path

import pytest

from training.evaluation import html_report
from training.evaluation.curves import draw_charts
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.report import Report
from training.runs.score_record import read_score_records


class Tags(html.parser.HTMLParser):
    """Checks that tags are closed, and collects references to other files."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run folder that holds only statistics."""
    rows = [
        {
            "kimg": k,
            "images_per_second": 100 + k,
            "loss_G": 1 / k,
            "loss_D": 0.5,
            "acc_real": 0.5,
            "acc_fake": 0.6,
            "acc_pair": 0.7,
            "r1": 10.0**-k,
            "r2": None if k == 2 else 0.1,
        }
        for k in range(1, 6)
    ]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_page_is_well_formed_and_self_contained(good_result: EvaluationResult, run: Path) -> None:
    text = html_report.render_html(good_result, run)

    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.references and all(r.startswith("data:image/png;base64,") for r in tags.references)
    assert "http" not in re.sub(r'src="[^"]*"', "", text)
    assert "nan" not in re.sub(r'src="[^"]*"', "", text).lower().replace("dominant", "")


def test_the_page_shows_every_metric_picture_and_curve(good_result: EvaluationResult, run: Path) -> None:
    text = html_report.render_html(good_result, run)

    for metric in good_result.report.metrics:
        assert metric.info.title in text and metric.format(metric.value) in text
    for title in ("Generated", "Real", "Interpolations", "Single dimensions", "The most suspicious", "Ordinary ones"):
        assert f"<h3>{title}</h3>" in text
    assert text.count("<svg") == 4 and "It passes its gate." in text
    assert "Losses" not in html_report.render_html(good_result)


def test_report_json_round_trips(good_result: EvaluationResult, tmp_path: Path) -> None:
    written = html_report.write_report(good_result, tmp_path / "deep" / "report")

    assert written == tmp_path / "deep" / "report" / "report.html"
    assert sorted(p.name for p in written.parent.iterdir()) == ["report.html", "report.json"]
    assert Report.model_validate_json((written.parent / "report.json").read_bytes()) == good_result.report


def test_the_scores_of_a_run_are_kept_beside_those_of_its_earlier_states(
    good_result: EvaluationResult, run: Path, tmp_path: Path
) -> None:
    for kimg in (1.0, 2.0, 2.0):
        report = good_result.report.model_copy(update={"kimg": kimg})
        html_report.write_report(EvaluationResult(report, []), tmp_path / "elsewhere", run)

    records = read_score_records(run)

    assert [record.kimg for record in records] == [1.0, 2.0]
    assert records[0].scores["recall"] == good_result.report.metrics[3].value
    assert records[0].basis.protocol == "small" and records[0].basis == records[1].basis


def test_report_json_keeps_its_keys(good_result: EvaluationResult) -> None:
    report = json.loads(good_result.report.model_dump_json())

    assert list(report) == [
        "subject",
        "kimg",
        "protocol",
        "machine",
        "data",
        "feature_space",
        "feature_space_sha256",
        "real_side",
        "figures",
        "classes",
        "tones",
        "verdict",
        "notes",
    ]
    assert list(report["figures"][0]) == ["name", "value", "floor", "sd", "problem", "applies"]
    assert list(report["classes"][0]) == ["name", "gan_train", "ceiling", "gan_test", "wanted", "seen"]
    assert list(report["verdict"]["checks"][0]) == ["figure", "passed", "words"]


def test_names_are_escaped(good_result: EvaluationResult) -> None:
    report = good_result.report.model_copy(update={"title": "<script>alert(1)</script>"})

    assert "<script>" not in html_report.render_html(EvaluationResult(report, []))


def test_curves_skip_values_that_are_not_finite(run: Path) -> None:
    drawn = {chart.title: chart for chart in draw_charts(run)}

    lines = re.findall(r'points="([^"]*)"', drawn["Squared gradient norms"].svg)
    assert [len(line.split()) for line in lines] == [5, 4]


@pytest.mark.parametrize("content", [None, "", "{", '{"kimg": 1, "loss_G": 1, "loss_D": 1}\n', "[1]\n[2]\n"])
def test_a_run_without_usable_statistics_has_no_curves(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "stats.jsonl").write_text(content)

    assert draw_charts(tmp_path) == []
