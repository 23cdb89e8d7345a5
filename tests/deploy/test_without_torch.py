"""What the image for CPUs installs is enough to serve; what is missing from it is named."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

import ganmint
from deploy.packages import list_packages
from models import artifact, images, store
from tests.live.server import install, run_ganmint, run_server
from tests.waiting import TIMEOUT_S

REPOSITORY = Path(ganmint.__file__).parent.parent


def make_environment(folder: Path, versions: dict[str, str]) -> Path:
    """Make a virtual environment of packages that are installed here, by links; returns its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in versions:
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            link = site / file.parts[0]
            if file.parts[0] != ".." and not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(file.parts[0]))))
    own = site / "ganmint-0.dist-info"
    own.mkdir()
    text = metadata.distribution("ganmint").read_text("METADATA") or "Name: ganmint\nVersion: 0\n"
    (own / "METADATA").write_text(text)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def serving_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has ganmint's main dependencies and no optional one."""
    return make_environment(tmp_path_factory.mktemp("serving") / "environment", list_packages(""))


@pytest.mark.slow
def test_the_main_dependencies_are_enough_to_serve_sample_and_export(
    serving_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    process = subprocess.run([str(serving_python), "-c", "import torch"], capture_output=True, text=True)
    assert "No module named 'torch'" in process.stderr
    (digits,) = [folder for folder in store.list_bundled() if folder.name == "digits"]
    install(tmp_path / "home", digits)
    sampler = artifact.load(digits, runtime="onnx")
    (address,) = sampler.manifest.addresses(seed=7, n=1, labels=3)
    png = images.encode(sampler.mint([address])[0], "image/png", str(address))

    monkeypatch.setattr(sys, "executable", str(serving_python))
    with run_server(tmp_path / "home", tmp_path / "log") as server:
        body = {"model": "digits", "seed": 7, "labels": 3}
        assert server.post_generate(body, {"Accept": "image/png"}).content == png
        options = ("digits", "--count", "4", "--labels", "3", "--seed", "7")
        process = server.run_command("sample", *options, "--out", str(tmp_path / "pictures"))
        assert process.returncode == 0, process.stderr
        assert png in [path.read_bytes() for path in (tmp_path / "pictures").iterdir()]
        export = ("--format", "imagefolder", "--workers", "2", "--shard-size", "2", "--out", str(tmp_path / "out"))
        process = server.run_command("export", *options, *export)
        assert process.returncode == 0, process.stderr
        assert png in [path.read_bytes() for path in (tmp_path / "out").rglob("*.png")]


@pytest.mark.slow
def test_models_run_by_torchscript_are_refused_by_what_is_missing(
    serving_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(sys, "executable", str(serving_python))
    install(tmp_path / "home", *store.list_bundled())
    process = run_ganmint(tmp_path / "home", "models", "verify", "digits", GANMINT_RUNTIME="torchscript")
    assert process.returncode == 1
    assert "pip install torch" in process.stderr and "Traceback" not in process.stderr


@pytest.mark.parametrize("arguments", ["train digits --out run", "evaluate run", "publish run", "train --help"])
def test_training_without_torch_says_what_to_install(arguments: str) -> None:
    # None makes every import of torch fail, as where it is not installed.
    code = "import sys; sys.modules['torch'] = None; from ganmint.cli import main; main()"
    command = [sys.executable, "-c", code, *arguments.split()]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert process.stderr == "Error: training needs torch; install it with: pip install '.[train]' (in the checkout)\n"
