"""Publishing a run: a version in the store, with its manifest."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from models import artifact, store
from models.errors import (
    ArtifactError,
    CheckpointError,
    DataError,
    FileError,
    GanmintError,
    GateError,
    InputError,
    VersionExistsError,
)
from models.evidence import GateRecord
from models.latents import draw_latent
from models.manifest import MANIFEST_FILE as MANIFEST_FILE
from models.manifest import read_manifest as read_manifest
from models.network_config import GeneratorConfig
from models.networks import build_generator
from tests.protocols import SMALL
from training.config import Config
from training.config_files import load_preset
from training.data.dataset import Dataset
from training.gate import Bound, check_gate
from training.metric_results import MetricName, MetricResult
from training.publish import EvaluationSettings, PublishOptions, advise, publish
from training.runs import checkpoint, loop

OPTIONS = PublishOptions("tiny", batch_size=4, accept="a test")


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store for this test only."""
    home = tmp_path / "bentoml"
    monkeypatch.setenv("BENTOML_HOME", str(home))
    return home


def test_versions_count_up_by_major_numbers(finished: Path, empty_store: Path) -> None:
    first, second = (publish(finished, OPTIONS) for _ in range(2))

    assert (first.version, second.version) == ("1.0.0", "2.0.0")
    assert first.path == empty_store / "models" / "tiny" / "1.0.0"
    assert store.list_versions("tiny") == [first, second]
    assert store.find_version("tiny") == second
    assert artifact.check_files(second.path).version == "2.0.0"


def test_the_next_version_follows_the_greatest_one(finished: Path) -> None:
    for version in ("10.2.3", "9.0.0"):
        publish(finished, PublishOptions("tiny", version, batch_size=4, accept="a test"))

    assert publish(finished, OPTIONS).version == "11.0.0"


