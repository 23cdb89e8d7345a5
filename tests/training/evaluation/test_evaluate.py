"""The whole evaluation: good and bad generators, the gate, reproducibility and bad input."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models.sampler import Sampler
from tests.samplers import torch_runtime, torch_sampler
from training import efficientnet
from training.data.dataset import Dataset
from training.evaluation import data_split, html_report
from training.evaluation.classifier import Images
from training.evaluation.data_split import DataSplit
from training.evaluation.distribution_metrics import FEATURE_METRICS
from training.evaluation.evaluate import EvaluationResult, describe_training_data, evaluate, generate
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.generator_metrics import METRIC_ORDER
from training.evaluation.protocol import Protocol
from training.evaluation.real_images import RealImages
from training.evaluation.summary import summarise
from training.metric_results import CLASSIFIER
from training.progress import ignore_progress


@pytest.fixture(scope="module")
def evaluate_cached(
    digits: DataSplit, protocol: Protocol, cache_dir: Path, good_result: EvaluationResult
) -> Callable[[EvaluatedGenerator], EvaluationResult]:
    """Return a function that evaluates with the cache that the good generator filled."""

    def run(generator: EvaluatedGenerator) -> EvaluationResult:
        return evaluate(generator, digits, protocol, cache_dir)

    return run


def value_of(result: EvaluationResult, name: str) -> float:
    metric = result.report.find(name)
    assert metric is not None and metric.value is not None, metric and metric.problem
    return metric.value


def test_the_true_distribution_passes_the_gate(good_result: EvaluationResult) -> None:
    assert good_result.report.gate.passed, good_result.report.gate.failures
    names = [metric.name for metric in good_result.report.metrics]
    assert names == [*METRIC_ORDER, *(CLASSIFIER + name for name in METRIC_ORDER if name in FEATURE_METRICS)]
    for metric in good_result.report.metrics:
        assert metric.value is not None and metric.real_baseline is not None, metric
    assert value_of(good_result, "near_copies") == 0.0
    assert value_of(good_result, "distance_ratio") == pytest.approx(1.0, abs=0.1)
    assert value_of(good_result, "sharpness") == pytest.approx(1.0, abs=0.15)
    assert all(
        metric.sd is not None for metric in good_result.report.metrics if metric.name in ("gan_train", "gan_test")
    )
    assert value_of(good_result, "class_balance") < 0.15
    assert len(good_result.report.classes) == 10
    assert all(row.gan_test is not None and row.gan_test > 0.5 for row in good_result.report.classes)


@pytest.mark.slow
def test_a_generator_of_one_class_fails(
    one_class_generator: EvaluatedGenerator, evaluate_cached: Callable[[EvaluatedGenerator], EvaluationResult]
) -> None:
    result = evaluate_cached(one_class_generator)

    assert not result.report.gate.passed
    failed = {check.metric for check in result.report.gate.checks if not check.passed}
    assert {"gan_train", "coverage"} <= failed
    assert value_of(result, "class_balance") > 0.7
    assert value_of(result, "ndb") >= 0.5
    assert value_of(result, "gan_test") < 0.2


@pytest.mark.slow
def test_one_image_per_class_fails_on_coverage(
    one_image_generator: EvaluatedGenerator, evaluate_cached: Callable[[EvaluatedGenerator], EvaluationResult]
) -> None:
    result = evaluate_cached(one_image_generator)

    assert "coverage" in {check.metric for check in result.report.gate.checks if not check.passed}
    assert value_of(result, "coverage") < 0.6
    assert value_of(result, "ndb") >= 0.5


def test_memorised_training_images_fail_the_gate(
    memorising_generator: EvaluatedGenerator, evaluate_cached: Callable[[EvaluatedGenerator], EvaluationResult]
) -> None:
    result = evaluate_cached(memorising_generator)

    failed = {check.metric for check in result.report.gate.checks if not check.passed}
    assert {"near_copies", "distance_ratio"} <= failed
    assert "coverage" not in failed
    assert value_of(result, "near_copies") == 1.0
    assert value_of(result, "distance_ratio") == 0.0
    assert any("near-copies of training images" in words for words in summarise(result.report))
    assert [p.title for p in result.pictures if p.section == "Memorisation"] == ["The most suspicious", "Ordinary ones"]


@pytest.mark.slow
def test_results_are_reproducible_the_cache_is_reported_and_a_damaged_one_ignored(
    good_generator: EvaluatedGenerator,
    digits: DataSplit,
    protocol: Protocol,
    good_result: EvaluationResult,
    evaluate_cached: Callable[[EvaluatedGenerator], EvaluationResult],
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fill_disk(path: Path, _: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    for file in cache_dir.iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / file.name).write_bytes(content)
    torch.manual_seed(5)
    expected = torch.rand(1)
    threads = torch.get_num_threads()
    torch.manual_seed(5)

    cached = evaluate_cached(good_generator)
    # A measurement is not lost for its cache.
    monkeypatch.setattr("training.evaluation.reference.write_cache", fill_disk)
    uncached = evaluate(good_generator, digits, protocol, tmp_path)

    # Torch's global state has not changed.
    assert torch.equal(torch.rand(1), expected) and torch.get_num_threads() == threads
    assert "Warning: [Errno 28] No space left on device" in capsys.readouterr().err
    assert (cached.report.reference_source, uncached.report.reference_source) == ("from the cache", "measured now")
    for other in (cached, uncached):
        assert other.report.model_copy(update={"reference_source": ""}) == good_result.report.model_copy(
            update={"reference_source": ""}
        )
        assert [p.png for p in other.pictures] == [p.png for p in good_result.pictures]


@pytest.mark.slow
def test_unlabelled_data_gives_the_metrics_that_need_no_labels(
    good_generator: EvaluatedGenerator, memorising_generator: EvaluatedGenerator, digits: DataSplit, protocol: Protocol
) -> None:
    plain = dataclasses.replace(
        digits, train=_remove_labels(digits.train), validation=_remove_labels(digits.validation)
    )

    result = evaluate(good_generator, plain, protocol)

    problems = {f.name: f.problem for f in result.report.metrics if f.value is None}
    assert set(problems) == {"gan_train", "gan_test", "inception_score", "class_balance"}
    assert problems["gan_train"] == "the data has no labels"
    assert result.report.feature_space.startswith("EfficientNet-Lite0")
    assert value_of(result, "coverage") > 0.7 and value_of(result, "near_copies") == 0.0
    assert any("GAN-train was not measured" in words for words in result.report.gate.failures)


@pytest.mark.slow
def test_an_unconditional_generator_skips_class_metrics(
    bundled: Sampler,
    good_generator: EvaluatedGenerator,
    evaluate_cached: Callable[[EvaluatedGenerator], EvaluationResult],
) -> None:
    manifest = bundled.manifest.model_copy(update={"class_names": ()})
    generator = torch_runtime(bundled).generator

    def draw_any_class(z: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return generator(z, torch.eye(10)[(1e6 * z[:, 0].abs()).long() % 10])

    plain = EvaluatedGenerator("plain", torch_sampler(draw_any_class, manifest), good_generator.gate)

    result = evaluate_cached(plain)

    assert {check.metric for check in result.report.gate.checks} == {"coverage", "distance_ratio", "near_copies"}
    assert result.report.gate.passed, result.report.gate.failures
    assert value_of(result, "class_balance") < 0.3


@pytest.mark.slow
def test_different_classes_are_reported(
    good_generator: EvaluatedGenerator, digits: DataSplit, protocol: Protocol
) -> None:
    names = tuple("abcdefghij")
    whole, train, validation = (
        _rename_classes(part, names) for part in (digits.whole, digits.train, digits.validation)
    )
    renamed = dataclasses.replace(digits, whole=whole, train=train, validation=validation)

    # How well the classifiers learn does not matter here.
    brief = protocol.model_copy(update={"classifier": protocol.classifier.model_copy(update={"epochs": 1})})
    result = evaluate(good_generator, renamed, brief)

    metric = result.report.find("gan_train")
    assert metric is not None and metric.problem.startswith("the data's classes (a, b, c")
    assert value_of(result, "coverage") > 0.7


def test_images_of_another_shape_are_reported(
    good_generator: EvaluatedGenerator, protocol: Protocol, tmp_path: Path
) -> None:
    rgb = Dataset("rgb", np.random.RandomState(0).randint(0, 256, (40, 64, 64, 3)).astype(np.uint8))
    other = data_split.hold_out_now(rgb, 0.25, tmp_path)

    result = evaluate(good_generator, other, protocol)

    assert {f.problem for f in result.report.metrics} == {
        "the data's images are 3x64x64 (channels, height, width), the generator's are 1x28x28"
    }
    assert not result.report.gate.passed
    assert {p.title for p in result.pictures} == {"Generated", "Interpolations", "Single dimensions"}
    assert "Nothing could be compared" in html_report.render_html(result)


def test_few_images_lose_only_the_metrics_that_need_more(
    good_generator: EvaluatedGenerator, digits: DataSplit, protocol: Protocol, tmp_path: Path
) -> None:
    few = Dataset("few", digits.whole.images[:60], digits.whole.labels[:60], digits.whole.class_names)  # type: ignore[index]
    small = data_split.hold_out_now(few, 0.3, tmp_path)

    result = evaluate(good_generator, small, protocol)

    problems = {f.name: f.problem for f in result.report.metrics if f.value is None}
    in_spaces = {prefix + name for name in FEATURE_METRICS for prefix in ("", CLASSIFIER)}
    assert set(problems) == {"inception_score", "ndb", *in_spaces}
    assert problems["fd"] == (
        "it needs at least 70 images a side, there are 10; data.holdout and data.validation keep more in a new "
        "training, but leave 280 images to train on"
    )
    assert "Only 10 images a side were compared, so chance moves every metric" in " ".join(result.report.notes)
    assert "NaN" not in result.report.model_dump_json() and "nan" not in result.report.model_dump_json()


def test_the_report_says_what_the_generator_was_trained_on(
    bundled: Sampler, good_generator: EvaluatedGenerator, digits: DataSplit
) -> None:
    def trained_on(digest: str) -> EvaluatedGenerator:
        data = bundled.manifest.training.data.model_copy(update={"digest": digest})
        training = bundled.manifest.training.model_copy(update={"data": data})
        manifest = bundled.manifest.model_copy(update={"training": training})
        return dataclasses.replace(good_generator, sampler=torch_sampler(torch_runtime(bundled).generator, manifest))

    assert describe_training_data(trained_on(digits.train.digest), digits) == []
    assert "was trained on that share as well" in describe_training_data(trained_on(digits.whole.digest), digits)[0]
    assert "was trained on other data (MNIST" in describe_training_data(trained_on("0" * 64), digits)[0]


def _remove_labels(dataset: Dataset) -> Dataset:
    return Dataset(dataset.name, dataset.images)


def _rename_classes(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    return Dataset(dataset.name, dataset.images, dataset.labels, names)


@pytest.mark.parametrize("kind", ["one class", "one picture"])
def test_degenerate_data_give_words_instead_of_numbers(
    kind: str, good_generator: EvaluatedGenerator, digits: DataSplit, protocol: Protocol, tmp_path: Path
) -> None:
    one_picture: Images = np.repeat(digits.whole.images[:1], 240, axis=0)
    images: Images = digits.whole.images[:240] if kind == "one class" else one_picture
    labels = np.zeros(240, np.int64) if kind == "one class" else digits.whole.labels[:240]  # type: ignore[index]
    names = ("0",) if kind == "one class" else digits.whole.class_names
    data = data_split.hold_out_now(Dataset(kind, images, labels, names), 0.3, tmp_path)
    protocol = protocol.model_copy(update={"min_images": 30})

    result = evaluate(good_generator, data, protocol)

    problems = {f.name: f.problem for f in result.report.metrics if f.value is None}
    if kind == "one class":
        assert "are not the generator's" in problems["gan_train"] or "one class only" in problems["gan_train"]
        assert "recall" not in problems
    else:
        assert problems["recall"] == problems["fd"] == "the training images are all alike"
        assert "copies of training images" in problems["distance_ratio"]
    assert "nan" not in result.report.model_dump_json().lower()
    html_report.render_html(result)


def test_fewer_training_images_than_are_compared_give_labels_to_all_in_the_shares_of_their_classes(
    good_generator: EvaluatedGenerator, digits: DataSplit, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, rest = digits.whole.take(np.arange(40)), digits.whole.take(np.arange(40, 500))
    split = dataclasses.replace(digits, train=few, validation=rest, test=rest, part="test")
    real = RealImages.select(split, protocol)
    monkeypatch.setattr(EvaluatedGenerator, "mint", lambda *_: None)
    reference: Any = SimpleNamespace(train=few, real=real, split=split)

    labels = generate(good_generator, reference, real.num_compared, protocol, ignore_progress).labels

    assert labels is not None and few.labels is not None and len(labels) == 460 > len(few)
    np.testing.assert_allclose(np.bincount(labels) / 460, np.bincount(few.labels) / 40, atol=0.02)


def test_missing_weights_leave_the_distances_unmeasured(
    good_generator: EvaluatedGenerator, digits: DataSplit, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet, "PACKAGE", "no_such_package")

    result = evaluate(good_generator, digits, protocol)

    problems = {f.name: f.problem for f in result.report.metrics if f.value is None}
    assert set(problems) == {*FEATURE_METRICS, "feature_copies"}
    assert set(problems.values()) == {efficientnet.HOW_TO_INSTALL}
    assert result.report.feature_space == ""
