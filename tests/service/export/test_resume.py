"""Run again: what is committed is kept, what is not is made, what is another job is refused."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from benchmarks.soak_export import kill_and_compare
from models.errors import ExportError
from models.files import sha256
from service.export import state, worker
from service.export.plan import FORMATS, ExportSpec
from service.export.target import Target
from tests.conftest import Command
from tests.service.export.conftest import tree


def stamps(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("format", FORMATS)
def test_a_finished_export_is_left_alone(format: str, export: Command, tmp_path: Path) -> None:
    export(tmp_path / "out", format=format)
    before = stamps(tmp_path)

    again = export(tmp_path / "out", format=format)

    assert again.code == 0 and "3 of 3 shards are committed already" in again.output
    assert stamps(tmp_path) == before


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_lost_or_cut_short_is_made_again(format: str, export: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out, format=format)
    whole = tree(out)
    pictures = [name for name in whole if name.endswith(".png")]
    for name in sorted(whole.keys() - set(pictures[3:])):
        if name.endswith(("job.json", "model.json")):
            continue
        path = out / name
        path.unlink() if len(name) % 2 else path.write_bytes(whole[name][:-1])

        assert export(out, format=format).code == 0
        assert tree(out) == whole, name


def test_leftovers_of_a_killed_writer_are_removed(export: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out)
    whole = tree(out)
    left = out / ".ganmint" / "aside" / "00001~123-0" / "data"
    left.mkdir(parents=True)
    (left / "train-00001.tar").write_bytes(b"half")
    (out / ".ganmint" / "shards" / "00001.json").unlink()
    (out / "data" / "train-00001.tar").write_bytes(b"half")

    assert export(out).code == 0
    assert tree(out) == whole and not left.exists()


def test_a_groups_run_leaves_the_drafts_of_other_groups_alone(export: Command, tmp_path: Path) -> None:
    theirs = tmp_path / "out" / ".ganmint" / "aside" / "00001~123-0"
    theirs.mkdir(parents=True)

    assert export(tmp_path / "out", "--shard", "0/2").code == 0
    assert theirs.exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--seed", "2"), "--seed is 1 there, 2 here"),
        (("--psi", "0.5"), "--psi is 1.0 there, 0.5 here"),
        (("--labels", "2"), "--labels is balanced there, 2 here"),
        (("--image-format", "webp"), "--image-format is png there, webp here"),
        (("--shard-size", "10"), "--shard-size is 20 there, 10 here"),
        (("--index", "1", "--split", "test"), "--index is 0 there, 1 here; --split is train there, test here"),
        (("--format", "parquet"), "--format is webdataset there, parquet here"),
    ],
)
def test_a_changed_job_is_refused_naming_the_difference(
    more: tuple[str, ...], words: str, export: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(out)
    before = stamps(out)

    refused = export(out, *more)

    assert refused.code == 1
    assert refused.errors.startswith(f"Error: {out}: holds another export: {words}. Give another --out")
    assert stamps(out) == before


@pytest.mark.parametrize("format", FORMATS)
def test_growth_leaves_what_is_committed_untouched(format: str, export: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(out, format=format)
    before = {p: sha256(p) for p in out.rglob("*") if p.is_file() and p.parent.name not in ("out", ".ganmint")}
    times = stamps(out)

    grown = export(out, format=format, count=90)

    assert grown.code == 0 and "extending 50 images to 90" in grown.output
    assert all(sha256(p) == digest and p.stat().st_mtime_ns == times[str(p)] for p, digest in before.items())
    written = json.loads((out / "manifest.json").read_text())
    assert written["images"] == 90 and [s["count"] for s in written["shards"]] == [20, 20, 10, 10, 20, 10]
    assert [row["images"] for row in written["labels"]] == [30, 30, 30]
    made_by = (out / "README.md").read_text().partition("Made by")[2]
    assert made_by.index("--count 50") < made_by.index(" and then ") < made_by.index("--count 90")


def test_growth_from_whole_shards_gives_the_tree_of_doing_it_at_once(export: Command, tmp_path: Path) -> None:
    for count in (40, 60, 90):
        assert export(tmp_path / "grown", count=count).code == 0
    export(tmp_path / "once", count=90)

    assert tree(tmp_path / "grown") == tree(tmp_path / "once")


def test_an_export_does_not_shrink(export: Command, tmp_path: Path) -> None:
    export(tmp_path / "out")

    refused = export(tmp_path / "out", count=49)

    assert refused.code == 2
    assert "--count: 49 is less than the 50 images that this export has" in refused.errors


@pytest.mark.parametrize("count", [50, 90])
def test_manifest_json_is_away_while_an_export_is_repaired_or_extended(
    count: int, export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(out)
    whole = tree(out)
    (out / "data" / "train-00001.tar").unlink()

    def failing(*arguments: object, **options: object) -> None:
        raise ExportError("a shard", "failed")

    with monkeypatch.context() as patch:
        patch.setattr(worker, "make_shard", failing)
        failed = export(out, count=count)
    assert failed.code == 1 and "a shard: failed" in failed.errors
    assert not (out / "manifest.json").exists()
    assert export(out, count=count).code == 0
    assert (count != 50) or tree(out) == whole


def test_manifest_json_is_away_once_finish_has_found_damage(export: Command, command: Command, tmp_path: Path) -> None:
    export(tmp_path / "out")
    path = tmp_path / "out" / "data" / "train-00001.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    assert "shard 1 is damaged" in command("dataset", "finish", str(tmp_path / "out")).errors
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_of_two_exports_that_begin_at_the_same_moment_one_is_refused(
    export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's job.json comes after this one has looked."""
    out = tmp_path / "out"
    export(tmp_path / "other", "--seed", "2")
    theirs = (tmp_path / "other" / state.SPEC_FILE).read_bytes()
    create = Target.create

    def late(target: Target, name: str, data: bytes) -> bool:
        if name == state.SPEC_FILE:
            create(target, name, theirs)
        return create(target, name, data)

    monkeypatch.setattr(Target, "create", late)
    refused = export(out)

    assert refused.code == 1 and "another export has begun here at the same time" in refused.errors
    assert (out / state.SPEC_FILE).read_bytes() == theirs
    assert not (out / "data").exists()


