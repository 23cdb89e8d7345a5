"""What `ganmint serve` hands to the workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.commands import make_paths_absolute


def test_relative_paths_mean_the_folder_that_serve_was_run_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"GANMINT_PUBLIC_KEY": "key.pub", "GANMINT_API_KEYS_FILE": "/etc/keys.json", "BENTOML_HOME": ""}
    assert make_paths_absolute({**environment, "GANMINT_MODELS": "digits"}) == {
        "GANMINT_PUBLIC_KEY": str(tmp_path / "key.pub"),
        "GANMINT_API_KEYS_FILE": "/etc/keys.json",
        "BENTOML_HOME": "",
        "GANMINT_MODELS": "digits",
    }
