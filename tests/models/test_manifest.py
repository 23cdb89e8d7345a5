"""The manifest, and which addresses a request names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.address import Address
from models.errors import ArtifactError, InputError
from models.evidence import Score
from models.latents import MAX_INTEGER, draw_label, encode_latent, pack_latent
from models.manifest import ImageShape, Latents, Manifest, dump_manifest, read_manifest


@pytest.fixture(scope="module")
def unconditional(tiny_manifest: Manifest) -> Manifest:
    return tiny_manifest.model_copy(update={"class_names": ()})


def labels_of(addresses: list[Address]) -> list[int | None]:
    return [a.label for a in addresses]


def test_addresses_count_up_from_the_index(tiny_manifest: Manifest) -> None:
    made = tiny_manifest.addresses(seed=7, index=5, n=3, labels=1, psi=0.5)
    assert made == [Address("tiny", "1.0.0", 7, index, 1, 0.5) for index in (5, 6, 7)]


def test_one_address_is_the_default(tiny_manifest: Manifest) -> None:
    (address,) = tiny_manifest.addresses(seed=7)
    assert (address.seed, address.index, address.psi) == (7, 0, 1.0)


@given(seed=st.integers(0, MAX_INTEGER), index=st.integers(0, MAX_INTEGER - 20), n=st.integers(1, 20))
def test_a_label_left_out_is_drawn_from_the_samples_own_stream(
    tiny_manifest: Manifest, seed: int, index: int, n: int
) -> None:
    made = tiny_manifest.addresses(seed, index, n)
    assert labels_of(made) == [draw_label(seed, index + k, 8, 3) for k in range(n)]
    assert made[-1:] == tiny_manifest.addresses(seed, index + n - 1)


def test_drawn_labels_follow_the_length_of_z(tiny_manifest: Manifest) -> None:
    longer = tiny_manifest.model_copy(update={"latents": Latents(z_dim=64)})
    assert labels_of(longer.addresses(0, n=20)) == [draw_label(0, k, 64, 3) for k in range(20)]
    assert labels_of(longer.addresses(0, n=20)) != labels_of(tiny_manifest.addresses(0, n=20))


def test_one_label_is_for_all(tiny_manifest: Manifest) -> None:
    assert labels_of(tiny_manifest.addresses(7, n=3, labels=2)) == [2, 2, 2]
    assert labels_of(tiny_manifest.addresses(7, n=2, labels=0)) == [0, 0]


def test_a_list_has_one_label_per_image(tiny_manifest: Manifest) -> None:
    assert labels_of(tiny_manifest.addresses(7, index=9, n=3, labels=[2, 0, 1])) == [2, 0, 1]
    assert labels_of(tiny_manifest.addresses(7, n=1, labels=(1,))) == [1]


@pytest.mark.parametrize("labels", [1.5, True, 1 + 0j])
def test_what_is_no_label_is_refused(tiny_manifest: Manifest, labels: Any) -> None:
    with pytest.raises(InputError, match=r"^labels: must be from 0 to 2 \(.*\), got"):
        tiny_manifest.addresses(7, n=2, labels=labels)


def test_balanced_labels_follow_the_index_so_that_shards_agree(tiny_manifest: Manifest) -> None:
    assert labels_of(tiny_manifest.addresses(7, n=7, labels="balanced")) == [0, 1, 2, 0, 1, 2, 0]
    whole = tiny_manifest.addresses(7, index=0, n=10, labels="balanced")
    assert whole[4:] == tiny_manifest.addresses(7, index=4, n=6, labels="balanced")


def test_an_unconditional_model_has_no_labels(unconditional: Manifest) -> None:
    assert labels_of(unconditional.addresses(7, n=2)) == [None, None]
    assert str(unconditional.addresses(7)[0]) == "tiny/1.0.0/7/0"


@pytest.mark.parametrize("labels", [0, [0, 0], "balanced", []])
def test_an_unconditional_model_takes_no_labels(unconditional: Manifest, labels: Any) -> None:
    with pytest.raises(InputError, match="has no classes") as refused:
        unconditional.addresses(7, n=2, labels=labels)
    assert refused.value.field == "labels"


def test_the_last_index_can_be_reached_but_not_passed(tiny_manifest: Manifest) -> None:
    assert tiny_manifest.addresses(MAX_INTEGER, MAX_INTEGER - 1, 2)[1].index == MAX_INTEGER
    for index, n in ((MAX_INTEGER, 2), (MAX_INTEGER - 1, 3), (0, MAX_INTEGER + 2)):
        with pytest.raises(InputError) as refused:
            tiny_manifest.addresses(0, index, n)
        assert refused.value.field == "index"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": MAX_INTEGER + 1}, "seed"),
        ({"seed": True}, "seed"),
        ({"index": -1}, "index"),
        ({"index": MAX_INTEGER + 1}, "index"),
        ({"n": 0}, "n"),
        ({"n": -5}, "n"),
        ({"psi": 0}, "psi"),
        ({"psi": -0.5}, "psi"),
        ({"psi": 1.01}, "psi"),
        ({"psi": math.nan}, "psi"),
        ({"labels": 3}, "labels"),
        ({"labels": -1}, "labels"),
        ({"labels": True}, "labels"),
        ({"labels": "all"}, "labels"),
        ({"labels": "1"}, "labels"),
        ({"labels": []}, "labels"),
        ({"labels": [0]}, "labels"),
        ({"labels": [0, 1, 2]}, "labels"),
        ({"labels": [0, 3]}, "labels[1]"),
        ({"labels": [-1, 0]}, "labels[0]"),
        ({"labels": [0, False]}, "labels[1]"),
        ({"labels": [0, "1"]}, "labels[1]"),
        ({"labels": [0, 1.0]}, "labels[1]"),
    ],
)
def test_a_bad_request_is_refused_by_its_field(tiny_manifest: Manifest, request_: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refused:
        tiny_manifest.addresses(**{"seed": 7, "n": 2, **request_})
    assert refused.value.field == field


def test_a_wrong_label_is_answered_with_the_right_ones(tiny_manifest: Manifest) -> None:
    with pytest.raises(InputError, match=r"from 0 to 2 \(a, b, c\), got 7"):
        tiny_manifest.addresses(0, labels=7)


def test_psi_is_allowed_only_where_the_card_says_so(tiny_manifest: Manifest) -> None:
    strict = tiny_manifest.model_copy(update={"truncation": False})
    assert tiny_manifest.addresses(0, psi=0.5)[0].psi == 0.5
    assert strict.addresses(0, psi=1)[0].psi == 1.0
    with pytest.raises(InputError, match="takes no psi other than 1") as refused:
        strict.addresses(0, psi=0.5)
    assert refused.value.field == "psi"


def test_checking_an_address_resolves_its_label(tiny_manifest: Manifest) -> None:
    given_label = Address("tiny", "1.0.0", 7, 5, 2, 0.5)
    assert tiny_manifest.check(given_label) == given_label
    left_out = Address("tiny", "1.0.0", 7, 5)
    assert tiny_manifest.check(left_out) == tiny_manifest.addresses(7, 5)[0]
    assert tiny_manifest.check(left_out).label is not None


def test_checking_an_address_refuses_by_the_addresss_own_field(tiny_manifest: Manifest) -> None:
    with pytest.raises(InputError) as refused:
        tiny_manifest.check(Address("tiny", "1.0.0", 7, 5, 3))
    assert refused.value.field == "label"


@pytest.mark.parametrize(("model", "version", "field"), [("other", "1.0.0", "model"), ("tiny", "2.0.0", "version")])
def test_an_address_of_another_model_is_refused(tiny_manifest: Manifest, model: str, version: str, field: str) -> None:
    with pytest.raises(InputError) as refused:
        tiny_manifest.check(Address(model, version, 7, 5))
    assert refused.value.field == field


def test_labels_have_names(tiny_manifest: Manifest) -> None:
    assert [tiny_manifest.class_name(label) for label in (0, 2, None)] == ["a", "c", None]


def test_a_card_comes_back_from_its_file(tmp_path: Path, tiny_manifest: Manifest) -> None:
    manifest = tiny_manifest.model_copy(
        update={
            "batch_size": {"cpu": 4, "cuda": 64},
            "batch_size_measured": {"cpu": True, "cuda": False},
            "scores": (Score(name="fid", value=1.0 / 3.0, protocol="50k, é"),),
            "files": {"generator.ts": "0" * 64},
        }
    )
    (tmp_path / "manifest.json").write_bytes(dump_manifest(manifest))
    assert read_manifest(tmp_path) == manifest
    assert dump_manifest(read_manifest(tmp_path)) == dump_manifest(manifest)


def test_a_manifest_file_is_json_for_people(tiny_manifest: Manifest) -> None:
    data = dump_manifest(tiny_manifest)
    assert data.endswith(b"}\n") and data.count(b"\n") > 20
    assert json.loads(data)["image"] == {"channels": 1, "height": 8, "width": 8}


def change(manifest: Manifest, where: str, value: Any) -> bytes:
    content = json.loads(dump_manifest(manifest))
    *parents, last = where.split(".")
    inner = content
    for parent in parents:
        inner = inner[parent]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("name", "Not A Name"),
        ("name", None),
        ("version", "1"),
        ("schema_version", 3),
        ("latents.scheme", 2),
        ("latents.z_dim", 0),
        ("image.channels", 4),
        ("image.height", 0),
        ("training.kimg", -1),
        ("training.data.licence", None),
        ("labels", "abc"),
        ("surprise", 1),
        ("training.surprise", 1),
        ("batch_size.tpu", 8),
        pytest.param("batch_size.cpu", 0),
        pytest.param("batch_size.cpu", -4),
    ],
)
def test_a_wrong_manifest_is_refused_by_file_and_field(
    tmp_path: Path, tiny_manifest: Manifest, where: str, value: Any
) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(change(tiny_manifest, where, value))
    with pytest.raises(ArtifactError) as refused:
        read_manifest(tmp_path)
    assert refused.value.path == path
    assert where in refused.value.reason
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"name": "a"'])
def test_what_is_no_manifest_is_refused_by_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="is not a valid manifest: the file: ") as refused:
        read_manifest(tmp_path)
    assert refused.value.path == tmp_path / "manifest.json"


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing; this is not an artifact folder"):
        read_manifest(tmp_path / "nowhere")


def test_a_file_in_place_of_an_artifact_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactError):
        read_manifest(tmp_path / "file")


def test_a_folder_in_place_of_the_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ArtifactError):
        read_manifest(tmp_path)


def test_a_card_cannot_be_changed(tiny_manifest: Manifest) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        tiny_manifest.name = "other"


def test_images_are_grey_or_rgb() -> None:
    assert ImageShape(channels=3, height=1, width=2).channels == 3
    with pytest.raises(ValidationError):
        ImageShape(channels=2, height=1, width=2)  # type: ignore[arg-type]


def check(manifest: Manifest, query: str, start: str = "7/0") -> str:
    """Return what an address of a model is resolved to: the text behind its start."""
    return str(manifest.check(Address.parse(f"tiny/1.0.0/{start}?{query}"))).partition("?")[2]


def test_labels_that_are_left_out_of_a_mixture_are_drawn_from_the_stream_of_each_end(tiny_manifest: Manifest) -> None:
    first, second = (tiny_manifest.addresses(7, index)[0].label for index in (0, 1))
    assert (first, second) == (1, 2)
    assert check(tiny_manifest, "to=7.1&at=0.5") == "label=1&to=7.1&tolabel=2&at=0.5"
    assert check(tiny_manifest, "to=7.2&tolabel=0&at=0.5") == "label=1&to=7.2&tolabel=0&at=0.5"


def test_a_label_alone_is_that_of_both_ends(tiny_manifest: Manifest) -> None:
    assert check(tiny_manifest, "label=0&to=7.2&at=0.5") == "label=0&to=7.2&at=0.5"


def test_two_drawn_labels_that_are_equal_are_one(tiny_manifest: Manifest) -> None:
    seconds = [a for a in tiny_manifest.addresses(8, 0, 20) if a.label == 1]
    assert check(tiny_manifest, f"to=8.{seconds[0].index}&at=0.5") == f"label=1&to=8.{seconds[0].index}&at=0.5"


@given(
    st.none() | st.integers(0, 2),
    st.none() | st.integers(0, 2),
    st.tuples(st.integers(6, 8), st.integers(0, 2)),
    st.sampled_from([0.0001, 0.25, 0.9999]),
)
def test_a_resolved_address_is_resolved_to_itself(
    tiny_manifest: Manifest, label: int | None, tolabel: int | None, to: tuple[int, int], at: float
) -> None:
    try:
        resolved = tiny_manifest.check(Address("tiny", "1.0.0", 7, 0, label, to=to, tolabel=tolabel, at=at))
    except InputError:
        return
    assert resolved.label is not None
    assert tiny_manifest.check(Address.parse(str(resolved))) == resolved


def test_a_model_without_classes_mixes_latents_only(unconditional: Manifest) -> None:
    assert check(unconditional, "to=8.0&at=0.5") == "to=8.0&at=0.5"
    with pytest.raises(InputError, match=r"^tolabel: .*has no classes"):
        check(unconditional, "to=8.0&tolabel=1&at=0.5")


def test_a_model_of_schema_1_edits_no_feature_maps(tiny_manifest: Manifest) -> None:
    old = tiny_manifest.model_copy(update={"schema_version": 1})
    for query, field in (("paste=0_8.0_0_0_1_1", "paste"), ("u0.1=1", "units")):
        with pytest.raises(InputError, match=rf"^{field}: .*schema 1.*ganmint models upgrade"):
            check(old, query)


# Level 0 of the tiny model has 8 units of 4x4 cells, level 1 has 4 of 8x8.
@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("paste=2_8.0_0_0_1_1", "paste", "levels of this model are 0 to 1"),
        ("paste=9007199254740991_8.0_0_0_1_1", "paste", "levels of this model are 0 to 1"),
        ("u2.0=1", "u2.0", "levels of this model are 0 to 1"),
        ("u1.4=1", "u1.4", "units 0 to 3"),
        ("paste=0_8.0_0_0_5_1", "paste", "4 rows and 4 columns"),
        ("u1.0=1_0_0_1_9", "u1.0", "8 rows and 8 columns"),
        ("paste=0_8.0_0_0_4_4", "paste", "the whole map"),
        ("u1.0=1_0_0_8_8", "u1.0", "the whole map"),
        ("paste=0_8.0_3_0_0_1_1", "paste", "labels are 0 to 2"),
        # The label that is drawn for 7/0 is 1.
        ("paste=1_7.0_0_0_1_1", "paste", "of the image itself"),
        ("paste=1_7.0_1_0_0_1_1&paste=1_8.0_2_2_3_3", "paste", "of the image itself"),
    ],
)
def test_an_edit_that_the_generator_has_no_place_for_is_refused(
    tiny_manifest: Manifest, query: str, field: str, words: str
) -> None:
    with pytest.raises(InputError, match=rf"^{field}: .*{words}"):
        check(tiny_manifest, query)


@pytest.mark.parametrize(
    "query",
    [
        "label=2&paste=1_7.0_1_0_0_1_1",
        "label=1&z0=1&paste=1_7.0_1_0_0_1_1",
        "label=1&paste=1_7.0_1_0_0_1_1&u0.0=1",
        "label=1&paste=0_8.0_1_0_0_2_2&paste=0_7.0_1_1_1_3_3",
    ],
)
def test_a_paste_of_the_image_itself_may_put_back_what_was_changed(tiny_manifest: Manifest, query: str) -> None:
    assert check(tiny_manifest, query) == query


def test_the_label_of_a_paste_is_drawn_from_its_own_stream(tiny_manifest: Manifest, unconditional: Manifest) -> None:
    drawn = draw_label(8, 5, 8, 3)
    assert check(tiny_manifest, "label=0&paste=0_8.5_0_0_1_1") == f"label=0&paste=0_8.5_{drawn}_0_0_1_1"
    assert check(unconditional, "paste=0_8.5_0_0_1_1") == "paste=0_8.5_0_0_1_1"
    with pytest.raises(InputError, match=r"^paste: .*no classes"):
        check(unconditional, "paste=0_8.5_1_0_0_1_1")


def test_a_model_of_schema_1_mixes_latents_but_no_classes(tiny_manifest: Manifest) -> None:
    old = tiny_manifest.model_copy(update={"schema_version": 1})
    assert check(old, "label=1&to=8.0&at=0.5") == "label=1&to=8.0&at=0.5"
    for query in ("label=1&to=8.0&tolabel=2&at=0.5", "to=7.2&at=0.5"):
        with pytest.raises(InputError, match=r"^tolabel: .*schema 1.*ganmint models upgrade"):
            check(old, query)


@pytest.mark.parametrize(
    ("query", "start", "field"),
    [
        ("to=8.0&tolabel=3&at=0.5", "7/0", "tolabel"),
        # The label that is drawn for 7/0 is 1.
        ("to=7.0&tolabel=1&at=0.5", "7/0", "to"),
        ("z8=1", "7/0", "z8"),
        ("z1=1&z999999=1", "7/0", "z999999"),
        ("label=1", "z/" + encode_latent(pack_latent([0.5] * 7)), "latent"),
        ("psi=0.5", "z/" + encode_latent(pack_latent([0.5] * 8)), "label"),
    ],
)
def test_an_edit_that_the_model_cannot_make_is_refused_by_its_field(
    tiny_manifest: Manifest, query: str, start: str, field: str
) -> None:
    with pytest.raises(InputError) as refused:
        check(tiny_manifest, query, start)
    assert refused.value.field == field


def test_latents_that_are_written_out_have_addresses(tiny_manifest: Manifest) -> None:
    addresses = tiny_manifest.latent_addresses(np.full((2, 8), 0.1), "balanced", 0.5)
    assert [a.label for a in addresses] == [0, 1]
    assert addresses[1].latent == np.full(8, 0.1, "<f4").tobytes()
    assert [tiny_manifest.check(Address.parse(str(a))) for a in addresses] == addresses


@pytest.mark.parametrize(
    ("latents", "labels", "field"),
    [
        ([[0.0] * 8], None, "labels"),
        ([[0.0] * 8], 3, "labels"),
        ([[0.0] * 8, [0.0] * 7], 1, "latents[1]"),
        ([[0.0] * 8, []], 1, "latents[1]"),
        ([[0.0] * 8, 1.0], 1, "latents[1]"),
        ([["a"] * 8], 1, "latents[0]"),
        ([[0.0] * 7 + [np.nan]], 1, "latents[0][7]"),
        ([[0.0] * 7 + [np.inf]], 1, "latents[0][7]"),
        ([[17.0] + [0.0] * 7], 1, "latents[0][0]"),
        ([], 1, "n"),
    ],
)
def test_a_latent_that_is_none_of_the_model_is_refused_by_name(
    tiny_manifest: Manifest, latents: Any, labels: Any, field: str
) -> None:
    with pytest.raises(InputError) as refused:
        tiny_manifest.latent_addresses(latents, labels)
    assert refused.value.field == field
