"""The protocol from end to end: good and bad generators, the gate, repeatability, bad input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import DataError
from models.sampler import Sampler
from tests.samplers import torch_runtime, torch_sampler
from training.data.dataset import Dataset
from training.evaluation import data_split, html_report
from training.evaluation.data_split import DataSplit
from training.evaluation.evaluate import EvaluationResult, describe_training_data, evaluate
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.generator_metrics import METRIC_ORDER
from training.evaluation.protocol import Protocol
from training.evaluation.report import summarise


@pytest.fixture(scope="module")
def outcome_of(
    digits: DataSplit, protocol: Protocol, kept: Path, of_good: EvaluationResult
) -> Callable[[EvaluatedGenerator], EvaluationResult]:
    """Judges with what the evaluation of the good one left in the cache."""

    def judge(subject: EvaluatedGenerator) -> EvaluationResult:
        return evaluate(subject, digits, protocol, kept)

    return judge


def value(outcome: EvaluationResult, name: str) -> float:
    figure = outcome.report.find(name)
    assert figure is not None and figure.value is not None, figure and figure.problem
    return figure.value


def test_a_generator_of_the_datas_own_distribution_passes(of_good: EvaluationResult) -> None:
    assert of_good.report.gate.passed, of_good.report.gate.failures
    assert [figure.name for figure in of_good.report.metrics] == list(METRIC_ORDER)
    for figure in of_good.report.metrics:
        assert figure.value is not None and figure.real_baseline is not None, figure
    assert value(of_good, "near_copies") == 0.0
    assert value(of_good, "distance_ratio") == pytest.approx(1.0, abs=0.1)
    assert value(of_good, "class_balance") < 0.15
    assert len(of_good.report.classes) == 10
    assert all(row.gan_test is not None and row.gan_test > 0.5 for row in of_good.report.classes)


def test_one_class_is_refused(
    one_class: EvaluatedGenerator, outcome_of: Callable[[EvaluatedGenerator], EvaluationResult]
) -> None:
    found = outcome_of(one_class)

    assert not found.report.gate.passed
    failed = {check.metric for check in found.report.gate.checks if not check.passed}
    assert {"gan_train", "coverage"} <= failed
    assert value(found, "class_balance") > 0.7
    assert value(found, "ndb") > 0.5
    assert value(found, "gan_test") < 0.2


def test_one_image_a_class_is_refused(
    one_image: EvaluatedGenerator, outcome_of: Callable[[EvaluatedGenerator], EvaluationResult]
) -> None:
    found = outcome_of(one_image)

    assert "coverage" in {check.metric for check in found.report.gate.checks if not check.passed}
    assert value(found, "coverage") < 0.6
    assert value(found, "ndb") >= 0.5


def test_a_generator_that_memorised_is_refused_for_that_alone(
    memorising: EvaluatedGenerator, outcome_of: Callable[[EvaluatedGenerator], EvaluationResult]
) -> None:
    found = outcome_of(memorising)

    failed = {check.metric for check in found.report.gate.checks if not check.passed}
    assert {"near_copies", "distance_ratio"} <= failed
    assert "coverage" not in failed
    assert value(found, "near_copies") == 1.0
    assert value(found, "distance_ratio") == 0.0
    assert any("near-copies of training images" in words for words in summarise(found.report))
    assert [p.title for p in found.pictures if p.section == "Memorisation"] == ["The most suspicious", "Ordinary ones"]


def test_run_twice_it_gives_the_same_figures_and_the_cache_is_said(
    good: EvaluatedGenerator,
    digits: DataSplit,
    protocol: Protocol,
    of_good: EvaluationResult,
    outcome_of: Callable[[EvaluatedGenerator], EvaluationResult],
) -> None:
    torch.manual_seed(5)
    expected, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(5)

    again, afresh = outcome_of(good), evaluate(good, digits, protocol)

    # What is not ours is as it was.
    assert torch.equal(torch.rand(1), expected) and torch.get_num_threads() == threads
    assert (again.report.reference_source, afresh.report.reference_source) == ("from the cache", "measured now")
    for other in (again, afresh):
        assert other.report.model_copy(update={"reference_source": ""}) == of_good.report.model_copy(
            update={"reference_source": ""}
        )
        assert [p.png for p in other.pictures] == [p.png for p in of_good.pictures]


def test_a_damaged_cache_is_measured_again(
    good: EvaluatedGenerator,
    digits: DataSplit,
    protocol: Protocol,
    of_good: EvaluationResult,
    kept: Path,
    tmp_path: Path,
) -> None:
    for file in kept.iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / file.name).write_bytes(content)

    found = evaluate(good, digits, protocol, tmp_path)

    assert found.report.reference_source == "measured now"
    assert found.report.metrics == of_good.report.metrics


def test_data_without_labels_still_gives_the_other_figures(
    good: EvaluatedGenerator, memorising: EvaluatedGenerator, digits: DataSplit, protocol: Protocol
) -> None:
    plain = dataclasses.replace(digits, train=_unlabelled(digits.train), test=_unlabelled(digits.test))

    found = evaluate(good, plain, protocol)

    problems = {f.name: f.problem for f in found.report.metrics if f.value is None}
    assert set(problems) == {"gan_train", "gan_test", "fd", "inception_score", "class_balance"}
    assert problems["fd"] == "the Fréchet distance needs at least 257 images a side, there are 150"
    assert problems["gan_train"] == "the data has no labels"
    assert found.report.feature_space.startswith("pixels")
    assert value(found, "coverage") > 0.7 and value(found, "near_copies") == 0.0
    assert any("GAN-train was not measured" in words for words in found.report.gate.failures)


def test_a_generator_without_classes_is_not_asked_for_labels(
    bundled: Sampler, digits: DataSplit, protocol: Protocol, good: EvaluatedGenerator
) -> None:
    card = bundled.manifest.model_copy(update={"class_names": ()})
    ten = torch.arange(16) % 10
    generator = torch_runtime(bundled).generator
    plain = EvaluatedGenerator("plain", torch_sampler(lambda z, label: generator(z, ten), card), good.gate)

    found = evaluate(plain, digits, protocol)

    assert {check.metric for check in found.report.gate.checks} == {"coverage", "distance_ratio", "near_copies"}
    assert found.report.gate.passed, found.report.gate.failures
    assert value(found, "class_balance") < 0.3


def test_other_classes_are_named(good: EvaluatedGenerator, digits: DataSplit, protocol: Protocol) -> None:
    names = tuple("abcdefghij")
    whole, train, test = (_named(part, names) for part in (digits.whole, digits.train, digits.test))
    renamed = DataSplit(whole, train, test, "held out", test_seen_in_training=True)

    found = evaluate(good, renamed, protocol)

    figure = found.report.find("gan_train")
    assert figure is not None and figure.problem.startswith("the data's classes (a, b, c")
    assert value(found, "coverage") > 0.7


def test_images_of_another_shape_give_a_report_that_says_so(
    good: EvaluatedGenerator, protocol: Protocol, tmp_path: Path
) -> None:
    rgb = Dataset("rgb", np.random.RandomState(0).randint(0, 256, (40, 64, 64, 3)).astype(np.uint8))
    other = DataSplit(rgb, *data_split.split_by_class(rgb, 0.25, tmp_path), "held out", test_seen_in_training=True)

    found = evaluate(good, other, protocol)

    assert {f.problem for f in found.report.metrics} == {
        "the data's images are 3x64x64 (channels, height, width), the generator's are 1x28x28"
    }
    assert not found.report.gate.passed
    assert {p.title for p in found.pictures} == {"Generated", "Interpolations", "Single dimensions"}
    assert "Nothing could be compared" in html_report.render_html(found)


def test_few_images_lose_the_figures_that_need_more_and_no_others(
    good: EvaluatedGenerator, digits: DataSplit, protocol: Protocol, tmp_path: Path
) -> None:
    few = Dataset("few", digits.whole.images[:60], digits.whole.labels[:60], digits.whole.class_names)  # type: ignore[index]
    small = DataSplit(few, *data_split.split_by_class(few, 0.3, tmp_path), "held out", test_seen_in_training=True)

    found = evaluate(good, small, protocol)

    problems = {f.name: f.problem for f in found.report.metrics if f.value is None}
    assert set(problems) == {"kid", "inception_score", "ndb"}
    assert problems["kid"] == f"KID needs at least 100 images a side, there are {len(small.test)}"
    assert "NaN" not in found.report.model_dump_json() and "nan" not in found.report.model_dump_json()


def test_too_few_images_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 3 images: too few to hold out 10% of each class for testing"):
        data_split.split_by_class(Dataset("few", np.zeros((3, 8, 8, 1), np.uint8)), 0.1, tmp_path)


def test_a_held_out_share_is_taken_from_every_class_and_is_the_same_each_time(digits: DataSplit) -> None:
    train, test = data_split.split_by_class(digits.whole, 0.3, Path("x"))

    assert test.labels is not None and np.bincount(test.labels).tolist() == [15] * 10
    assert (train.digest, test.digest) == (digits.train.digest, digits.test.digest)
    assert len({image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}) == 0


def test_the_report_says_whether_the_test_images_were_learned_from(
    bundled: Sampler, good: EvaluatedGenerator, digits: DataSplit
) -> None:
    def trained_on(digest: str) -> EvaluatedGenerator:
        data = bundled.manifest.training.data.model_copy(update={"digest": digest})
        training = bundled.manifest.training.model_copy(update={"data": data})
        card = bundled.manifest.model_copy(update={"training": training})
        return dataclasses.replace(good, sampler=torch_sampler(torch_runtime(bundled).generator, card))

    assert describe_training_data(trained_on(digits.train.digest), digits) == []
    assert "was trained on that share as well" in describe_training_data(trained_on(digits.whole.digest), digits)[0]
    assert "was trained on other data (MNIST" in describe_training_data(trained_on("0" * 64), digits)[0]


def _unlabelled(dataset: Dataset) -> Dataset:
    return Dataset(dataset.name, dataset.images)


def _named(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    return Dataset(dataset.name, dataset.images, dataset.labels, names)
