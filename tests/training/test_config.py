"""Presets, --set and the schedules."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

import training.config
from models.errors import FileError, InputError
from models.network_config import ResNetConfig
from tests.waiting import TIMEOUT_S
from training.config import Config
from training.config_files import dump_config, list_presets, load_config, load_preset
from training.schedule import CosineSchedule


def test_there_are_presets_for_digits_and_toys() -> None:
    assert {"digits", "toy1d", "toy25", "triangles"} <= set(list_presets())


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    config = load_preset(name)

    (tmp_path / "config.yaml").write_text(dump_config(config))

    assert config.preset == name
    # A model's card repeats it, so it says nothing of the preset.
    assert config.description and not re.search(r"sized|untested|preset|CPU|GPU", config.description)
    assert config.data.licence
    assert load_config(tmp_path / "config.yaml") == config


def test_a_changed_configuration_survives_a_round_trip(tmp_path: Path) -> None:
    config = load_preset("digits", ("lr.start=1e-7", "generator.widths=[3, 2]", 'data.attribution="a: b # c\\n é"'))

    (tmp_path / "config.yaml").write_text(dump_config(config))

    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("preset", "assignments", "same_as"),
    [
        ("toy1d", ("lr=1e-3",), ("lr={start: 0.001, end: 0.001}",)),
        ("toy1d", ("gamma=0",), ("gamma={start: 0, end: 0}",)),
        ("toy1d", ("beta2=0.95", "beta2.start=0.5"), ("beta2={start: 0.5, end: 0.95}",)),
        ("toy1d", ("augment=true",), ("augment={}",)),
        ("toy1d", ("augment={}", "augment=false"), ()),
        ("toy1d", ("augment.p.end=0.5",), ("augment={p: {start: 0, end: 0.5}}",)),
        ("toy1d", ("augment=true", "augment.colour=0"), ("augment={colour: 0}",)),
        ("toy1d", ("projected=true",), ("projected={}",)),
        ("digits", ("encoder=false", "encoder=true"), ("encoder={}",)),
        ("digits", ("encoder=false", "encoder.weight=4"), ("encoder={weight: {start: 4, end: 4}}",)),
        ("digits", ("encoder=false", "encoder.weight.start=2"), ("encoder={weight: {start: 2, end: 8}}",)),
        ("digits", ("encoder.weight.start=2",), ("encoder={weight: {start: 2, end: 8}, kl_weight: 0.001}",)),
        ("digits", ("generator.prior=true",), ("generator.prior={}",)),
        ("digits", ("generator.prior.width=8",), ("generator.prior={width: 8}",)),
        ("digits", ("generator.prior=false",), ()),
        # It is on already, by the preset's own settings.
        ("faces-cpu", ("encoder=true", "augment=true"), ()),
    ],
)
def test_settings_mean_what_they_seem_to_mean(
    preset: str, assignments: tuple[str, ...], same_as: tuple[str, ...]
) -> None:
    assert load_preset(preset, assignments) == load_preset(preset, same_as)


def test_an_unknown_preset_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(InputError, match=r"preset: no preset 'nosuch'; there are .*digits"):
        load_preset("nosuch")


@pytest.mark.parametrize("name", ["../presets/digits", "digits.yaml", "", "DIGITS"])
def test_a_preset_is_a_name_and_not_a_path(name: str) -> None:
    with pytest.raises(InputError, match="preset"):
        load_preset(name)


def test_settings_have_the_type_of_their_field() -> None:
    config = load_preset(
        "digits",
        (
            "total_kimg=12",
            "batch=32",
            "seed=9007199254740991",
            "lr.start=5e-4",
            "gamma={start: 2, end: 3}",
            "data.mirror=true",
            "data.name=my digits",
            "generator.widths=[8, 4, 2]",
            "data.attribution=http://a/?b=c",
        ),
    )

    assert config.total_kimg == 12.0
    assert config.batch == 32
    assert config.seed == 2**53 - 1
    assert config.lr == CosineSchedule(start=5e-4, end=2e-5)
    assert config.gamma == CosineSchedule(start=2.0, end=3.0)
    assert config.data.mirror is True
    assert config.data.name == "my digits"
    assert isinstance(config.generator, ResNetConfig)
    assert config.generator.widths == (8, 4, 2)
    assert config.data.attribution == "http://a/?b=c"


def test_the_later_of_two_values_of_a_setting_is_used() -> None:
    assert load_preset("digits", ("batch=32", "batch=8")).batch == 8


@pytest.mark.parametrize(
    ("assignment", "field", "word"),
    [
        ("nosuch=1", "nosuch", "no such setting"),
        ("lr.nosuch=1", "lr.nosuch", "no such setting"),
        ("generator.nosuch=1", "generator.nosuch", "no such setting"),
        ("nosuch.start=1", "nosuch.start", "no such setting"),
        ("batch.start=1", "batch.start", "no such setting"),
        ("batch", "--set", "NAME=VALUE, got 'batch'"),
        ("=1", "--set", "NAME=VALUE, got '=1'"),
        ("", "--set", "NAME=VALUE"),
        ("generator.widths=[1", "generator.widths", "not valid YAML"),
        ("batch=many", "batch", "must be a whole number, got 'many'"),
        ("batch=1.5", "batch", "must be a whole number, got 1.5"),
        ("batch=1", "batch", "must be greater than or equal to 2, got 1"),
        ("batch=", "batch", "must be a whole number"),
        ("total_kimg=0", "total_kimg", "greater than 0"),
        ("total_kimg=.nan", "total_kimg", "finite"),
        ("tick_kimg=-1", "tick_kimg", "greater than 0"),
        ("seed=-1", "seed", "greater than or equal to 0"),
        ("seed=9007199254740992", "seed", "less than or equal to 9007199254740991"),
        ("lr.start=-1", "lr", "from 0 to 1e+09"),
        ("generator_lr_share={start: 0.5, end: 2}", "generator_lr_share", "from 0 to 1"),
        ("gamma.end=-1", "gamma", "from 0 to 1e+09"),
        ("beta2.end=1", "beta2", "below 1"),
        ("lr=fast", "lr", "must be a number, or {start: NUMBER, end: NUMBER}"),
        ("lr=true", "lr", "must be a number, or"),
        ("lr=[1, 2]", "lr", "must be a number, or"),
        ("encoder=1", "encoder", "must be a mapping"),
        ("encoder.wieght=4", "encoder.wieght", "did you mean weight?"),
        ("encoder.weight.nosuch=4", "encoder.weight.nosuch", "no such setting"),
        ("generator.prior.nosuch=4", "generator.prior.nosuch", "no such setting"),
        ("generator.kind=vit", "generator", "vit"),
        ("generator.widths=[]", "generator.widths", "at least 1"),
        ("generator.width=3", "generator.width", "no such setting"),
        ("infogan_codes=65", "config", "at most z_dim 64"),
        ("discriminator.minibatch_group=5", "config", "multiple of 10: twice minibatch_group, because of the encoder"),
        ("generator.minibatch_group=4", "generator.minibatch_group", "no such setting"),
        ("data.holdout=1", "data.holdout", "less than 1"),
        ("data.label_columns=[{colum: age}]", "data.label_columns[0].column", "required"),
        ("augment={strength: 1}", "augment.strength", "no such setting"),
        ("data.kind=video", "data.kind", "images"),
        ("data.mirror=perhaps", "data.mirror", "true or false, got 'perhaps'"),
        ("data.name=!!python/object:os.system x", "data.name", "not valid YAML"),
    ],
)
def test_a_bad_assignment_is_refused_with_the_settings_name(assignment: str, field: str, word: str) -> None:
    with pytest.raises(InputError) as caught:
        load_preset("digits", (assignment,))

    assert caught.value.field == field
    assert word in caught.value.reason


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cover: {weight: 40}", "cover was removed; to go on without it, set cover: null"),
        ("penalty: finite", "penalty was removed; to go on without it, set penalty: exact"),
        ("augment: {target: 0.6, adjust_kimg: 500, start: 0}", "target was removed, because p follows a schedule now"),
    ],
)
def test_a_saved_run_that_needs_a_removed_setting_is_refused(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(load_preset("toy1d")).replace("augment: null", "") + line)

    with pytest.raises(FileError, match=words) as caught:
        load_config(path)

    assert str(path) in str(caught.value)


def test_a_saved_run_with_removed_settings_off_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(load_preset("toy1d")) + "cover: null\npenalty: exact\n")

    assert load_config(path) == load_preset("toy1d")


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("encoder.divergence=1", "encoder.divergence: is called encoder.kl_weight now"),
        ("encoder={weight: 8, divergence: 1e-3}", "encoder.divergence: is called encoder.kl_weight now"),
        ("generator.start=dense", "generator.start: is called generator.input_layer now"),
        ("generator={kind: resnet, start: dense}", "generator.start: is called generator.input_layer now"),
        ("clip=true", "clip: is called clip_fakes now"),
        ("latent_sd=0.9", "latent_sd: is called latent_std now"),
        ("codes=2", "codes: is called infogan_codes now"),
        ("code_weight=1", "code_weight: is called infogan_weight now"),
        ("data.labels=[]", "data.labels: is called data.label_columns now"),
        ("data.class_power=0.5", "data.class_power: is called data.class_sampling_power now"),
        ("gate.recall.of_floor=0.9", "gate.recall.of_floor: is called gate.recall.min_ratio_to_real now"),
        ("gate={fd: {above_floor: 1}}", "gate.fd.above_floor: is called gate.fd.max_above_real now"),
        ("cover={}", "cover: was removed"),
        ("penalty=exact", "penalty: was removed"),
        ("augment={target: 0.6}", "augment.target: was removed"),
    ],
)
def test_an_old_setting_is_refused_with_its_new_name(assignment: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        load_preset("digits", (assignment,))

    assert str(caught.value) == reason


def test_no_preset_repeats_another_presets_data() -> None:
    folder = Path(training.config.__file__).parent / "presets"
    texts = {path.stem: path.read_text() for path in folder.glob("*.yaml")}
    bases = {name: yaml.safe_load(text).get("base") for name, text in texts.items()}

    assert {base for base in bases.values() if base} == {"digits", "faces-cpu"}
    # One level only.
    assert not any(bases[base] for base in bases.values() if base)
    assert sorted(name for name, text in texts.items() if "\ndata:" in text) == [
        *("digits", "faces-cpu", "own", "toy1d", "toy25", "triangles")
    ]
    assert load_preset("faces").data == load_preset("faces-cpu").data
    assert load_preset("digits-info").encoder == load_preset("digits").encoder


def test_reading_a_configuration_does_not_load_torch() -> None:
    script = "import sys, training.config_files; print({'torch', 'PIL'} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=TIMEOUT_S)

    assert done.stdout == "set()\n"


@pytest.mark.parametrize("text", ["2026-13-45", "0x_", "9" * 5000])
def test_a_value_that_yaml_cannot_convert_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"data\.name"):
        load_preset("digits", (f"data.name={text}",))


@pytest.mark.parametrize(
    "assignment", ["lr.start=.nan", "lr.end=.inf", "total_kimg=.inf", "gamma.start=.nan", "tick_kimg=.inf"]
)
def test_a_setting_must_be_finite(assignment: str) -> None:
    with pytest.raises(InputError, match=re.split("[.=]", assignment)[0]):
        load_preset("digits", (assignment,))


@pytest.mark.parametrize("assignment", ["generator.widths=[0, 4, 4]", "discriminator.widths=[8, -1, 4]"])
def test_widths_must_be_positive(assignment: str) -> None:
    with pytest.raises(InputError, match="widths"):
        load_preset("digits", (assignment,))


def test_the_presets_name_is_not_a_setting() -> None:
    with pytest.raises(InputError, match="preset"):
        load_preset("digits", ("preset=toy1d",))


def test_a_half_life_must_not_be_negative() -> None:
    with pytest.raises(InputError, match="ema_halflife_kimg"):
        load_preset("digits", ("ema_halflife_kimg.end=-1",))


def test_a_cosine_has_the_right_start_middle_and_end() -> None:
    schedule = CosineSchedule(start=4.0, end=1.0)

    assert schedule.at(0.0) == 4.0
    assert schedule.at(0.25) == pytest.approx(1.0 + 3.0 * (0.5 + math.sqrt(0.5) / 2))
    assert schedule.at(0.5) == pytest.approx(2.5)
    assert schedule.at(1.0) == 1.0


def test_a_cosine_stays_at_its_end_and_is_monotonic() -> None:
    schedule = CosineSchedule(start=0.0, end=15.0)

    assert schedule.at(1.5) == schedule.at(100.0) == 15.0
    assert schedule.at(-1.0) == 0.0
    values = [schedule.at(k / 100) for k in range(101)]
    assert values == sorted(values)


def test_a_configuration_cannot_be_changed(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config()

    with pytest.raises(ValidationError, match="frozen"):
        config.batch = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.lr.start = 1.0
    with pytest.raises(ValidationError, match="frozen"):
        config.data.mirror = True
