"""Units are named after what they agree with, and ranked by what images lose without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import artifact, store
from models.address import Address
from models.artifact_files import ONNX_FILE
from models.files import sha256
from models.manifest import read_manifest
from models.runtime.onnx_levels import GeneratorInput, OnnxLevels
from models.units import Units
from tests.conftest import Command
from training.dissection import concepts
from training.dissection.units import choose_share, compute_quality_ratio, dissect, find_high, measure_agreement

NINE = """
......
.####.
.#..#.
.####.
....#.
....#.
......
"""


def draw(text: str) -> NDArray[np.uint8]:
    rows = text.split()
    return np.array([[255 * (cell == "#") for cell in row] for row in rows], np.uint8)[None, ..., None]


def test_parts_of_strokes_are_found() -> None:
    parts = concepts.find_stroke_parts(draw(NINE))
    assert parts["ink"].sum() == 12
    assert np.argwhere(parts["hole"][0]).tolist() == [[2, 2], [2, 3]]
    # Around the foot of the nine, and around where it leaves the ring.
    assert parts["end"][0, 5, 4] and not parts["end"][0, :3].any()
    assert parts["crossing"][0, 3, 4] and not parts["crossing"][0, 0].any()


def test_thinning_leaves_a_line_and_a_gap_opens_a_hole() -> None:
    block = np.zeros((1, 12, 12), bool)
    block[:, 2:10, 4:8] = True
    line = concepts.thin(block)
    assert np.argwhere(line[0]).tolist() == [[row, 5] for row in range(4, 8)]
    ring = draw(NINE)[..., 0] > 0
    ring[0, 1, 2] = False
    assert not concepts.find_holes(ring).any()


def test_faces_have_regions_and_other_images_have_no_concepts() -> None:
    faces = np.full((1, 64, 64, 3), 128, np.uint8)
    masks = concepts.find_concepts(faces, True).masks
    # The eyes and the corners of the mouth of the template.
    for x, y, name in ((20.4, 19.8, "eyes"), (43.6, 19.8, "eyes"), (21.9, 43, "mouth"), (42.1, 43, "mouth")):
        assert [k for k, mask in masks.items() if mask[0, int(y), int(x)]] == [name]
    assert concepts.find_concepts(faces, False).masks == {}
    assert "hole" in concepts.find_concepts(draw(NINE), False).masks


def test_agreement_counts_more_than_chance() -> None:
    mask = np.zeros((2, 10, 10), bool)
    mask[:, :2] = True
    assert measure_agreement(mask, mask).iou == 1
    halves = np.zeros_like(mask)
    halves[:, :, :5] = True
    independent = measure_agreement(halves, mask)
    assert independent.iou == pytest.approx(independent.chance) and not independent.is_enough
    assert not measure_agreement(np.zeros_like(mask), np.zeros_like(mask)).is_enough
    assert compute_quality_ratio(mask, mask) == pytest.approx(1)
    assert compute_quality_ratio(halves, mask) == pytest.approx(0, abs=1e-9)


def test_the_share_of_high_cells_is_that_of_the_concept() -> None:
    maps = np.random.RandomState(0).random((4, 20, 20)).astype(np.float32)
    for share in (0.01, 0.1, 0.4):
        high = find_high(maps, share)
        assert high.mean() == pytest.approx(share, abs=0.005)
        assert choose_share(maps, high) == share


def test_effects_are_what_the_address_without_the_unit_shows(tiny_artifact: Path) -> None:
    files = artifact.read(tiny_artifact)
    sampler = artifact.load_files(files)
    levels = OnnxLevels(files.get(ONNX_FILE), tiny_artifact / ONNX_FILE, files.manifest)
    found = dissect(sampler, levels, 3, 2, has_aligned_faces=False)
    assert [(level.level, level.side, len(level.units)) for level in found.units.levels] == [(0, 4, 8), (1, 8, 4)]
    addresses = sampler.manifest.addresses(20_270_103, 0, 3)
    for level in found.units.levels:
        effects = [unit.effect for unit in level.units]
        assert effects == sorted(effects, reverse=True) and effects[0] > 0
        unit = level.units[0]
        texts = [f"{a}&u{level.level}.{unit.unit}=0" for a in map(str, addresses[:2])]
        edited = sampler.mint([sampler.manifest.check(Address.parse(text)) for text in texts])
        change = np.abs(edited.astype(int) - found.images[:2]).mean()
        assert unit.effect == pytest.approx(change, abs=0.001)
    assert np.abs(sampler.mint(addresses).astype(int) - found.images).max() <= 1


def test_a_unit_that_is_a_concept_has_its_name(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = artifact.read(tiny_artifact)
    sampler = artifact.load_files(files)
    levels = OnnxLevels(files.get(ONNX_FILE), tiny_artifact / ONNX_FILE, files.manifest)
    inputs = GeneratorInput(*(rows[:1] for rows in sampler.draw_inputs(sampler.manifest.addresses(1, 0, 1))))
    ready = levels.compute_maps(inputs)[1]

    def compute_maps(image: GeneratorInput) -> list[NDArray[np.float32]]:
        first = np.zeros((1, 8, 4, 4), np.float32)
        # The mouth of a face.
        first[:, 5, 2, 1:3] = 1 + image.z[0, 0] ** 2
        return [first, ready]

    monkeypatch.setattr(levels, "compute_maps", compute_maps)
    units = dissect(sampler, levels, 4, 1, has_aligned_faces=True).units
    named = {unit.unit: unit.concept for unit in units.levels[0].units}
    assert named.pop(5) == "mouth" and set(named.values()) == {None}
    monkeypatch.setattr("training.dissection.units.MIN_IOU", 1.1)
    units = dissect(sampler, levels, 4, 1, has_aligned_faces=True).units
    assert {unit.concept for level in units.levels for unit in level.units} == {None}


def test_the_command_writes_units_and_a_report(
    store_home: Path, tiny_artifact: Path, tmp_path: Path, command: Command
) -> None:
    store.install(tiny_artifact)
    report = tmp_path / "units.html"
    result = command("dissect", "tiny", "--images", "4", "--changed-images", "1", "--out", str(report))
    assert result.code == 0, result.errors
    folder = store.find_model("tiny/1.1.0").path
    units = Units.model_validate_json((folder / "units.json").read_bytes())
    assert units.images == 4 and [len(level.units) for level in units.levels] == [8, 4]
    assert read_manifest(folder).files["units.json"] == sha256(folder / "units.json")
    assert "units.json" not in result.errors
    again = ("dissect", "tiny/1.1.0", "--images", "4", "--changed-images", "1", "--out", str(report))
    warned = command(*again).errors
    assert "tiny 1.1.0 has a units.json; the new version has another in its place" in warned
    assert "is what the service and /v1/of serve next. --to FOLDER" in warned
    aside = command(*again, "--to", str(tmp_path / "aside")).errors
    assert "has a units.json" in aside and "/v1/of" not in aside
    assert [stored.version for stored in store.list_versions("tiny")] == ["1.0.0", "1.1.0", "1.2.0"]
    page = report.read_text()
    assert page.count("data:image/png") >= 6 and "http" not in page
    refused = command("dissect", "tiny", "--out", "units.txt")
    assert refused.code == 2 and "--out: must end in .html" in refused.errors
