"""Starting a run from another one, and what it remembers of that."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from models import artifact, store
from models.errors import ArtifactError, CheckpointError, InputError
from models.files import sha256
from models.manifest import read_manifest
from tests.training.runs.helpers import assert_equal_weights, read_ticks, train
from training.config import Config
from training.data.dataset import Dataset
from training.publish import PublishOptions, publish
from training.runs import ancestry, checkpoint, loop, run_dir
from training.runs.provenance import read_provenance

MakeConfig = Callable[..., Config]
SHORT = ("total_kimg=0.128", "data.name=other", "data.licence=MIT", "data.attribution=by others")


def start(config: Config, data: Dataset, out: Path, init: object, allow_other_classes: bool = False) -> None:
    loop.run(config, data, out, "cpu", "ganmint train", (), str(init), allow_other_classes)


def test_a_run_starts_from_another_runs_networks_and_counts_from_zero(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out = tmp_path / "run"
    config = tiny_config("lr={start: 0, end: 0}", "ema_halflife_kimg={start: 1000, end: 1000}", "total_kimg=0.064")

    start(config, tiny_data, out, finished)

    assert [tick["kimg"] for tick in read_ticks(out)] == [0.064]
    ours, theirs = (checkpoint.load(checkpoint.list_paths(run)[-1])["trainer"] for run in (out, finished))
    # Nothing is learnt at a rate of 0.
    assert all(torch.equal(ours["D"][name], theirs["D"][name]) for name in theirs["D"])


def test_a_run_remembers_its_ancestors_and_their_data(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    child, grandchild = tmp_path / "child", tmp_path / "grandchild"
    other = dataclasses.replace(tiny_data, images=tiny_data.images[::-1].copy())
    start(tiny_config(*SHORT), other, child, finished)
    start(tiny_config("total_kimg=0.064"), tiny_data, grandchild, child)

    stored = publish(grandchild, PublishOptions("tiny", batch_size=4, accept="a test", to=tmp_path / "model"))

    training = read_manifest(stored.path).training
    parent, grandparent = training.ancestors
    assert (parent.source, parent.kimg, parent.data.digest) == (str(child), 0.128, other.digest)
    assert (grandparent.source, grandparent.kimg, grandparent.data.name) == (str(finished), 0.64, "stripes")
    assert grandparent.digest == sha256(checkpoint.list_paths(finished)[-1])
    assert read_manifest(stored.path).licence == "as the training data's: CC0; MIT"
    card = (stored.path / artifact.CARD).read_text()
    assert "attribution: by others" in card and "trained for 0.128 kimg on other" in card


def test_a_stopped_run_goes_on_from_what_it_started_from(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    start(tiny_config("total_kimg=0.128"), tiny_data, whole, finished)
    with monkeypatch.context() as context, pytest.raises(ZeroDivisionError):
        context.setattr(loop, "_train", lambda *_: 1 / 0)
        start(tiny_config("total_kimg=0.128"), tiny_data, stopped, finished)

    train(tiny_config("total_kimg=0.128"), tiny_data, stopped)

    assert_equal_weights(stopped, whole)


def test_a_run_holds_to_what_it_started_from(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out, config = tmp_path / "run", tiny_config("total_kimg=0.064")
    start(config, tiny_data, out, finished)

    start(config, tiny_data, out, finished)
    with pytest.raises(InputError, match=r"started from .*finished.*, not from") as caught:
        start(config, tiny_data, out, out)
    assert caught.value.field == "--init"
    with pytest.raises(InputError, match="holds a run that started from nothing"):
        start(tiny_config(), tiny_data, finished, out)

    for path in checkpoint.list_paths(out):
        path.unlink()
    with pytest.raises(CheckpointError, match="has lost its checkpoints"):
        train(config, tiny_data, out)


def test_other_classes_need_a_word(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path) -> None:
    renamed = dataclasses.replace(tiny_data, class_names=("a", "b", "c"))
    config = tiny_config("total_kimg=0.064")

    with pytest.raises(InputError, match=r"other classes \(none, flat, upright\) than the data's \(a, b, c\)"):
        start(config, renamed, tmp_path / "run", finished)
    assert not run_dir.is_run(tmp_path / "run")

    start(config, renamed, tmp_path / "run", finished, allow_other_classes=True)
    assert read_provenance(tmp_path / "run").ancestors


@pytest.mark.parametrize("count", [2, 5])
def test_another_number_of_classes_keeps_all_but_their_weights(
    count: int, tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny_data.labels is not None
    labels = (tiny_data.labels + np.arange(256) % 2 * 2) % count
    other = dataclasses.replace(tiny_data, labels=labels, class_names=tuple("abcde"[:count]))
    frozen = ("lr={start: 0, end: 0}", "ema_halflife_kimg=0", "encoder={}", "total_kimg=0.064")
    parent, out = tmp_path / "parent", tmp_path / "run"
    train(tiny_config("encoder={}", "total_kimg=0.064"), tiny_data, parent)
    with pytest.raises(InputError, match="--other-classes to keep all but what it knows of the classes"):
        start(tiny_config(*frozen), other, out, parent)

    start(tiny_config(*frozen), other, out, parent, allow_other_classes=True)

    assert "Begun anew: the generator's embedding of the classes, the generator's optimiser" in capsys.readouterr().out
    ours, theirs = (checkpoint.load(checkpoint.list_paths(run)[-1])["trainer"] for run in (out, parent))
    for mine, given in ((ours["G"], theirs["G"]), (ours["D"], theirs["D"])):
        changed = {name for name in given if mine[name].shape != given[name].shape}
        assert changed == {"embed.weight"}
        assert all(torch.equal(mine[name], given[name]) for name in given.keys() - changed)
    head, given_head = ours["encoder"]["E"]["head.weight"], theirs["encoder"]["E"]["head.weight"]
    assert torch.equal(head[:, :-count], given_head[:, :-3])


def test_a_network_that_does_not_fit_begins_anew_and_is_named(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config("discriminator.widths=[2, 2]", "encoder={}", "total_kimg=0.064")

    start(config, tiny_data, tmp_path / "run", finished)

    assert "Begun anew: the discriminator, the encoder; all else is kept." in capsys.readouterr().out


def test_an_unusable_run_to_start_from_is_refused(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for assignment, init, words in (
        ("seed=1", tmp_path / "none", "there is no .*none; give the folder of a run, or a model"),
        ("seed=1", tmp_path / "empty", "empty holds no checkpoint"),
        ("generator.widths=[2, 2]", finished, "does not fit these settings' networks"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            start(tiny_config(assignment), tiny_data, tmp_path / "run", init)
        assert caught.value.field == "--init"
        assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("in_store", [False, True])
def test_a_run_starts_from_a_published_training_state(
    tmp_path: Path,
    tiny_config: MakeConfig,
    tiny_data: Dataset,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_store: bool,
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    options = PublishOptions("tiny", batch_size=4, accept="a test", with_training_state=True)
    stored = publish(finished, options if in_store else dataclasses.replace(options, to=tmp_path / "model"))
    # A bento packs the folder of the store.
    assert (stored.path / artifact.TRAINING_STATE).exists() != in_store
    state = store.find_training_state(stored.path)
    assert state is not None and artifact.TRAINING_STATE in read_manifest(stored.path).files

    out = tmp_path / "run"
    start(tiny_config("total_kimg=0.064"), tiny_data, out, "tiny" if in_store else stored.path)

    (ancestor,) = read_provenance(out).ancestors
    assert (ancestor.source, ancestor.digest, ancestor.kimg) == ("tiny/1.0.0", sha256(state), 0.64)

    state.write_bytes(state.read_bytes()[:-1])
    artifact.load(stored.path)
    with pytest.raises(ArtifactError, match="missing or damaged"):
        start(tiny_config("total_kimg=0.064"), tiny_data, tmp_path / "again", stored.path)


@pytest.mark.parametrize(("with_training_state", "kimg"), [(True, 0.128), (False, 0.064)])
def test_the_ancestor_is_the_state_that_is_taken_not_the_snapshot_that_is_published(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, with_training_state: bool, kimg: float
) -> None:
    train(tiny_config("total_kimg=0.128", "snapshot_kimg=0.064"), tiny_data, tmp_path / "parent")
    options = PublishOptions(
        "tiny",
        batch_size=4,
        accept="a test",
        to=tmp_path / "model",
        checkpoint="0.064",
        with_training_state=with_training_state,
    )
    stored = publish(tmp_path / "parent", options)

    ancestor = ancestry.read_start(str(stored.path)).ancestors[0]

    assert read_manifest(stored.path).training.kimg == 0.064
    assert ancestor.kimg == kimg


def test_a_training_state_that_does_not_say_its_kimg_has_the_models() -> None:
    faces = store.BUNDLED / "faces"

    assert ancestry.read_start(str(faces)).ancestors[0].kimg == read_manifest(faces).training.kimg


def test_a_run_starts_from_a_models_generator_alone(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    stored = publish(finished, PublishOptions("tiny", batch_size=4, accept="a test", to=tmp_path / "model"))
    out = tmp_path / "run"

    start(tiny_config("total_kimg=0.064", "freeze_generator_kimg=0.064"), tiny_data, out, stored.path)

    published = safetensors.torch.load_file(stored.path / artifact.WEIGHTS)
    ours, theirs = (checkpoint.load(checkpoint.list_paths(run)[-1])["trainer"] for run in (out, finished))
    assert all(torch.equal(ours["G"][name], published[name]) for name in published)
    assert any(not torch.equal(ours["D"][name], theirs["D"][name]) for name in theirs["D"])
    (ancestor,) = read_provenance(out).ancestors
    assert ancestor.digest == sha256(stored.path / artifact.WEIGHTS)


def test_a_run_with_a_wider_generator_starts_its_other_networks_anew(
    tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, finished: Path
) -> None:
    out, again = tmp_path / "run", tmp_path / "again"
    widths = ("generator.widths=[12, 10]", "discriminator.widths=[12, 10]")
    settings = (*widths, "freeze_generator_kimg=0.064")

    start(tiny_config("total_kimg=0.064", *settings), tiny_data, out, finished)
    start(tiny_config("total_kimg=0.128", *settings), tiny_data, out, finished)
    start(tiny_config("total_kimg=0.128", *settings), tiny_data, again, finished)

    weights = checkpoint.load(checkpoint.list_paths(out)[-1])["trainer"]["G"]
    assert weights["out.weight"].shape[1] == 10
    assert_equal_weights(out, again)


def test_run_json_of_earlier_versions_has_no_ancestors(finished: Path) -> None:
    content = json.loads((finished / "run.json").read_text())

    assert "ancestors" not in content
    assert read_provenance(finished).ancestors == ()