def test_a_taken_version_is_refused_before_any_work(
    finished: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = publish(finished, PublishOptions("tiny", "1.0.0", batch_size=4, accept="a test"))
    before = {p: p.read_bytes() for p in empty_store.rglob("*") if p.is_file()}
    monkeypatch.delattr(artifact, "export")

    with pytest.raises(VersionExistsError, match=r"already has tiny 1\.0\.0.* leave --version out .* 2\.0\.0"):
        publish(finished, PublishOptions("tiny", "1.0.0", batch_size=4, accept="a test"))

    assert {p: p.read_bytes() for p in empty_store.rglob("*") if p.is_file()} == before
    assert store.list_versions("tiny") == [stored]


def test_the_manifest_states_how_the_model_was_trained(
    finished: Path, tiny_config: Callable[..., Config], tiny_data: Dataset
) -> None:
    manifest = read_manifest(publish(finished, OPTIONS).path)

    assert (manifest.name, manifest.version) == ("tiny", "1.0.0")
    assert manifest.training.kimg == 0.64
    assert manifest.training.command == "ganmint train --preset digits"
    assert manifest.training.torch == torch.__version__
    assert manifest.training.code_version.startswith("0.1.0")
    assert manifest.training.config == tiny_config().model_dump(mode="json")
    assert manifest.training.data.digest == tiny_data.digest
    assert manifest.training.data.images == 256
    assert manifest.training.data.name == "stripes"
    assert manifest.training.data.licence == "CC0"
    assert manifest.training.data.attribution == tiny_config().data.attribution
    assert manifest.description == tiny_config().description
    assert manifest.licence == "as the training data's: CC0"
    assert manifest.class_names == ("none", "flat", "upright")
    assert (manifest.image.channels, manifest.image.height, manifest.image.width) == (1, 8, 8)
    assert manifest.latents.z_dim == 8
    assert manifest.batch_size["cpu"] == 4 and manifest.batch_size_measured["cpu"] is False


def test_a_given_licence_is_the_weights_licence(finished: Path) -> None:
    options = PublishOptions("tiny", batch_size=4, licence="MIT", accept="a test")

    manifest = read_manifest(publish(finished, options).path)

    assert manifest.licence == "MIT"
    assert manifest.training.data.licence == "CC0"


def test_the_published_weights_are_the_newest_average(finished: Path) -> None:
    path = publish(finished, OPTIONS).path
    average = checkpoint.load(checkpoint.list_paths(finished)[-1])["trainer"]["ema"]

    weights = safetensors.torch.load_file(path / artifact.WEIGHTS)

    assert weights.keys() == average.keys()
    assert all(torch.equal(weights[name], average[name]) for name in average)


def test_a_published_model_can_be_rebuilt_from_its_weights(finished: Path) -> None:
    """The network config in the manifest and generator.safetensors suffice without TorchScript."""
    path = publish(finished, OPTIONS).path
    sampler = artifact.load(path)
    manifest = sampler.manifest
    rebuilt = build_generator(GeneratorConfig.model_validate(manifest.network))
    rebuilt.load_state_dict(safetensors.torch.load_file(path / artifact.WEIGHTS))
    addresses = manifest.addresses(seed=7, n=4)
    z = torch.from_numpy(np.stack([draw_latent(7, index, 8) for index in range(4)]))
    class_weights = torch.eye(3)[[address.label for address in addresses]]

    with torch.no_grad():
        expected = rebuilt(z, class_weights).permute(0, 2, 3, 1).add(1).mul(127.5).clamp(0, 255).round().numpy()

    assert np.abs(sampler.mint(addresses).astype(int) - expected).max() <= 1


def test_publishing_to_a_folder_does_not_touch_the_store(finished: Path, empty_store: Path, tmp_path: Path) -> None:
    stored = publish(finished, PublishOptions("tiny", batch_size=4, to=tmp_path / "deep" / "artifact", accept="a test"))

    assert stored.path == tmp_path / "deep" / "artifact"
    assert sorted(p.name for p in stored.path.iterdir()) == sorted([*artifact.FILES, artifact.CARD, MANIFEST_FILE])
    assert artifact.load(stored.path).manifest.version == "1.0.0"
    assert [p.name for p in stored.path.parent.iterdir()] == ["artifact"]
    assert not empty_store.exists()


def test_an_existing_folder_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    with pytest.raises(ArtifactError, match="exists already"):
        publish(finished, PublishOptions("tiny", batch_size=4, to=tmp_path / "there", accept="a test"))

    assert list((tmp_path / "there").iterdir()) == []


def test_an_unfinished_run_can_be_published(
    tmp_path: Path, tiny_config: Callable[..., Config], tiny_data: Dataset
) -> None:
    loop.run(tiny_config("total_kimg=0.064"), tiny_data, tmp_path / "run", "cpu", "ganmint train")
    config = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(config.replace("total_kimg: 0.064", "total_kimg: 100"))

    manifest = read_manifest(publish(tmp_path / "run", OPTIONS).path)

    assert manifest.training.kimg == 0.064


def test_an_unlabelled_run_is_published_without_labels(
    tmp_path: Path, tiny_config: Callable[..., Config], tiny_data: Dataset
) -> None:
    plain = Dataset("plain", tiny_data.images)
    loop.run(tiny_config("total_kimg=0.064"), plain, tmp_path / "run", "cpu", "ganmint train")

    stored = publish(tmp_path / "run", OPTIONS)

    sampler = artifact.load(stored.path)
    assert sampler.manifest.class_names == ()
    assert sampler.mint(sampler.manifest.addresses(seed=1, n=3)).shape == (3, 8, 8, 1)


def test_a_run_without_a_checkpoint_is_refused(finished: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "run.json"):
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.copy(finished / name, tmp_path / "run" / name)

    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        publish(tmp_path / "run", OPTIONS)


@pytest.mark.parametrize("name", ["nosuch", "empty"])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(FileError, match=f"{name}: holds no run"):
        publish(tmp_path / name, OPTIONS)


def test_a_damaged_checkpoint_is_not_published(finished: Path, empty_store: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    newest = checkpoint.list_paths(tmp_path / "run")[-1]
    newest.write_bytes(newest.read_bytes()[:-1])

    with pytest.raises(CheckpointError, match=newest.name):
        publish(tmp_path / "run", OPTIONS)

    assert not empty_store.exists()


def test_a_toy_run_is_refused(tmp_path: Path) -> None:
    values = np.random.RandomState(0).normal(size=(64, 1, 1, 1)).astype(np.float32)
    config = load_preset("toy1d", ("batch=16", "tick_kimg=0.016", "total_kimg=0.016", "generator.width=4"))
    loop.run(config, Dataset("toy", values), tmp_path / "run", "cpu", "ganmint train")

    with pytest.raises(InputError, match="toy run that makes no images"):
        publish(tmp_path / "run", OPTIONS)


@pytest.mark.parametrize(
    ("name", "version", "field"),
    [("Tiny!", None, "--name"), ("", None, "--name"), ("tiny", "1", "--version"), ("tiny", "01.0.0", "--version")],
)
def test_a_bad_name_or_version_is_refused_before_the_run_is_read(name: str, version: str | None, field: str) -> None:
    with pytest.raises(InputError) as caught:
        publish(Path("nosuch"), PublishOptions(name, version))

    assert caught.value.field == field


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_damaged_provenance_file_is_named(finished: Path, tmp_path: Path, content: bytes | None) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    if content is not None:
        (tmp_path / "run" / "run.json").write_bytes(content)

    with pytest.raises(GanmintError, match=r"run\.json"):
        publish(tmp_path / "run", OPTIONS)


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory, tiny_config: Callable[..., Config], tiny_data: Dataset) -> Path:
    """A run whose thresholds no generator can meet."""
    run = tmp_path_factory.mktemp("below") / "run"
    loop.run(
        tiny_config("total_kimg=0.064", "data.validation=0.2", "gate={coverage: {min: 1.5}}"),
        tiny_data,
        run,
        "cpu",
        "ganmint train",
    )
    return run


def test_a_run_without_an_evaluation_is_refused(finished: Path, empty_store: Path) -> None:
    with pytest.raises(GateError, match=r"was not evaluated.*--data PATH.*--accept"):
        publish(finished, PublishOptions("tiny", batch_size=4))

    assert not empty_store.exists()


def test_the_model_card_states_why_a_model_was_not_evaluated(finished: Path) -> None:
    stored = publish(finished, PublishOptions("tiny", batch_size=4, accept=" only a try "))

    gate = read_manifest(stored.path).gate
    assert gate == GateRecord(passed=False, checks=("not evaluated: no data was given",), accepted="only a try")
    text = (stored.path / artifact.CARD).read_text()
    assert "**Not measured. Published anyway: only a try**" in text and "Not evaluated." in text


def test_scores_on_images_of_the_training_are_published_only_for_a_reason(
    finished: Path, empty_store: Path, data_path: Path, tmp_path: Path
) -> None:
    # Publishing writes a report into the run.
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    options = PublishOptions("tiny", batch_size=4, data=data_path)
    with pytest.raises(GateError, match=r"kept no images .* --set data\.validation=0\.1 .*--accept"):
        publish(run, options, EvaluationSettings(SMALL))
    assert not empty_store.exists()

    stored = publish(run, replace(options, accept="for a test"), EvaluationSettings(SMALL))

    gate = read_manifest(stored.path).gate
    assert gate and not gate.passed and gate.accepted == "for a test" and "was trained on" in gate.checks[0]
    text = (stored.path / artifact.CARD).read_text()
    assert "held out for this evaluation)" in text and ". No images were kept from the training" in text


def test_a_generator_below_its_thresholds_is_refused(below: Path, empty_store: Path, data_path: Path) -> None:
    with pytest.raises(GateError) as caught:
        publish(below, PublishOptions("tiny", batch_size=4, data=data_path), EvaluationSettings(SMALL))

    words = str(caught.value)
    assert re.search(r"does not pass its gate:\n  coverage \d+\.\d\d%, but required: at least 150\.00%\n", words)
    assert '--accept "REASON"' in words
    report = below / "evaluation" / "report.html"
    assert str(report) in words and report.is_file()
    assert not empty_store.exists()


@pytest.mark.parametrize(
    ("metrics", "gate", "words"),
    [
        ([("coverage", 0.5)], {"coverage": Bound(min=0.9)}, "Train it longer."),
        ([("near_copies", 0.2), ("coverage", 0.5)], {"near_copies": Bound(max=0.1)}, "It repeats its training images"),
        ([("feature_copies", 0.2)], {"feature_copies": Bound(max=0.1)}, "It repeats its training images"),
        ([("distance_ratio", 0.5)], {"distance_ratio": Bound(min=0.7, max=1.4)}, "It repeats its training images"),
        ([("distance_ratio", 1.5)], {"distance_ratio": Bound(min=0.7, max=1.4)}, "Train it longer."),
        ([("coverage", 0.5)], {"coverage": Bound(min_ratio_to_real=0.9)}, "Mend what kept it from being measured"),
        ([], {"coverage": Bound(min=0.9)}, "Mend what kept it from being measured"),
        ([], {}, "Train it with thresholds"),
    ],
)
def test_the_advice_follows_what_failed(
    metrics: list[tuple[MetricName, float]], gate: dict[MetricName, Bound], words: str
) -> None:
    results = [MetricResult(name=name, value=value) for name, value in metrics]

    assert advise(check_gate(results, gate)).startswith(words)


def test_an_accepted_model_records_its_scores_and_failures(below: Path, data_path: Path) -> None:
    stored = publish(
        below, PublishOptions("tiny", batch_size=4, data=data_path, accept="for a test"), EvaluationSettings(SMALL)
    )

    manifest = read_manifest(stored.path)
    assert manifest.gate and not manifest.gate.passed and manifest.gate.accepted == "for a test"
    assert len(manifest.gate.checks) == 1 and manifest.gate.checks[0].startswith("coverage ")
    scores = {score.name: score for score in manifest.scores}
    assert scores["coverage"].real_baseline is not None and scores["coverage"].protocol == "small"
    text = (stored.path / artifact.CARD).read_text()
    assert "Published anyway: for a test" in text
    assert all(words in text for words in manifest.gate.checks) and "| gan_train" in text


def test_a_generator_that_passes_is_published_with_its_scores(
    tmp_path: Path, tiny_config: Callable[..., Config], tiny_data: Dataset, data_path: Path
) -> None:
    config = tiny_config("total_kimg=0.064", "data.validation=0.2", "gate={near_copies: {max: 0.5}}")
    loop.run(config, tiny_data, tmp_path / "run", "cpu", "ganmint train")

    manifest = read_manifest(
        publish(tmp_path / "run", PublishOptions("tiny", batch_size=4, data=data_path), EvaluationSettings(SMALL)).path
    )

    assert manifest.gate and manifest.gate.passed and manifest.gate.accepted == ""
    assert manifest.gate.checks[0].startswith("near-copies 0.00%, as required")
    assert len(manifest.scores) > 5


def test_a_run_is_evaluated_on_its_own_data_only(finished: Path, tmp_path: Path) -> None:
    other = np.random.RandomState(5).randint(0, 256, (64, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "other.npz", images=other)

    with pytest.raises(DataError, match=r"other\.npz: is not what .* was trained on \(stripes\)"):
        publish(finished, PublishOptions("tiny", batch_size=4, data=tmp_path / "other.npz"), EvaluationSettings(SMALL))


def test_an_existing_folder_is_refused_before_an_evaluation(
    finished: Path, tmp_path: Path, data_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.publish.evaluate", lambda *_: pytest.fail("measured"))
    (tmp_path / "there").mkdir()

    with pytest.raises(ArtifactError, match="exists already"):
        publish(finished, PublishOptions("tiny", batch_size=4, to=tmp_path / "there", data=data_path))
