"""The plan: pure, covering, stable under growth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InputError
from models.manifest import ImageShape, Manifest
from service.export import plan
from service.export.plan import ExportContext, ExportSpec, Format

COUNTS = st.integers(1, 500)
SIZES = st.integers(1, 60)


def make_spec(count: int, size: int, **more: object) -> ExportSpec:
    values: dict[str, object] = {
        "model": "tiny",
        "version": "1.0.0",
        "model_digest": "0" * 64,
        "seed": 1,
        "counts": (count,),
        "labels": "balanced",
        "format": "webdataset",
        "image_format": "png",
        "shard_size": size,
    }
    return ExportSpec.model_validate({**values, **more})


@given(COUNTS, SIZES)
def test_shards_cover_every_image_once_in_order(count: int, size: int) -> None:
    shards = make_spec(count, size).shards()
    assert [k for s in shards for k in range(s.first, s.first + s.count)] == list(range(count))
    assert [s.number for s in shards] == list(range(len(shards)))
    assert all(1 <= s.count <= size for s in shards) and len(shards) == -(-count // size)


@given(st.lists(COUNTS, min_size=2, max_size=4).map(sorted), SIZES)
def test_growth_keeps_every_shard_that_there_is(counts: list[int], size: int) -> None:
    grown = make_spec(counts[0], size)
    for count in counts[1:]:
        before = grown.shards()
        grown = grown.extend(count)
        assert grown.shards()[: len(before)] == before
        assert grown.count == count and sum(s.count for s in grown.shards()) == count


@given(st.integers(1, 8), st.integers(9, 20), SIZES)
def test_growth_from_whole_shards_is_the_same_as_doing_it_at_once(first: int, then: int, size: int) -> None:
    assert make_spec(first * size, size).extend(then * size) == make_spec(then * size, size)


def test_an_export_does_not_shrink() -> None:
    with pytest.raises(InputError, match="--count: 10 is less than the 20 images"):
        make_spec(20, 5).extend(10)


@given(COUNTS, SIZES, st.integers(1, 20))
def test_groups_share_the_shards_out(count: int, size: int, parts: int) -> None:
    shards = make_spec(count, size).shards()
    groups = [plan.select_group(shards, part, parts) for part in range(parts)]
    assert sorted((s for g in groups for s in g), key=lambda s: s.number) == shards
    assert max(map(len, groups)) - min(map(len, groups)) <= 1


@pytest.mark.parametrize(("text", "group"), [("0/16", (0, 16)), ("15/16", (15, 16)), ("0/1", (0, 1))])
def test_a_group_is_a_kubernetes_completion_index(text: str, group: tuple[int, int]) -> None:
    assert plan.parse_group(text) == group


@pytest.mark.parametrize("text", ["16/16", "17/16", "-1/16", "0/0", "3", "a/b", "1/2/3", "", " 1/2", "1/2\n", "٣/١٦"])
def test_what_is_no_group_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--shard: must be I/N with I from 0 to N - 1"):
        plan.parse_group(text)


@given(COUNTS, SIZES)
def test_chunks_cover_a_shard(count: int, size: int) -> None:
    shard = plan.Shard(0, 7, count)
    assert [first + k for first, n in plan.chunks(shard, size) for k in range(n)] == list(range(7, 7 + count))


@pytest.mark.parametrize(("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2, 7, 9, 10], "0-2, 7, 9-10")])
def test_numbers_are_told_in_short(numbers: list[int], text: str) -> None:
    assert plan.format_ranges(numbers) == text


def test_a_difference_is_told_by_option_and_both_values() -> None:
    there, here = make_spec(10, 5), make_spec(20, 4, seed=2, psi=0.5, labels=None)
    assert plan.find_differences(there, here) == [
        "--seed is 1 there, 2 here",
        "--labels is balanced there, not set here",
        "--psi is 1.0 there, 0.5 here",
        "--shard-size is 5 there, 4 here",
    ]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"counts": (0,)}, "--count"),
        ({"shard_size": 0}, "--shard-size"),
        ({"counts": (10**6,), "shard_size": 1}, "--shard-size"),
        ({"format": "imagefolder", "shard_size": 10_001}, "--shard-size"),
        ({"seed": -1}, "seed"),
        ({"index": 2**53 - 5}, "index"),
        ({"labels": 3}, "labels"),
        ({"psi": 0.0}, "psi"),
    ],
)
def test_a_job_that_cannot_be_done_is_refused_by_option(
    values: dict[str, object], field: str, tiny_manifest: Manifest
) -> None:
    with pytest.raises(InputError) as refused:
        plan.check_spec(ExportContext(make_spec(10, 5, **values), tiny_manifest))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"image": ImageShape(channels=3, height=8, width=8)}, "RGB"),
        ({"class_names": ()}, "no labels"),
        ({"class_names": tuple(f"class {k}" for k in range(257))}, "257 classes"),
    ],
)
def test_idx_takes_only_what_mnist_has(changes: dict[str, object], word: str, tiny_manifest: Manifest) -> None:
    idx: Format = "idx"
    labels = "balanced" if changes.get("class_names", True) else None
    spec = make_spec(10, 5, format=idx, image_format=None, labels=labels)
    with pytest.raises(InputError, match=f"--format: .* has {word}"):
        plan.check_spec(ExportContext(spec, tiny_manifest.model_copy(update=changes)))
