"""Measures grow with what they are named after, and with nothing else that is tried."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.labels import split_class_names
from training.dissection import measures
from training.dissection.label_measures import (
    list_attributes,
    make_label_measure,
    make_number_measure,
    score_attribute,
)
from training.evaluation.classifier import Predictions

SIDE = 28


def draw_bar(lean: float = 0.0, width: float = 4.0, height: int = 16) -> NDArray[np.uint8]:
    """Draw a bar whose top is `lean` pixels right of its foot; soft edges. Returns uint8 (1, 28, 28, 1)."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    middle = SIDE / 2 + lean * (SIDE / 2 - rows) / height
    inside = np.clip(width / 2 - np.abs(columns - middle) + 0.5, 0, 1) * (np.abs(rows - SIDE / 2) < height / 2)
    bar: NDArray[np.uint8] = np.round(255 * inside).astype(np.uint8)[None, ..., None]
    return bar


def test_a_slant_is_the_angle_of_the_bar_to_the_right() -> None:
    for lean in (-8, 0, 8):
        slant = measures.measure_slant(draw_bar(lean))[0]
        assert slant == pytest.approx(np.degrees(np.arctan(lean / 16)), abs=1.5)
    assert measures.measure_slant(draw_bar(8, width=7)) == pytest.approx(measures.measure_slant(draw_bar(8)), abs=3)


def test_a_thickness_is_the_width_of_a_long_stroke() -> None:
    thin, thick = (measures.measure_thickness(draw_bar(width=width, height=24))[0] for width in (2, 4))
    assert thin == pytest.approx(2, abs=0.4) and thick == pytest.approx(4, abs=0.8)
    assert measures.measure_thickness(draw_bar(6, height=24))[0] == pytest.approx(thick, abs=0.5)


def test_an_empty_drawing_has_measures() -> None:
    for measure in measures.choose_measures(np.zeros((2, 8, 8, 1), np.uint8)):
        assert np.isfinite(measure.compute(np.zeros((2, 8, 8, 1), np.uint8))).all()


def test_lightness_and_colours_are_measured() -> None:
    grey = np.full((1, 64, 64, 3), 100, np.uint8)
    bright, right, yellow = grey + np.uint8(50), grey.copy(), grey.copy()
    right[:, :, 32:] = 200
    yellow[..., 2] = 0
    assert measures.measure_brightness(bright)[0] > measures.measure_brightness(grey)[0]
    assert measures.measure_contrast(bright)[0] == pytest.approx(0, abs=1e-6)
    assert measures.measure_contrast(right)[0] > 10
    assert measures.measure_light_side(right)[0] > 20
    assert measures.measure_light_side(grey)[0] == pytest.approx(0, abs=1e-6)
    assert measures.measure_light_side(right[:, :, ::-1])[0] < -20
    assert measures.measure_warmth(yellow)[0] > 20 > abs(measures.measure_warmth(grey)[0])


def test_measures_fit_the_images() -> None:
    drawing = draw_bar()
    assert [m.name for m in measures.choose_measures(drawing)] == ["slant", "thickness", "width"]
    assert [m.name for m in measures.choose_measures(255 - drawing)] == ["brightness", "contrast", "light-side"]
    assert "warmth" in [m.name for m in measures.choose_measures(np.repeat(drawing, 3, axis=3))]


def draw_face(inside_of_mouth: tuple[int, int, int] = (150, 70, 70)) -> NDArray[np.uint8]:
    """Draw skin with lips where an aligned face has them. Returns uint8 (1, 64, 64, 3)."""
    face = np.full((1, 64, 64, 3), (190, 140, 120), np.uint8)
    face[:, 39:48, 21:43] = (150, 70, 70)
    face[:, 41:46, 26:38] = inside_of_mouth
    return face


def test_a_smile_is_what_shows_teeth_in_any_light() -> None:
    closed, open_, teeth = (draw_face(colour) for colour in ((150, 70, 70), (50, 20, 20), (225, 220, 205)))
    values = [measures.measure_smile(face)[0] for face in (closed, open_, teeth)]
    assert values[2] > max(values[:2]) + 20
    dim = [measures.measure_smile((face * 0.6).astype(np.uint8))[0] for face in (closed, teeth)]
    assert dim[1] > dim[0] + 15
    # Elsewhere than in the mouth, light skin is no smile.
    forehead = closed.copy()
    forehead[:, 5:20] = (240, 230, 220)
    assert measures.measure_smile(forehead)[0] == values[0]


