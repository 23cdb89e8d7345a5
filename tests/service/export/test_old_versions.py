"""An export of version 0.2 (tests/data/v0.2) goes on: its definition and markers are read, and mean the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from service.export import drafts, finish, parts, state, target
from service.export.parts import Part
from service.export.plan import ExportSpec
from service.export.state import ShardCommit
from service.export.target import Target

OLD = Path(__file__).parents[2] / "data" / "v0.2" / "export"
DIGEST = "e7822c08ec56da7e0728dde60ac36e369877236be67009cb64d1722ff80f5b7a"


class LaterSpec(ExportSpec):
    tint: str | None = None


class LaterPart(Part):
    mirrored: bool = False


class LaterCommit(ShardCommit):
    parts: dict[str, LaterPart]  # type: ignore[assignment]
    seconds: float = 0.0


@pytest.fixture(params=["today's fields", "a later version's fields"])
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A copy of the old export."""
    shutil.copytree(OLD, tmp_path / "old")
    if "later" in request.param:
        monkeypatch.setattr(state, "ExportSpec", LaterSpec)
        monkeypatch.setattr(state, "ShardCommit", LaterCommit)
        for module in (parts, drafts, target):
            monkeypatch.setattr(module, "Part", LaterPart)
    return Target(str(tmp_path / "old"))


def test_its_shards_count_as_committed(old: Target) -> None:
    spec = state.read_context(old).spec

    assert state.spec_digest(spec) == DIGEST
    assert sorted(state.read_commits(old, spec, spec.shards())) == [0, 1, 2, 3]


def test_it_is_written_as_it_was(old: Target) -> None:
    spec = state.read_context(old).spec
    commits = state.read_commits(old, spec, spec.shards())
    for name in (state.SPEC_FILE, *map(state.marker_name, commits)):
        old.remove(name)
    old.create(state.SPEC_FILE, state.encode_spec(spec))
    for commit in commits.values():
        state.write_commit(old, commit)

    for path in (OLD / ".ganmint").rglob("*.json"):
        assert old.read(path.relative_to(OLD).as_posix()) == path.read_bytes()


def test_it_is_finished_as_the_same_export(old: Target) -> None:
    before = json.loads((OLD / "manifest.json").read_text())
    again = finish.finish(old, thorough=True)

    assert {**again, "ganmint": before["ganmint"]} == before


def test_a_field_that_came_later_counts_where_it_is_set(old: Target) -> None:
    spec = LaterSpec.model_validate_json((OLD / state.SPEC_FILE).read_bytes())
    tinted = spec.model_copy(update={"tint": "red"})

    assert state.spec_digest(spec) == DIGEST != state.spec_digest(tinted)
    assert "tint" not in state.encode_spec(spec).decode()
    assert LaterSpec.model_validate_json(state.encode_spec(tinted)) == tinted