def test_an_extension_is_not_shrunk_by_one_that_looked_before(
    export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(out)
    resolve = state.resolve_spec

    def slow(target: Target, requested: ExportSpec) -> tuple[ExportSpec, list[str]]:
        resolved = resolve(target, requested)
        with monkeypatch.context() as patch:
            patch.setattr(state, "resolve_spec", resolve)
            assert export(out, "--shard", "0/9", count=90).code == 0
        return resolved

    monkeypatch.setattr(state, "resolve_spec", slow)
    refused = export(out, count=60)

    assert refused.code == 1 and "has been extended to 90 images meanwhile" in refused.errors
    assert json.loads((out / state.SPEC_FILE).read_text())["counts"] == [50, 90]


@pytest.mark.parametrize("name", ["mine.txt", ".hidden", "data/train-00000.tar"])
def test_a_folder_with_other_things_in_it_is_refused(name: str, export: Command, tmp_path: Path) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")

    refused = export(tmp_path / "out")

    assert refused.code == 1
    assert "is not empty and holds no export; give a new or empty folder" in refused.errors
    assert tree(tmp_path / "out") == {name: b"mine"}


@pytest.mark.parametrize("inside", ["", "lost+found"])
def test_an_empty_folder_or_volume_will_do(inside: str, export: Command, tmp_path: Path) -> None:
    (tmp_path / "out" / inside).mkdir(parents=True)

    assert export(tmp_path / "out").code == 0


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff"])
def test_a_damaged_job_is_refused_by_its_files_name(damage: bytes, export: Command, tmp_path: Path) -> None:
    export(tmp_path / "out")
    (tmp_path / "out" / ".ganmint" / "job.json").write_bytes(damage)

    refused = export(tmp_path / "out")

    assert refused.code == 1
    assert ".ganmint/job.json: does not describe an export" in refused.errors


def test_an_interrupted_export_ends_with_130_and_goes_on(
    export: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(tmp_path / "calm")
    make, calls = worker.make_shard, []

    def interrupted(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return make(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "make_shard", interrupted)
    stopped = export(tmp_path / "out")
    assert stopped.code == 130
    assert "Interrupted. 1 of 3 shards are committed and kept; run the same command again" in stopped.output
    monkeypatch.setattr(worker, "make_shard", make)
    again = export(tmp_path / "out")

    assert "1 of 3 shards are committed already" in again.output
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")


def test_a_thread_that_runs_ahead_passes_its_error_on_and_ends() -> None:
    def failing() -> Generator[int, None, None]:
        yield 1
        raise ExportError("x", "y")

    seen = []
    with pytest.raises(ExportError):
        for item in worker.run_ahead(failing()):
            seen.append(item)
    assert seen == [1]


def test_threads_run_only_so_far_ahead_and_end_with_their_reader() -> None:
    made = []
    closed = []

    def endless() -> Generator[int, None, None]:
        try:
            for k in range(10**9):
                made.append(k)
                yield k
        finally:
            closed.append(True)

    reader = worker.run_ahead(endless())
    assert [next(reader) for _ in range(5)] == [0, 1, 2, 3, 4]
    reader.close()
    assert closed == [True]
    # The queue, one in the maker's hand, one in the reader's.
    assert len(made) <= 5 + worker.AHEAD + 2


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """make soak-export does the same with many more kills."""
    arguments = ["tiny", "--count", "12000", "--shard-size", "1000", "--labels", "balanced", "--device", "cpu"]

    assert kill_and_compare([*arguments, "--format", "webdataset", "--workers", "2"], tmp_path, 5, 1) == 5