def test_smiles_are_measured_on_aligned_faces_in_colour() -> None:
    face = draw_face()
    assert "smile" in [m.name for m in measures.choose_measures(face, has_aligned_faces=True)]
    assert "smile" not in [m.name for m in measures.choose_measures(face)]
    assert "smile" not in [m.name for m in measures.choose_measures(face[..., :1], has_aligned_faces=True)]


VALUES = split_class_names(("female young", "female old", "male young", "male old", "male middle"), ["gender", "age"])


def test_combined_classes_have_attributes() -> None:
    gender, age = list_attributes(VALUES)
    assert (gender.name, gender.values, gender.ranks.tolist()) == ("male", ("female", "male"), [0, 0, 1, 1, 1])
    assert (age.name, age.values, age.ranks.tolist()) == ("age", ("young", "old", "middle"), [0, 1, 0, 1, 2])
    # Classes that differ in this label only have the same number.
    assert (gender.others.tolist(), age.others.tolist()) == ([0, 1, 0, 1, 4], [0, 0, 2, 2, 2])
    assert list_attributes({"x": ("a", "b")})[0].others.tolist() == [0, 0]
    assert split_class_names(("0", "1"), ["label"]) == {}
    assert split_class_names(("a b", "c"), ["x", "y"]) == {}
    assert [a.name for a in list_attributes({"x": ("a", "a"), "y": ("b", "c")})] == ["c"]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"smiling": "no yes", "glasses": "no yes"}, ["smiling", "glasses"]),
        ({"smiling": "no yes", "glasses": "no Yes", "hat": "none yes!"}, ["smiling", "glasses", "hat"]),
        ({"male": "0 1"}, ["male"]),
        ({"gender": "male Smile", "smile": "no yes"}, ["gender", "yes"]),
        ({"face": "none smile", "contrast": "low high"}, ["face", "high"]),
        ({"brightness": "1 2", "age": "young old"}, ["", "old"]),
        ({"x": "a b", "b": "1 2 3"}, ["x", "b"]),
        ({"A b": "1 2", "a-b": "3 4"}, ["", ""]),
        ({"smile": "no yes"}, ["yes"]),
    ],
)
def test_no_two_directions_have_one_name(labels: dict[str, str], names: list[str]) -> None:
    values = {label: text.split() for label, text in labels.items()}
    found = list_attributes(
        {k: v + [v[0]] * (3 - len(v)) for k, v in values.items()}, ["brightness", "contrast", "smile"]
    )
    assert [attribute.name for attribute in found] == names


EMPTY = np.zeros((1, 8, 8, 1), np.uint8)


class Judge:
    """Gives every image the same probabilities, float32 (num_classes,)."""

    def __init__(self, row: NDArray[np.float32]) -> None:
        self.row = row

    def predict(self, images: NDArray[np.uint8]) -> Predictions:
        return Predictions(np.zeros((len(images), 1), np.float32), np.tile(self.row, (len(images), 1)))


def test_attributes_are_scored_by_two_classifiers() -> None:
    gender, age = list_attributes(VALUES)
    probabilities = np.array([[0.5, 0.2, 0.1, 0.1, 0.1], [1, 0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(score_attribute(probabilities, gender)[0], np.log(0.3 / 0.7), rtol=1e-5)
    np.testing.assert_allclose(score_attribute(probabilities, age), [0.3 + 0.2, 0], atol=1e-6)
    assert np.isfinite(score_attribute(probabilities, gender)).all()

    measure = make_label_measure(gender, Judge(probabilities[0]), Judge(probabilities[1]))  # type: ignore[arg-type]
    assert measure.compute(EMPTY)[0] > measure.check(EMPTY)[0]


def test_a_number_is_expected_by_two_classifiers() -> None:
    first, second = Judge(np.array([0.5, 0.5, 0], np.float32)), Judge(np.array([0, 0.25, 0.75], np.float32))
    measure = make_number_measure("turn", "yaw_deg", (-20, 0, 20), first, second)  # type: ignore[arg-type]
    assert (measure.name, measure.compute(EMPTY).tolist(), measure.check(EMPTY).tolist()) == ("turn", [-10], [15])
    assert measure.kept is None and "yaw_deg" in measure.description
