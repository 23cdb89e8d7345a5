"""Labels that a caller names: by number, by name, by values."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import InputError
from models.labels import Classes, parse_label, parse_labels

CLASSES = Classes(
    ("female 20-39", "female 60+", "male 20-39"),
    {"gender": ("female", "female", "male"), "age": ("20-39", "60+", "20-39")},
)
DIGITS = Classes(("zero", "one"), {})
SHARES = Classes(("0", "0.5", "1"), {"share": ("0", "0.5", "1")}, continuous="share")
AGES = Classes(("18", "36.5", "55", "73.5", "92"), {"age": ("18", "36.5", "55", "73.5", "92")}, continuous="age")


@pytest.mark.parametrize(
    ("label", "number"),
    [
        (1, 1),
        ("female 60+", 1),
        ({"gender": "female", "age": "60+"}, 1),
        ({"age": "20-39", "gender": "male"}, 2),
        # What is left out does not matter where one class fits.
        ({"gender": "male"}, 2),
        ({"age": "60+"}, 1),
    ],
)
def test_a_class_is_found_by_number_name_and_values(label: Any, number: int) -> None:
    assert CLASSES.find(label, "labels") == number


@pytest.mark.parametrize(
    ("label", "number"),
    [
        ({"age": 18}, 0),
        ({"age": 45.7}, 1),
        ({"age": 45.8}, 2),
        ({"age": "73.5"}, 3),
        ({"age": 92}, 4),
        (3, 3),
        ("55", 2),
    ],
)
def test_a_value_of_a_continuous_label_is_the_nearest_class(label: Any, number: int) -> None:
    assert AGES.find(label, "labels") == number


@pytest.mark.parametrize(
    ("classes", "label", "words"),
    [
        (CLASSES, 3, r"labels: must be from 0 to 2 \(female 20-39, female 60\+, male 20-39\), got 3"),
        (CLASSES, True, "labels: must be from 0 to 2 .* got True"),
        (CLASSES, "male", r"labels: must be from 0 to 2 or a class's name \(.*\), got 'male'"),
        (CLASSES, {"gender": "female"}, "labels: fits 2 classes; give age, too"),
        (CLASSES, {"gender": "male", "age": "60+"}, "labels: is a combination without a class"),
        (CLASSES, {"gender": "f"}, r"labels\.gender: must be one of female, male, got 'f'"),
        (CLASSES, {"sex": "female"}, "labels: has the label 'sex'; there are gender, age"),
        (CLASSES, {}, "labels: fits 3 classes; give gender, age, too"),
        (DIGITS, {"digit": "one"}, "labels: names labels, but the model has one only"),
        (AGES, {"age": 17.99}, r"labels\.age: must be a number from 18 to 92, got 17\.99"),
        (AGES, {"age": 92.01}, r"labels\.age: must be a number from 18 to 92, got 92\.01"),
        (AGES, {"age": "old"}, r"labels\.age: must be a number from 18 to 92, got 'old'"),
        (AGES, {"age": float("nan")}, r"labels\.age: must be a number from 18 to 92, got nan"),
        (SHARES, {"share": True}, r"labels\.share: must be a number from 0 to 1, got True"),
        (AGES, {"age": None}, r"labels\.age: must be a number from 18 to 92, got None"),
        (AGES, {"years": 30}, "labels: has the label 'years'; there are age"),
        (
            AGES,
            "37",
            r'labels: must be a value of age from 18 to 92 as {"age": VALUE}, or a class.s number from 0 to 4, got .37',
        ),
        (AGES, 37.5, r'labels: must be a value of age from 18 to 92 as {"age": VALUE}, or .* got 37\.5'),
    ],
)
def test_what_is_no_class_is_refused(classes: Classes, label: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"^{words}"):
        classes.find(label, "labels")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("3", 3),
        ("3,1,4", [3, 1, 4]),
        ("balanced", "balanced"),
        ("female 60+", "female 60+"),
        ("cat,dog", ["cat", "dog"]),
        ("-1", -1),
        ("gender=female,age=60+", {"gender": "female", "age": "60+"}),
        ('{"age": 37.5}', {"age": 37.5}),
        (' {"gender": "female", "age": "60+"}', {"gender": "female", "age": "60+"}),
    ],
)
def test_labels_are_read_from_a_commands_argument(text: str, labels: object) -> None:
    assert parse_labels(text) == labels


@pytest.mark.parametrize(
    ("text", "label"), [("3", 3), ("cat", "cat"), ("cat,dog", "cat,dog"), ("age=37.5", {"age": "37.5"})]
)
def test_one_label_is_no_list(text: str, label: object) -> None:
    assert parse_label(text, "--label") == label


@pytest.mark.parametrize("text", ["age=20,age=40", '{"age": 20, "age": 40}'])
def test_a_label_with_two_values_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"labels: gives a label two values: {text}"):
        parse_labels(text)


def test_an_object_whose_quotes_the_shell_took_is_refused() -> None:
    with pytest.raises(InputError, match=r"labels: is no JSON object: {age: 20}; without quotes and braces"):
        parse_labels("{age: 20}")
