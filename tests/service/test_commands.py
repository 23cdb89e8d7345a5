"""What `ganmint serve` hands to the workers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.errors import InputError
from service import commands
from service.commands import INTERNAL_SETTINGS, make_paths_absolute
from service.settings import Settings
from tests.conftest import Command


def test_relative_paths_mean_the_folder_that_serve_was_run_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    environment = {
        "GANMINT_PUBLIC_KEY": "old.pub, /etc/new.pub",
        "GANMINT_API_KEYS_FILE": "/etc/keys.json",
        "BENTOML_HOME": "",
    }
    assert make_paths_absolute({**environment, "GANMINT_MODELS": "digits"}) == {
        "GANMINT_PUBLIC_KEY": f"{tmp_path / 'old.pub'},/etc/new.pub",
        "GANMINT_API_KEYS_FILE": "/etc/keys.json",
        "BENTOML_HOME": "",
        "GANMINT_MODELS": "digits",
    }
    assert make_paths_absolute({"BENTOML_HOME": "~/store"}) == {"BENTOML_HOME": "/home/me/store"}


@pytest.mark.parametrize(("runtime", "package"), [("onnx", "onnxruntime"), ("torchscript", "torch")])
def test_a_runtime_whose_package_is_missing_is_refused(
    runtime: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.check_runtime(runtime)
    commands.check_runtime("auto")
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"GANMINT_RUNTIME: {runtime} needs {package}; install it with: pip install"):
        commands.check_runtime(runtime)
    commands.check_runtime("auto")


def test_help_of_serve_lists_every_setting_with_its_default(command: Command) -> None:
    text = command("serve", "--help").output

    for name, field in Settings.model_fields.items():
        if name not in INTERNAL_SETTINGS:
            assert re.search(rf"^  GANMINT_{name.upper()}=\S*\s+\S", text, re.MULTILINE), name
            assert field.description, name
    assert "GANMINT_MAX_N=1024" in text and "GANMINT_TIMEOUT_S=30 " in text and "GANMINT_TRACING=0" in text
