"""Directions are found where there are some, and only those that do what they say are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from models import artifact, images, networks, store
from models.directions import Direction, Directions
from models.manifest import Manifest, read_manifest
from models.sampler import Sampler
from tests.conftest import TINY, Command
from tests.protocols import SMALL
from tests.samplers import torch_sampler
from training.dissection.directions import (
    CHECK_SEED,
    Finding,
    check_direction,
    draw_samples,
    find_directions,
    remove_components,
)
from training.dissection.measures import Measure, Values
from training.evaluation.classifier import Images, Predictions

TRUE = np.array([0, 0.6, 0, 0, -0.8, 0, 0, 0])


def generate(z: Tensor, class_weights: Tensor) -> Tensor:
    """Images whose brightness grows along TRUE, and which are brighter for higher labels."""
    value = 0.2 * (z @ torch.tensor(TRUE, dtype=torch.float32)) + 0.1 * class_weights.argmax(dim=1)
    return value.reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8).clamp(-1, 1)


def measure_mean(images: Images) -> Values:
    means: Values = images.mean(axis=(1, 2, 3), dtype=np.float64)
    return means


def make_measure(**changes: object) -> Measure:
    return Measure("brightness", "brighter", "mean", measure_mean, measure_mean)._replace(**changes)  # type: ignore[arg-type]


class Judge:
    """Gives every image the class 0, or its own where it is not very bright."""

    def predict(self, images: Images) -> Predictions:
        labels = np.clip(np.round((measure_mean(images) - 127.5) / 12.75), 0, 2).astype(int)
        return Predictions(np.zeros((len(images), 1), np.float32), np.eye(3, dtype=np.float32)[labels])


@pytest.fixture
def sampler(tiny_manifest: Manifest) -> Sampler:
    manifest = tiny_manifest.model_copy(update={"batch_size": {"cpu": 64, "cuda": 64}})
    return torch_sampler(generate, manifest)


def read_direction(finding: Finding) -> Direction:
    assert finding.direction
    return finding.direction


def find(sampler: Sampler, measure: Measure, judge: Judge | None = None) -> Finding:
    return find_directions(sampler, [measure], 300, 100, judge)[0]  # type: ignore[arg-type]


def test_the_direction_along_which_a_measure_grows_is_found(sampler: Sampler) -> None:
    finding = find(sampler, make_measure())
    assert finding.failures == ()
    direction = read_direction(finding)
    np.testing.assert_allclose(direction.vector, TRUE, atol=0.05)
    assert np.linalg.norm(direction.vector) == pytest.approx(1, abs=1e-6)
    assert (finding.share, finding.class_loss) == (1, None)
    # Linear in z, so that 4 along it are four of its deviations.
    assert finding.change == pytest.approx(4, abs=0.4)
    values, means = zip(*direction.means)
    assert values == (-2, -1, 0, 1, 2) and list(means) == sorted(means)


def test_a_measure_that_does_not_grow_is_not_written(sampler: Sampler) -> None:
    rng = np.random.RandomState(0)
    noise = find(sampler, make_measure(check=lambda images: rng.standard_normal(len(images))))
    assert any("standard deviations" in failure for failure in noise.failures)
    # What was found by one judge is checked by the other.
    reversed_check = find(sampler, make_measure(check=lambda images: -measure_mean(images)))
    assert len(reversed_check.failures) == 3 and reversed_check.share == 0
    folded = find(sampler, make_measure(check=lambda images: np.abs(measure_mean(images) - 140)))
    assert "the mean does not grow at every step" in folded.failures


def test_a_direction_reaches_as_far_as_images_keep_their_class(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(sampler, make_measure()).reach == 2
    finding = find(sampler, make_measure(), Judge())
    assert finding.failures == () and finding.reach == 1
    assert [value for value, _ in read_direction(finding).means] == [-1, -0.5, 0, 0.5, 1]
    assert finding.class_loss is not None and 0.03 < finding.class_loss < 0.05
    # Half as far, half as much.
    assert finding.change == pytest.approx(2, abs=0.2)

    monkeypatch.setattr("training.dissection.directions.MAX_CLASS_LOSS", 0.03)
    nowhere = find(sampler, make_measure(), Judge())
    assert nowhere.reach == 1 and any("lose their class" in failure for failure in nowhere.failures)


def test_along_a_direction_of_a_label_the_class_may_change_but_not_the_other_labels(sampler: Sampler) -> None:
    classes = len(sampler.manifest.class_names)
    free = find(sampler, make_measure()._replace(kept=np.zeros(classes, np.int64)), Judge())
    bound = find(sampler, make_measure()._replace(kept=np.arange(classes)), Judge())

    assert (free.class_loss, free.reach) == (0, 2)
    assert bound.reach == 1


def test_what_a_direction_has_in_common_with_others_is_taken_out_of_it() -> None:
    rng = np.random.RandomState(0)
    vector, *others = rng.standard_normal((3, 8))

    rest = remove_components(vector, others)

    np.testing.assert_allclose([rest @ other for other in others], 0, atol=1e-12)
    # Nothing else is: the difference lies in the plane of the others.
    assert np.linalg.matrix_rank(np.stack([vector - rest, *others])) == 2
    assert remove_components(vector, []) is vector
    # Nothing more where some are the same, or 0.
    np.testing.assert_allclose(remove_components(vector, [*others, others[0], np.zeros(8)]), rest)


def measure_half(images: Images, is_right: bool) -> Values:
    half = images.shape[2] // 2
    return measure_mean(images[:, :, half:] if is_right else images[:, :, :half])


@pytest.fixture
def halves(tiny_manifest: Manifest) -> Sampler:
    """Images whose left halves are brighter along TRUE, and the right ones along the sum of it and the first axis."""
    manifest = tiny_manifest.model_copy(update={"batch_size": {"cpu": 64, "cuda": 64}, "class_names": ()})

    def generate(z: Tensor, _: Tensor) -> Tensor:
        left = 0.2 * (z @ torch.tensor(TRUE, dtype=torch.float32))
        columns = torch.stack([left] * 4 + [left + 0.2 * z[:, 0]] * 4, dim=1)
        return columns.reshape(-1, 1, 1, 8).expand(-1, 1, 8, 8).clamp(-1, 1)

    return torch_sampler(generate, manifest)


def make_half(is_right: bool, **changes: object) -> Measure:
    def compute(images: Images) -> Values:
        return measure_half(images, is_right)

    return make_measure(name="right" if is_right else "left", compute=compute, check=compute, **changes)


def test_what_directions_have_in_common_with_that_of_a_label_is_taken_out_of_them(halves: Sampler) -> None:
    of_label = make_half(is_right=True, kept=np.zeros(1, np.int64))

    left, right = find_directions(halves, [make_half(is_right=False), of_label], 300, 100)

    by_label = (TRUE + np.eye(8)[0]) / np.sqrt(2)
    np.testing.assert_allclose(read_direction(right).vector, by_label, atol=0.05)
    assert abs(np.dot(read_direction(left).vector, read_direction(right).vector)) < 1e-6
    np.testing.assert_allclose(read_direction(left).vector, (TRUE - np.eye(8)[0]) / np.sqrt(2), atol=0.05)
    # Nothing is taken out of a direction for the sake of one that is of no label.
    left, right = find_directions(halves, [make_half(is_right=False), make_half(is_right=True)], 300, 100)
    np.testing.assert_allclose(read_direction(left).vector, TRUE, atol=0.05)


def test_there_is_no_direction_of_what_no_image_or_another_label_has(sampler: Sampler, halves: Sampler) -> None:
    still = make_measure(compute=lambda images: np.full(len(images), 0.1))
    of_classes = find(sampler, still)
    (without,) = find_directions(halves, [still], 300, 100)
    kept = np.zeros(1, np.int64)
    twice = find_directions(
        halves, [make_half(is_right=True, kept=kept), make_half(is_right=True, kept=kept)], 300, 100
    )

    assert of_classes.direction is None and of_classes.name == "brightness"
    assert of_classes.failures == ("the measure is the same for all images of a class",)
    assert without.failures == ("the measure is the same for all images",)
    assert [found.failures for found in twice] == [("it has all in common with other labels",)] * 2


def test_a_measure_is_compared_with_its_spread_within_a_class(sampler: Sampler) -> None:
    samples = draw_samples(sampler, CHECK_SEED, 100)
    across = 1000.0 * samples.labels
    measure = make_measure(check=lambda images: measure_mean(images) + across)
    finding = check_direction(sampler, measure, tuple(TRUE), samples)
    assert finding.change == pytest.approx(4, abs=0.4)


def test_the_command_writes_a_new_version_with_directions(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, command: Command
) -> None:
    store.install(tiny_artifact)
    picture = tmp_path / "moved.png"
    result = command("directions", "tiny", "--images", "200", "--out", str(picture), "--device", "cpu")
    assert result.code == 0, result.errors
    assert "tiny/1.1.0" in result.output
    with Image.open(picture) as shown:
        assert (shown.height + images.GAP_PIXELS) % (3 * (96 + images.GAP_PIXELS)) == 0
    folder = store.find_model("tiny/1.1.0").path
    names = read_manifest(folder).directions
    written = Directions.model_validate_json((folder / "directions.json").read_bytes())
    assert written.names == names and "brightness" in names
    for direction in written.directions:
        means = [mean for _, mean in direction.means]
        assert means == sorted(means)
    assert "directions.json" not in result.errors
    replaced = command("directions", "tiny", "--images", "200", "--to", str(tmp_path / "aside"), "--device", "cpu")
    assert "tiny 1.1.0 has a directions.json; the new version has another in its place\n" in replaced.errors
    again = command("sample", "tiny", "--direction", f"{names[0]}=1", "--out", str(tmp_path / "one.png"))
    assert again.code == 0 and f"dir.{names[0]}=1" in again.output


def test_a_picture_that_cannot_be_written_leaves_the_new_version(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, command: Command
) -> None:
    store.install(tiny_artifact)
    (tmp_path / "file").touch()
    for options in (
        (
            "directions",
            "tiny/1.0.0",
            "--images",
            "100",
            "--device",
            "cpu",
            "--out",
            str(tmp_path / "file" / "moved.png"),
        ),
        ("dissect", "tiny/1.1.0", "--images", "2", "--changed-images", "1", "--out", str(tmp_path / "file" / "u.html")),
    ):
        result = command(*options)
        assert result.code == 1 and "cannot be written: " in result.errors
        assert "choose another --out; tiny/1." in result.errors
        assert "in the model store is written all the same" in result.errors
    assert [stored.version for stored in store.list_versions("tiny")] == ["1.0.0", "1.1.0", "1.2.0"]


def test_what_does_not_pass_is_listed_and_left_out(
    store_home: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    store.install(tiny_artifact)

    def fail(first: int, last: int) -> None:
        def find(*arguments: object) -> list[Finding]:
            found = find_directions(*arguments)  # type: ignore[arg-type]
            return [f._replace(failures=("it stands still",) * (first <= k < last)) for k, f in enumerate(found)]

        monkeypatch.setattr("training.commands.directions.find_directions", find)

    fail(0, 9)
    result = command("directions", "tiny", "--images", "200")
    assert result.code == 1 and "no direction passed" in result.errors
    assert [stored.version for stored in store.list_versions("tiny")] == ["1.0.0"]
    fail(0, 1)
    result = command("directions", "tiny", "--images", "200")
    assert result.code == 0 and "not written: it stands still" in result.output
    names = read_manifest(store.find_model("tiny/1.1.0").path).directions
    assert names and f"{names[0]} " in result.output and "brightness" not in names


def test_other_data_are_refused_and_nothing_is_written(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, command: Command
) -> None:
    store.install(tiny_artifact)
    result = command("directions", "tiny", "--data", "tests/data/digits", "--images", "200")
    assert result.code == 1 and "is not what tiny was trained on" in result.errors
    result = command("directions", "tiny", "--out", str(tmp_path / "moved.gif"))
    assert result.code == 2 and "--out: must end in .png" in result.errors
    (tmp_path / "taken").mkdir()
    result = command("directions", "tiny", "--to", str(tmp_path / "taken"))
    assert result.code == 1 and "exists already" in result.errors
    # Before anything was computed.
    assert "DIRECTION" not in result.output
    assert [stored.version for stored in store.list_versions("tiny")] == ["1.0.0"]


def write_pictures(folder: Path, columns: str, describe: Callable[[int], str]) -> Path:
    """Write 48 grey pictures of growing brightness, and what the columns of the csv say of each."""
    folder.mkdir()
    rows = [f"file,{columns}"]
    for k in range(48):
        Image.new("L", (8, 8), 40 + 4 * k).save(folder / f"{k}.png")
        rows.append(f"{k}.png,{describe(k)}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def export_trained_on(data: dict[str, Any], manifest: Manifest, generator: nn.Module, folder: Path) -> Path:
    """Export a generator whose manifest says that it was trained on such data."""
    training = manifest.training.model_copy(update={"config": {"data": {"kind": "images", **data}}})
    artifact.export(generator, manifest.model_copy(update={"training": training}), folder, batch_size=4)
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Pictures of three kinds, whose level is their brightness."""
    return write_pictures(tmp_path / "pictures", "kind,level", lambda k: f"{'abc'[k % 3]},{k / 47:.3f}")


