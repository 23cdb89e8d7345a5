"""The last phase of a run: the learned prior is fitted once, and the same whatever interrupts it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import InputError
from training.config import Config
from training.data.dataset import Dataset
from training.gan import prior as fitting
from training.publish import PublishOptions, publish
from training.runs import checkpoint, loop, prior_phase
from training.runs.trained_run import load_latest

MakeConfig = Callable[..., Config]
SETTINGS = ("encoder={}", "generator.prior={width: 8, steps: 2}", "total_kimg=0.128")


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "STEPS", 10)


def train(config: Config, data: Dataset, out: Path) -> None:
    loop.run(config, data, out, "cpu", "ganmint train")


def load(out: Path) -> dict[str, Any]:
    path = checkpoint.latest_path(out)
    assert path
    return checkpoint.load(path)


def assert_same_prior(one: Path, other: Path) -> None:
    first, second = load(one)["prior"], load(other)["prior"]
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def whole(tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> Path:
    out = tmp_path / "whole"
    train(tiny_config(*SETTINGS), tiny_data, out)
    return out


def test_a_finished_runs_generator_has_the_prior(whole: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    without = whole.parent / "without"
    train(tiny_config(*SETTINGS, "generator.prior=null"), tiny_data, without)

    run, plain = load_latest(whole), load_latest(without)

    assert run.draft_manifest("x", "1.0.0").network["network"]["prior"] == {"width": 8, "steps": 2}
    z, classes = torch.randn(5, 8), torch.eye(3)[:1].expand(5, -1)
    prior: Any = run.generator.prior
    with torch.no_grad():
        assert not torch.equal(prior(z, classes), z)
        # Nothing else differs from a run without one.
        assert torch.equal(run.generator(z, classes), plain.generator(prior(z, classes), classes))


def test_a_run_stopped_while_it_fits_ends_with_the_same_prior(
    tmp_path: Path, whole: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        real = fitting.flow_matching_loss

        def stop(*arguments: Any) -> Any:
            signal.raise_signal(signal.SIGTERM)
            return real(*arguments)

        patch.setattr(fitting, "flow_matching_loss", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(*SETTINGS), tiny_data, tmp_path / "run")
    assert "prior" not in load(tmp_path / "run")

    train(tiny_config(*SETTINGS), tiny_data, tmp_path / "run")

    assert_same_prior(tmp_path / "run", whole)


def test_a_run_that_is_made_longer_fits_a_new_prior(
    tmp_path: Path, whole: Path, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    train(tiny_config(*SETTINGS, "total_kimg=0.064"), tiny_data, tmp_path / "run")
    train(tiny_config(*SETTINGS), tiny_data, tmp_path / "run")

    assert_same_prior(tmp_path / "run", whole)


def test_a_prior_is_added_to_a_finished_run_and_changed(
    tmp_path: Path, whole: Path, tiny_config: MakeConfig, tiny_data: Dataset
) -> None:
    train(tiny_config(*SETTINGS, "generator.prior=null"), tiny_data, tmp_path / "run")
    train(tiny_config(*SETTINGS, "generator.prior={width: 5}"), tiny_data, tmp_path / "run")
    assert load(tmp_path / "run")["generator"]["network"]["prior"]["width"] == 5

    train(tiny_config(*SETTINGS), tiny_data, tmp_path / "run")

    assert_same_prior(tmp_path / "run", whole)


def test_a_fitted_prior_is_not_dropped_in_silence(whole: Path, tiny_config: MakeConfig, tiny_data: Dataset) -> None:
    with pytest.raises(InputError, match=r"generator\.prior"):
        train(tiny_config(*SETTINGS, "generator.prior=null"), tiny_data, whole)


@pytest.mark.parametrize("is_published", [False, True])
def test_a_run_starts_from_a_generator_with_a_prior(
    whole: Path, tmp_path: Path, tiny_config: MakeConfig, tiny_data: Dataset, is_published: bool
) -> None:
    options = PublishOptions("tiny", batch_size=4, accept="a test", to=tmp_path / "model")
    source = publish(whole, options).path if is_published else whole
    config = tiny_config("total_kimg=0.064", "freeze_generator_kimg=0.064")

    loop.run(config, tiny_data, tmp_path / "run", "cpu", "ganmint train", (), str(source))

    given, ours = load(whole)["trainer"]["ema" if is_published else "G"], load(tmp_path / "run")["trainer"]["G"]
    assert all(torch.equal(weight, given[name]) for name, weight in ours.items())


def test_a_fitted_prior_is_not_fitted_again(
    whole: Path, tiny_config: MakeConfig, tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prior_phase, "add_prior", lambda *_: pytest.fail("fitted again"))

    train(tiny_config(*SETTINGS), tiny_data, whole)


@pytest.mark.parametrize(
    ("setting", "words"), [("encoder=null", "needs an encoder"), ("infogan_codes=2", "infogan_codes")]
)
def test_a_prior_that_nothing_can_be_fitted_to_is_refused(tiny_config: MakeConfig, setting: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny_config(*SETTINGS, setting)
