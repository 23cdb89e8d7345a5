"""Skin tones of aligned faces, the training holdout, and how the classifier is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import images
from training.data_config import DataConfig
from training.evaluation import classifier, data_split, html_report, skin_tone
from training.evaluation.classifier import Recipe
from training.evaluation.evaluate import evaluate
from training.evaluation.evaluated_generator import EvaluatedGenerator
from training.evaluation.protocol import Protocol

LIGHT, TAN, DARK = (240, 205, 180), (190, 140, 105), (75, 50, 40)


def faces(*colours: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a face of each colour on blue, uint8 (n, 16, 16, 3)."""
    pixels = np.full((len(colours), 16, 16, 3), (20, 40, 220), np.uint8)
    pixels[:, 6:12, 4:12] = np.array(colours, np.uint8)[:, None, None]
    return pixels


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((255, 255, 255), (100, 0, 0)), ((255, 0, 0), (53.24, 80.09, 67.20)), ((0, 0, 0), (0, 0, 0))],
)
def test_colours_match_published_lab_coordinates(colour: tuple[int, int, int], expected: tuple[float, ...]) -> None:
    assert skin_tone.rgb_to_lab(np.array(colour, np.uint8)) == pytest.approx(expected, abs=0.05)


def test_lighter_skin_has_a_larger_angle() -> None:
    light, tan, dark = skin_tone.typology_angles(faces(LIGHT, TAN, DARK))

    assert light > 41 > tan > 10 > -30 > dark
    assert skin_tone.class_shares(np.array([light, tan, dark])) == {
        "very light": pytest.approx(1 / 3),
        "light": 0,
        "intermediate": 0,
        "tan": pytest.approx(1 / 3),
        "brown": 0,
        "dark": pytest.approx(1 / 3),
    }


def test_the_wasserstein_distance_is_the_mean_move() -> None:
    assert skin_tone.wasserstein_distance(np.array([10.0, 30.0]), np.array([35.0, 10.0])) == pytest.approx(2.5)


def test_a_missing_skin_tone_is_detected(
    good_generator: EvaluatedGenerator, protocol: Protocol, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = good_generator.manifest.model_copy(
        update={
            "class_names": (),
            "image": good_generator.manifest.image.model_copy(update={"channels": 3, "height": 16, "width": 16}),
        }
    )
    skewed = EvaluatedGenerator("skewed", _FixedSampler(card), data=DataConfig(aligned_faces=True))  # type: ignore[arg-type]
    path = tmp_path / "faces"
    path.mkdir()
    for k in range(90):
        (path / f"{k:02}.png").write_bytes(images.encode(faces((LIGHT, TAN, DARK)[k % 3])[0], "image/png", "a test"))

    result = evaluate(skewed, data_split.load(path, skewed.data, share=0.3), protocol)

    metric = result.report.find("skin_tone")
    assert metric is not None and metric.value is not None and metric.real_baseline is not None
    assert metric.value > 2 * metric.real_baseline
    shares = {row.name: (row.generated, row.real) for row in result.report.tones}
    assert shares["dark"][0] == 0 < shares["dark"][1]
    assert "Skin tones" in html_report.render_html(result)


class _FixedSampler:
    """Mints light faces only."""

    fingerprint = "none"

    def __init__(self, manifest: object) -> None:
        self.manifest = manifest

    def mint(self, addresses: list[object]) -> NDArray[np.uint8]:
        return faces(*[LIGHT] * len(addresses))

    def render(self, z: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        return faces(*[LIGHT] * len(z))


def test_mirroring_teaches_flipped_images() -> None:
    shown = np.random.RandomState(0).randint(0, 40, (80, 16, 16, 1)).astype(np.uint8)
    labels = np.arange(80) % 2
    shown[labels == 1, :, :5] += 200
    recipe = Recipe(width=4, features=4, epochs=20, min_images_shown=0, batch=20)
    original = shown.copy()

    plain, mirrored = (classifier.train(shown, labels, 2, recipe, mirror) for mirror in (False, True))

    assert (mirrored.predict(shown[:, :, ::-1].copy()).labels == labels).mean() > 0.95
    assert mirrored.sha256 != plain.sha256
    assert (shown == original).all()


def test_small_data_is_trained_for_more_epochs() -> None:
    steps: list[int] = []
    data = np.zeros((40, 8, 8, 1), np.uint8), np.arange(40) % 2
    recipe = Recipe(width=2, features=2, epochs=1, min_images_shown=100, batch=20)

    classifier.train(*data, 2, recipe, progress=lambda step, done, total: steps.append(total))

    assert steps == [6] * 6