def test_a_column_of_numbers_has_a_direction(
    tiny_manifest: Manifest,
    tiny_generator: nn.Module,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    monkeypatch.setattr("training.commands.directions._RECIPE", SMALL.classifier)
    trained_on = {"label_columns": [{"column": "kind"}], "mirror": True}
    model = export_trained_on(trained_on, tiny_manifest, tiny_generator, tmp_path / "tiny")
    options = ("directions", str(model), "--data", str(labelled), "--images", "100")

    result = command(*options, "--column", "light=level", "--column", "level", "--to", str(tmp_path / "out"))

    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert {"brightness", "light", "level"} <= lines.keys()
    # Expected levels, which lie in the column's range.
    assert all(0 <= float(text) <= 1 for text in lines["light"].split()[2:5])

    refused = command(*options, "--column", "brightness=level")
    assert (
        refused.code == 2
        and "--column: gives a direction the name 'brightness', which another one has" in refused.errors
    )
    missing = command(*options, "--column", "height")
    assert missing.code == 1 and "height" in missing.errors and "level" in missing.errors
    words = command(*options, "--column", "kind")
    assert words.code == 1 and "has the kind 'a', which is no number" in words.errors


def test_data_of_combined_labels_have_a_direction_for_each(
    tiny_manifest: Manifest,
    tiny_generator: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    monkeypatch.setattr("training.commands.directions._RECIPE", SMALL.classifier)
    monkeypatch.setattr("training.commands.directions._GLANCE", 4)
    columns = "smiling,glasses,brightness"
    kinds = ("no,no,0", "no,yes,1", "yes,no,0")
    data = write_pictures(tmp_path / "pictures", columns, lambda k: kinds[k % 3])
    trained_on = {"label_columns": [{"column": column} for column in columns.split(",")]}
    labels = {
        "class_names": ("no no 0", "no yes 1", "yes no 0"),
        "label_values": {"smiling": ("no", "no", "yes"), "glasses": ("no", "yes", "no"), "brightness": ("0", "1", "0")},
    }
    manifest = tiny_manifest.model_copy(update=labels)
    model = export_trained_on(trained_on, manifest, tiny_generator, tmp_path / "tiny")
    options = ("directions", str(model), "--data", str(data), "--images", "100", "--to", str(tmp_path / "out"))

    taken = command(*options, "--column", "smiling=brightness")
    result = command(*options)

    assert taken.code == 2 and "gives a direction the name 'smiling', which another one has" in taken.errors
    names = [line.split()[0] for line in result.output.splitlines()]
    assert names[names.index("DIRECTION") + 1 :][:5] == ["brightness", "contrast", "light-side", "smiling", "glasses"]
    assert "No direction for the label 'brightness'" in result.errors


def test_without_classes_data_have_directions_of_columns_only(
    tiny_manifest: Manifest,
    continuous_artifact: Path,
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    monkeypatch.setattr("training.commands.directions._RECIPE", SMALL.classifier)
    network = TINY.model_copy(update={"num_classes": 0})
    manifest = tiny_manifest.model_copy(update={"class_names": (), "network": network.model_dump(mode="json")})
    model = tmp_path / "tiny"
    artifact.export(networks.build_generator(network), manifest, model, batch_size=4)
    for path, why in ((model, "tiny has none"), (continuous_artifact, "age is continuous")):
        options = ("directions", str(path), "--data", str(labelled), "--images", "100", "--to", str(tmp_path / why))

        refused = command(*options)
        found = command(*options, "--column", "level")

        assert refused.code == 2 and f"--data: finds directions of classes, and {why}; leave it out" in refused.errors
        names = [line.split()[0] for line in found.output.splitlines()]
        assert "level" in names and "age" not in names, found.errors


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--column", "turn=", "--data", "d"), "--column: names no column in 'turn='; give [NAME=]COLUMN"),
        (("--column", "age"), "--column: is a column of the data, so it needs --data"),
        (("--column", "a=x", "--column", "a=y", "--data", "d"), "--column: gives the name 'a' twice"),
        (("--column", "A b=x", "--data", "d"), "--column: gives 'A b=x' the name 'A b'; give another one: NAME=COLUMN"),
    ],
)
def test_wrong_columns_are_refused(options: tuple[str, ...], error: str, command: Command) -> None:
    result = command("directions", "tiny", *options)
    assert result.code == 2 and error in result.errors
