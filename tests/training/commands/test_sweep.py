"""The sweep command: a grid of runs."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ganmint.cli import cli
from models.errors import InputError, TrainingDivergedError
from training.commands import sweep as command
from training.config import Config
from training.config_files import load_preset
from training.data.dataset import Dataset
from training.evaluation.evaluate import EvaluationResult
from training.evaluation.protocol import STANDARD
from training.evaluation.report import Report
from training.metric_results import MetricResult
from training.runs import loop
from training.runs.provenance import read_provenance
from training.runs.score_record import Basis, ScoreRecord
from training.runs.sweep import MAX_NAME_LENGTH, Axis, PlannedRun, parse_axes, plan, split_values

DIGITS = Path(__file__).parents[2] / "data" / "digits"
TOY = ("--preset", "toy1d", "--set", "total_kimg=0.5", "--set", "tick_kimg=0.25")


def ganmint(*arguments: Path | str) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2,3", ("1", "2", "3")),
        ("a", ("a",)),
        ("[1,2],[3, 4]", ("[1,2]", "[3, 4]")),
        ("{a: 1, b: [2,3]},null", ("{a: 1, b: [2,3]}", "null")),
        ("'a,b',\"c,d\"", ("'a,b'", '"c,d"')),
    ],
)
def test_commas_in_brackets_and_quotes_belong_to_a_value(text: str, values: tuple[str, ...]) -> None:
    assert split_values(text, "x") == values


def test_the_grid_has_every_combination_the_seeds_fastest() -> None:
    runs = plan("toy1d", parse_axes(["lr.start=1e-2,1e-3", "total_kimg=2"], "0,7"))

    assert [run.name for run in runs] == [
        "lr.start=1e-2,seed=0",
        "lr.start=1e-2,seed=7",
        "lr.start=1e-3,seed=0",
        "lr.start=1e-3,seed=7",
    ]
    assert [(run.config.lr.start, run.config.seed) for run in runs] == [(0.01, 0), (0.01, 7), (0.001, 0), (0.001, 7)]
    assert {run.config.total_kimg for run in runs} == {2.0}


def test_names_of_folders_are_short_safe_and_different() -> None:
    runs = plan("toy1d", parse_axes(["description='a b','a/b','/'"], "0,1"))
    assert {run.name for run in runs if run.config.seed == 0} == {
        "description=a-b0,seed=0",
        "description=a-b1,seed=0",
        "description=2,seed=0",
    }
    values = ",".join(str(0.001 + k / 1e6) for k in range(2))
    axes = parse_axes([f"{name}={values}" for name in ("lr.start", "lr.end", "gamma.start", "gamma.end")], "0,1")
    long = [run.name for run in plan("toy1d", axes)]

    assert len(set(long)) == 32 and max(map(len, long)) <= MAX_NAME_LENGTH
    assert not any(set(" /{}[]:") & set(name) for name in (*long, *(run.name for run in runs)))


def test_a_made_up_name_is_not_anothers() -> None:
    assert Axis("description", ("1", '"1"', "11", "{}", "2")).labels == ["10", "11-1", "11", "3", "2"]
    assert Axis("description", ("1", "'1'", "10", "100")).labels == ["10-0", "11", "10", "100"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--set", "data.size=32,64"), "data.size"),
        (("--set", "data.label_columns=[],[{column: kind}]", "--seeds", "0,1"), "data.label_columns"),
        (("--set", "lr.start=1e-3"), "--set"),
        (("--set", "lr.start"), "--set"),
        (("--set", "lr.start=1e-3,,2"), "lr.start"),
        (("--set", "lr.start=1e-3,1e-3"), "lr.start"),
        (("--set", "seed=1", "--seeds", "0,1"), "seed"),
        (("--set", "lr.strat=1,2"), "lr.strat"),
        (("--set", "batch=64,minus"), "batch"),
        (("--set", "lr.start=1e-3,[", "--seeds", "0,1"), "lr.start"),
        (("--seeds", "0,x"), "seed"),
        (("--seeds", "0,1", "--data", str(DIGITS)), "--data"),
    ],
)
def test_errors_name_the_setting_before_anything_runs(arguments: tuple[str, ...], field: str, tmp_path: Path) -> None:
    result = ganmint("sweep", *TOY, "--out", tmp_path / "sweep", *arguments)

    assert isinstance(result.exception, InputError) and result.exception.field == field
    assert not (tmp_path / "sweep").exists()


def test_a_dry_run_prints_the_grid_and_a_measured_time_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []

    def measure_rate(config: Any, *_: object) -> float:
        measured.append(config.lr.start)
        return 100.0

    monkeypatch.setattr("training.runs.loop.measure_rate", measure_rate)

    result = ganmint(
        "sweep", *TOY, "--out", tmp_path / "s", "--set", "lr.start=1e-2,1e-3", "--seeds", "0,1", "--dry-run"
    )

    # Once for runs that differ in the seed only.
    assert measured == [0.01, 0.001]
    assert "lr.start=1e-3,seed=1  0.5 kimg  100 images/s  about 0m05s" in result.output
    assert "about 0m20s of training in all" in result.output
    assert not (tmp_path / "s").exists()


def test_a_rate_is_measured_by_taking_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "measure_rate", functools.partial(loop.measure_rate, seconds=0.01))

    result = ganmint("sweep", *TOY, "--out", tmp_path / "s", "--seeds", "0,1", "--dry-run")

    assert result.exit_code == 0 and "images/s" in result.output and "seed=1" in result.output


def test_a_killed_sweep_goes_on_and_skips_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("sweep", *TOY, "--out", tmp_path / "s", "--seeds", "0,1,2")
    evaluate = command._evaluate
    evaluated: list[str] = []

    def evaluate_or_die(folder: Path, *rest: Any) -> EvaluationResult:
        if folder.name == "seed=1" and evaluated == ["seed=0"]:
            raise KeyboardInterrupt
        evaluated.append(folder.name)
        return evaluate(folder, *rest)

    monkeypatch.setattr(command, "_evaluate", evaluate_or_die)

    killed = ganmint(*arguments)
    assert killed.exit_code != 0 and evaluated == ["seed=0"]
    evaluated.append("killed")
    first_checkpoint = sorted((tmp_path / "s" / "seed=0").glob("checkpoint-*.pt"))[-1].stat().st_mtime_ns
    resumed = ganmint(*arguments)

    assert resumed.exit_code == 0, resumed.output
    assert evaluated == ["seed=0", "killed", "seed=1", "seed=2"]
    assert sorted((tmp_path / "s" / "seed=0").glob("checkpoint-*.pt"))[-1].stat().st_mtime_ns == first_checkpoint
    assert resumed.output.count("finished before") == 1
    assert "to the end" not in resumed.output.partition("run 3 of 3")[0]
    assert "Mean and deviation over the seeds" in resumed.output and "error of the mean" in resumed.output
    assert "seed=2" in (tmp_path / "s" / "compare.html").read_text()
    # Each run states how to train it alone.
    assert read_provenance(tmp_path / "s" / "seed=2").command.endswith("--set tick_kimg=0.25 --set seed=2")
    # Other settings for the same folders are refused before anything runs.
    changed = ganmint(*arguments, "--set", "batch=128")
    assert isinstance(changed.exception, InputError) and changed.exception.field == "batch"
    inside = ganmint("sweep", *TOY, "--out", tmp_path / "s" / "seed=0", "--seeds", "0,1")
    assert isinstance(inside.exception, InputError) and inside.exception.field == "--out"


def test_a_run_that_diverges_is_named_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = loop.run

    def run_or_diverge(config: Any, *rest: Any) -> None:
        if config.seed == 0:
            raise TrainingDivergedError("the discriminator has won")
        run(config, *rest)

    monkeypatch.setattr("training.runs.loop.run", run_or_diverge)
    # An hour for each run.
    monkeypatch.setattr(time, "monotonic", itertools.count(0, 3600).__next__)

    result = ganmint("sweep", *TOY, "--out", tmp_path / "s", "--seeds", "0,1")

    assert str(result.exception) == "1 of 2 runs diverged: seed=0"
    assert "# run 2 of 2: seed=1; about 1h00m to the end" in result.output
    assert "error of the mean" in result.output


def test_images_are_evaluated_on_the_validation_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []

    def evaluate(generator: Any, split: Any, *_: object) -> EvaluationResult:
        parts.append(split.part)
        metric = MetricResult(name="recall", value=0.5)
        report = Report(title="t", kimg=generator.kimg, protocol=STANDARD, machine="m", metrics=(metric,))
        return EvaluationResult(report, [])

    monkeypatch.setattr(command, "evaluate", evaluate)
    settings = ("total_kimg=0.064", "tick_kimg=0.064", "batch=32", "data.validation=0.1")
    small = "{kind: resnet, base: 7, widths: [8, 4, 4], blocks: 1}"

    arguments: list[str | Path] = ["--preset", "own", "--data", DIGITS, "--out", tmp_path / "s", "--seeds", "0,1"]
    for setting in (*settings, f"generator={small}", f"discriminator={small}"):
        arguments += ["--set", setting]

    result = ganmint("sweep", *arguments)

    assert result.exit_code == 0, result.output
    assert parts == ["validation", "validation"] and "recall" in result.output


def test_a_run_that_lacks_its_prior_is_not_finished(
    tmp_path: Path, tiny_config: Callable[..., Config], tiny_data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.gan.prior.STEPS", 1)
    trained = ("encoder={}", "total_kimg=0.064")
    planned = PlannedRun("run", (), tiny_config(*trained, "generator.prior={width: 4, steps: 1}"))
    loop.run(tiny_config(*trained), tiny_data, tmp_path / "run", "cpu", "ganmint train")
    assert not command._is_trained(planned, tmp_path / "run")

    loop.run(planned.config, tiny_data, tmp_path / "run", "cpu", "ganmint train")

    assert command._is_trained(planned, tmp_path / "run")


def test_a_report_on_test_images_does_not_finish_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = PlannedRun("run", (), load_preset("own", has_test_images=False))
    monkeypatch.setattr(command, "trained_kimg", lambda _: 1.0)

    def is_evaluated(split: str, validation: float) -> bool:
        record = ScoreRecord(kimg=1.0, basis=Basis(protocol=STANDARD.name, split=split), scores={})
        monkeypatch.setattr(command, "read_score_records", lambda _: [record])
        data = planned.config.data.model_copy(update={"validation": validation})
        config = planned.config.model_copy(update={"data": data})
        return command._is_evaluated(replace(planned, config=config), tmp_path)

    assert is_evaluated("validation", 0.1) and is_evaluated("test", 0)
    assert not is_evaluated("test", 0.1)


def test_a_sweep_holds_nothing_out_beside_test_images() -> None:
    axes = parse_axes(["seed=1,2"], None)

    assert {run.config.data.holdout for run in plan("own", axes)} == {0.1}
    assert {run.config.data.holdout for run in plan("own", axes, has_test_images=True)} == {0}
