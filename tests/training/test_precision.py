"""The precision of a run: by the device, once, and then as it was begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.runtime import processor
from training.config_files import list_presets, load_preset
from training.precision import describe_precision, resolve_precision


def use_processor(flags: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "cpuinfo").write_text(f"flags : fpu {flags}\n")
    monkeypatch.setattr(processor, "CPU_INFO", folder / "cpuinfo")


@pytest.mark.parametrize(("flags", "precision"), [("avx2", "float32"), ("avx2 avx512_bf16", "bfloat16")])
def test_auto_is_bfloat16_where_the_processor_has_it(
    flags: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_processor(flags, tmp_path, monkeypatch)

    assert resolve_precision(load_preset("own"), "cpu").precision == precision


def test_auto_is_float32_on_a_processor_that_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "none")

    config = resolve_precision(load_preset("own"), "cpu")

    assert config.precision == "float32" and describe_precision(config, "cpu", False) == "float32"


def test_a_resumed_run_keeps_its_precision_and_says_what_that_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_processor("avx2", tmp_path, monkeypatch)
    saved = load_preset("own", ("precision=bfloat16",))

    resumed = resolve_precision(load_preset("own"), "cpu", saved)

    assert resumed.precision == "bfloat16"
    assert "only imitates it, slowly. For float32 begin a new run" in describe_precision(resumed, "cpu", True)
    assert "set precision=float32" in describe_precision(resumed, "cpu", False)


def test_the_presets_for_processors_choose_by_the_device() -> None:
    automatic = {name for name in list_presets() if load_preset(name).precision == "auto"}

    assert automatic == {"digits", "digits-info", "faces-cpu", "own", "triangles"}
