"""A revision has the weights of another version, and more beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ganmint
from models import artifact, store
from models.artifact_files import DIRECTIONS, TRAINING_STATE, WEIGHTS
from models.directions import Directions, dump_directions
from models.errors import ArtifactError, InputError
from models.files import sha256
from models.manifest import MANIFEST_FILE, dump_manifest, read_manifest
from models.revision import revise
from tests.model_copies import DIRECTIONS_OF_TINY, revise_with_directions


def test_a_revision_makes_the_same_images_at_addresses_of_its_own(store_home: Path, tiny_artifact: Path) -> None:
    revised = revise_with_directions(tiny_artifact)
    assert (revised.name, revised.version) == ("tiny", "1.1.0")
    old, new = read_manifest(tiny_artifact), read_manifest(revised.path)
    assert (new.upgraded_from, new.directions) == ("1.0.0", ("tilt", "wide-2"))
    same = {"version", "upgraded_from", "directions", "files"}
    assert new.model_dump(exclude=same) == old.model_dump(exclude=same)
    assert {name for name in new.files if new.files[name] != old.files.get(name)} == {
        *("golden.npz", "samples.png", "card.md", DIRECTIONS)
    }
    assert "- directions: tilt, wide-2" in (revised.path / "card.md").read_text()
    before, after = (
        ganmint.load(folder, device="cpu").mint(seed=3, n=5).images for folder in (tiny_artifact, revised.path)
    )
    np.testing.assert_array_equal(before, after)
    # Of the first version again: the store has a newer one.
    assert revise_with_directions(tiny_artifact).version == "1.2.0"


def test_what_a_version_has_stays_in_a_revision(tmp_path: Path, store_home: Path, tiny_artifact: Path) -> None:
    first = revise_with_directions(tiny_artifact, to=tmp_path / "first").path
    state = b"any networks"
    (first / TRAINING_STATE).write_bytes(state)
    manifest = read_manifest(first)
    manifest = manifest.model_copy(update={"files": {**manifest.files, TRAINING_STATE: sha256(first / TRAINING_STATE)}})
    (first / MANIFEST_FILE).write_bytes(dump_manifest(manifest))
    second = revise(artifact.read(first), {}, to=tmp_path / "second").path
    assert (second / DIRECTIONS).read_bytes() == (first / DIRECTIONS).read_bytes()
    assert (second / TRAINING_STATE).read_bytes() == state
    assert store.list_versions("tiny") == []
    artifact.load(second)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path, tiny_artifact: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(ArtifactError, match="exists already"):
        revise_with_directions(tiny_artifact, to=tmp_path / "taken")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is not valid"),
        (dump_directions(DIRECTIONS_OF_TINY).replace(b"wide-2", b"wide-3"), "wide-3"),
        (dump_directions(DIRECTIONS_OF_TINY).replace(b"wide-2", b"a"), "order of their names"),
        (dump_directions(DIRECTIONS_OF_TINY).replace(b"0.6", b"0.7"), "must have length 1"),
        (dump_directions(DIRECTIONS_OF_TINY).replace(b"-0.8,", b"-0.8,0,"), "has 9 numbers"),
    ],
)
def test_damaged_directions_are_refused(tmp_path: Path, tiny_artifact: Path, content: bytes, words: str) -> None:
    with pytest.raises(ArtifactError, match=words) as refused:
        revise(artifact.read(tiny_artifact), {DIRECTIONS: content}, {"directions": ("tilt", "wide-2")}, tmp_path / "m")
    assert Path(refused.value.path).name == DIRECTIONS
    assert not (tmp_path / "m").exists()


def test_directions_without_names_in_the_manifest_are_refused(tmp_path: Path, tiny_artifact: Path) -> None:
    with pytest.raises(ArtifactError, match="names directions"):
        revise(
            artifact.read(tiny_artifact), {DIRECTIONS: dump_directions(Directions(directions=()))}, to=tmp_path / "m"
        )


def test_a_direction_that_is_unknown_is_refused_with_the_known_ones(tmp_path: Path, tiny_artifact: Path) -> None:
    address = ganmint.Address.parse("tiny/1.1.0/7/0?dir.smile=1")
    manifest = read_manifest(revise_with_directions(tiny_artifact, to=tmp_path / "m").path)
    with pytest.raises(InputError, match=r"^dir.smile: the directions of tiny 1.1.0 are: tilt, wide-2$"):
        manifest.check(address)
    # It is moved, so a paste of the image that is not moved changes something.
    own = ganmint.Address.parse("tiny/1.1.0/7/0?label=1&dir.tilt=1&paste=1_7.0_1_0_0_1_1")
    assert manifest.check(own) == own
    with pytest.raises(InputError, match="none"):
        manifest.model_copy(update={"directions": ()}).check(address)


def test_the_weights_are_the_same_file(tmp_path: Path, tiny_artifact: Path) -> None:
    folder = revise_with_directions(tiny_artifact, to=tmp_path / "m").path
    assert (folder / WEIGHTS).read_bytes() == (tiny_artifact / WEIGHTS).read_bytes()
