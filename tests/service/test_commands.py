"""What `ganmint serve` hands to the workers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.errors import InputError
from service import commands
from service.commands import INTERNAL_SETTINGS, make_paths_absolute
from service.settings import Settings, find_unknown_variables, read_settings
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


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::", "localhost"),
        ("::1", "[::1]"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
def test_the_url_that_serve_prints_can_be_opened(host: str, shown: str) -> None:
    assert commands._format_host(host) == shown


@pytest.mark.parametrize("name", ["TIMEOUT_S", "POLL_S", "DRAIN_PAUSE_S"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e9", "-1"])
def test_a_time_that_is_none_is_refused_by_name(
    name: str, value: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"GANMINT_{name}", value)
    result = command("serve")
    assert result.code == 2 and result.errors.startswith(f"Error: GANMINT_{name}: ")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("GANMINT_REQUIRE_SIGND", "GANMINT_REQUIRE_SIGNED"),
        ("GANMINT_API_KEY_FILE", "GANMINT_API_KEYS_FILE"),
        ("GANMINT_TIMEOUT", "GANMINT_TIMEOUT_S"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_right_name(
    name: str, meant: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    result = command("serve")
    assert result.code == 2
    assert result.errors == f"Error: {name}: there is no such setting; did you mean {meant}?\n"


def test_no_variable_that_this_project_reads_counts_as_misspelt() -> None:
    root = Path(commands.__file__).parent.parent
    sources = [path for name in ("models", "service", "training", "ganmint") for path in (root / name).rglob("*.py")]
    names = {name for path in sources for name in re.findall(r'"(GANMINT_[A-Z_]+[A-Z])"', path.read_text())}
    assert "GANMINT_CACHE" in names and find_unknown_variables(names) == []


def test_variables_of_others_are_no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    links = ["GANMINT_PORT", "GANMINT_PORT_3000_TCP_ADDR", "GANMINT_SERVICE_HOST", "GANMINT_SERVICE_PORT_HTTP"]
    known = ["GANMINT_MAX_N", "GANMINT_KEY_PASSWORD", "GANMINT_ARBITER_PID", "GANMINT_WEB_SERVICE_PORT"]
    assert find_unknown_variables([*links, *known, "PATH", "GANMINT_COLOUR"]) == ["GANMINT_COLOUR"]
    for name in (*links, "GANMINT_COLOUR"):
        monkeypatch.setenv(name, "1")
    read_settings()


@pytest.mark.parametrize(("runtime", "package"), [("onnx", "onnxruntime"), ("torchscript", "torch")])
def test_a_runtime_whose_package_is_missing_is_refused(
    runtime: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.check_runtime(runtime)
    commands.check_runtime("auto")
    monkeypatch.setattr(commands, "find_spec", lambda name: name != package)
    with pytest.raises(InputError, match=f"GANMINT_RUNTIME: {runtime} needs {package}; install it with: pip install"):
        commands.check_runtime(runtime)
    commands.check_runtime("auto")


def test_auto_needs_one_of_the_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "find_spec", lambda name: None)

    with pytest.raises(InputError, match="auto needs onnxruntime or torch; install it with: pip install onnxruntime"):
        commands.check_runtime("auto")


def test_help_of_serve_lists_every_setting_with_its_default(command: Command) -> None:
    text = command("serve", "--help").output

    for name, field in Settings.model_fields.items():
        if name not in INTERNAL_SETTINGS:
            assert re.search(rf"^  GANMINT_{name.upper()}=\S*\s+\S", text, re.MULTILINE), name
            assert field.description, name
    assert "GANMINT_MAX_N=1024" in text and "GANMINT_TIMEOUT_S=30 " in text and "GANMINT_TRACING=0" in text


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "::1"), ("::", "::"), ("0.0.0.0", "0.0.0.0")],
)
def test_a_host_may_be_a_name_or_an_address_of_either_kind(host: str, address: str) -> None:
    assert str(commands.resolve_host(host)) == address


def test_a_host_that_is_unknown_names_the_option() -> None:
    with pytest.raises(InputError, match="--host"):
        commands.resolve_host("no.such.host.invalid")
