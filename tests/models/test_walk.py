"""Walks: the addresses of their frames, and the videos that the command makes of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from models import artifact, images, store
from models.address import Address
from models.errors import InputError
from models.latents import pack_latent
from models.level_edits import UnitEdit
from models.manifest import Manifest
from models.walk import plan_walk
from tests.conftest import Command

A, B, C = (Address("tiny", "1.0.0", seed, 0, label) for seed, label in ((7, 0), (8, 1), (9, 1)))
WRITTEN = Address("tiny", "1.0.0", label=2, latent=pack_latent([0.5] * 8))
STOPS = ("tiny/1.0.0/7/0?label=0", "tiny/1.0.0/8/0?label=1")


def texts(addresses: list[Address]) -> list[str]:
    return [str(address).removeprefix("tiny/1.0.0/") for address in addresses]


def test_a_walk_goes_from_stop_to_stop_in_even_steps() -> None:
    assert texts(plan_walk([A, B, C], 5)) == [
        "7/0?label=0",
        "7/0?label=0&to=8.0&tolabel=1&at=0.5",
        "8/0?label=1",
        "8/0?label=1&to=9.0&at=0.5",
        "9/0?label=1",
    ]


def test_a_loop_leads_back_without_showing_the_first_stop_twice() -> None:
    assert texts(plan_walk([A, B], 6, is_loop=True)) == [
        "7/0?label=0",
        "7/0?label=0&to=8.0&tolabel=1&at=0.3333",
        "7/0?label=0&to=8.0&tolabel=1&at=0.6667",
        "8/0?label=1",
        "8/0?label=1&to=7.0&tolabel=0&at=0.3333",
        "8/0?label=1&to=7.0&tolabel=0&at=0.6667",
    ]


def test_a_latent_that_is_written_out_may_be_either_end() -> None:
    there, back = (plan_walk(stops, 5) for stops in ([A, WRITTEN], [WRITTEN, A]))
    assert there == back[::-1]
    assert (there[1].latent, there[1].label, there[1].to, there[1].at) == (WRITTEN.latent, 2, (7, 0), 0.75)


def test_psi_dimensions_and_directions_go_evenly_from_stop_to_stop() -> None:
    start = Address("tiny", "1.0.0", 7, 0, 0, z=((2, -2.0),), directions=(("tilt", 1.0),))
    end = Address("tiny", "1.0.0", 8, 0, 0, 0.5, z=((2, 2.0),), directions=(("tilt", -1.0), ("width", 0.1)))
    assert texts(plan_walk([start, end], 5)) == [
        "7/0?label=0&z2=-2&dir.tilt=1",
        "7/0?label=0&psi=0.875&to=8.0&at=0.25&z2=-1&dir.tilt=0.5&dir.width=0.025",
        "7/0?label=0&psi=0.75&to=8.0&at=0.5&z2=0&dir.width=0.05",
        "7/0?label=0&psi=0.625&to=8.0&at=0.75&z2=1&dir.tilt=-0.5&dir.width=0.075",
        "8/0?label=0&psi=0.5&z2=2&dir.tilt=-1&dir.width=0.1",
    ]


def test_a_walk_may_stay_at_one_latent() -> None:
    stops = [replace(A, z=((0, value),)) for value in (-2.0, 1.0)]
    assert texts(plan_walk(stops, 4)) == [f"7/0?label=0&z0={value}" for value in (-2, -1, 0, 1)]
    stops = [WRITTEN, replace(WRITTEN, directions=(("tilt", 2.0),))]
    assert [dict(frame.directions).get("tilt", 0) for frame in plan_walk(stops, 5)] == [0, 0.5, 1, 1.5, 2]


def test_what_two_stops_share_keeps_all_its_digits() -> None:
    assert {frame.psi for frame in plan_walk([replace(A, psi=0.123456), replace(B, psi=0.123456)], 9)} == {0.123456}
    assert plan_walk([replace(A, psi=0.00001), replace(A, psi=0.00002)], 3)[1].psi == 0.0001


def test_the_frames_of_a_long_walk_are_valid_and_even(tiny_manifest: Manifest) -> None:
    frames = plan_walk([A, B, C], 997)
    assert [tiny_manifest.check(Address.parse(str(frame))) for frame in frames] == frames
    starts = {A: 0, B: 1, C: 2}
    positions = [starts[Address(f.model, f.version, f.seed, f.index, f.label)] + (f.at or 0.0) for f in frames]
    exact = [float(Fraction(2 * k, 996)) for k in range(997)]
    assert np.abs(np.array(positions) - exact).max() < 0.0000501


@pytest.mark.parametrize(
    ("stops", "num_frames", "field"),
    [
        ([A], 5, "stops"),
        ([A, A], 5, "stops[0]"),
        ([A, Address("tiny", "2.0.0", 7)], 5, "stops[1]"),
        ([A, Address("tiny", "1.0.0", 7, 1, 0, z=((0, 1),))], 5, "stops[1]"),
        ([A, Address("tiny", "1.0.0", 7, 1, 0, units=(UnitEdit(1, 2, 0),))], 5, "stops[1]"),
        ([A, Address("tiny", "1.0.0", 7, to=(9, 0), at=0.5)], 5, "stops[1]"),
        ([A, WRITTEN, Address("tiny", "1.0.0", label=1, latent=WRITTEN.latent)], 5, "stops[1]"),
        ([A, B, C], 2, "frames"),
        ([A, B], 10_001, "frames"),
    ],
)
def test_a_walk_that_cannot_be_is_refused(stops: list[Address], num_frames: int, field: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_walk(stops, num_frames)
    assert caught.value.field == field


@pytest.fixture
def stored(store_home: Path, tiny_artifact: Path) -> None:
    store.install(tiny_artifact)


@pytest.mark.usefixtures("stored")
def test_an_mp4_shows_each_frame_at_its_time(tmp_path: Path, command: Command, tiny_artifact: Path) -> None:
    out = tmp_path / "walk.mp4"
    result = command("walk", *STOPS, "--seconds", "0.5", "--fps", "12", "--size", "64", "--out", str(out))
    assert result.code == 0 and "6 frames" in result.output, result.errors
    minted = artifact.load(tiny_artifact).mint(plan_walk([A, B], 6))
    with av.open(out) as video:
        assert video.metadata["comment"] == images.SOURCE_TYPE
        shown = [frame.to_ndarray(format="gray") for frame in video.decode(video=0)]
        assert video.duration is not None and video.duration / av.time_base == pytest.approx(0.5, abs=0.01)
    assert len(shown) == 6
    for frame, image in zip(shown, minted):
        # Lossy, but nearer to its own image than to any other.
        distances = [np.abs(frame.astype(float) - np.kron(other[..., 0], np.ones((8, 8)))).mean() for other in minted]
        assert int(np.argmin(distances)) == [np.array_equal(image, other) for other in minted].index(True)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_webp_and_gif_repeat_last_as_long_as_asked_and_are_marked(
    suffix: str, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / f"walk.{suffix}"
    arguments = ("--seconds", "0.5", "--fps", "24", "--loop", "--resample", "lanczos", "--out", str(out))
    assert command("walk", *STOPS, *arguments).code == 0
    with Image.open(out) as video:
        assert video.size == (256, 256) and video.info["loop"] == 0
        marks = video.info["xmp"] if suffix == "webp" else video.info["comment"]
        durations_ms = []
        for frame in range(video.n_frames):
            video.seek(frame)
            video.load()
            durations_ms.append(video.info["duration"])
    assert images.SOURCE_TYPE.encode() in marks
    assert sum(durations_ms) == 500 and len(durations_ms) == 12


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tiny/1.0.0/7/0", "tiny/1.0.0/8/x", "--out", "w.gif"), "ADDRESS[1].index: must be a whole number"),
        (
            ("tiny/1.0.0/7/0", "tiny/1.0.0/8/0?label=cat", "--out", "w.gif"),
            "ADDRESS[1].label: must be from 0 to 2 (a, b, c), got 'cat'",
        ),
        (("tiny/1.0.0/7/0?label=9", "tiny/1.0.0/8/0", "--out", "w.gif"), "ADDRESS[0].label: must be from 0 to 2"),
        ((*STOPS, "--out", "w.avi"), "--out: must end in .mp4, .webp, .gif"),
        ((*STOPS, "--size", "33", "--out", "w.mp4"), "--size: must make even sides for MP4, got 33x33"),
        ((*STOPS, "--fps", "60", "--out", "w.gif"), "--fps: must be at most 50 for GIF"),
        ((*STOPS, "--size", "4096", "--seconds", "60", "--out", "w.webp"), "--size: 1440 frames of 4096x4096 pixels"),
        ((*STOPS, "--seconds", "1000", "--out", "w.mp4"), "--seconds times --fps: must be from 2"),
    ],
)
def test_refusals_name_the_option_and_write_nothing(
    arguments: tuple[str, ...], words: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    result = command("walk", *arguments)
    assert result.code == 2 and words in result.errors
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("stored")
def test_mp4_without_its_package_says_what_to_install(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    result = command("walk", *STOPS, "--out", str(tmp_path / "walk.mp4"))
    assert result.code == 1 and ".venv/bin/pip install -c constraints.txt '.[video]'" in result.errors
    assert not (tmp_path / "walk.mp4").exists()
