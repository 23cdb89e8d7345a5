"""Beside foreign packages called models, service or training, Ganmint still finds its own, or says what hides them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.waiting import TIMEOUT_S

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("ganmint", "models", "service", "training")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's project, with packages of the same names."""
    folder = tmp_path / "project"
    for name in ("models", "training"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("memory = errors = None\n")
    (folder / "service.py").write_text("")
    return folder


def run(
    *command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(environment or {})
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=TIMEOUT_S)


# From the sources


@pytest.mark.parametrize("path", [str(REPOSITORY), f".{os.pathsep}{REPOSITORY}"])
def test_the_module_runs_from_a_project_with_its_own_models(project: Path, path: str, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": path, "BENTOML_HOME": str(tmp_path / "store")}
    result = run(sys.executable, "-m", "ganmint", "models", "list", "--json", cwd=project, environment=environment)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


def test_the_own_folder_is_put_before_the_projects(project: Path) -> None:
    code = "import sys, ganmint.cli, models, service, training; print(models.__file__, service.__file__, sys.path[-1])"
    result = run(
        sys.executable, "-c", code, cwd=project, environment={"PYTHONPATH": f"{project}{os.pathsep}{REPOSITORY}"}
    )
    assert result.stdout.split() == [
        str(REPOSITORY / "models" / "__init__.py"),
        str(REPOSITORY / "service" / "__init__.py"),
        str(project),
    ]


@pytest.mark.parametrize(
    "code",
    [
        "import ganmint; ganmint.load('digits')",
        "from ganmint import Address",
        "import models, ganmint.cli",
    ],
)
def test_where_a_foreign_package_hides_ours_the_error_names_it_and_the_remedy(project: Path, code: str) -> None:
    path = f"{project}{os.pathsep}{REPOSITORY}"
    result = run(sys.executable, "-c", code, cwd=project.parent, environment={"PYTHONPATH": path})
    assert result.returncode == 1
    assert (
        f"ImportError: another package called 'models', at {project / 'models'}, hides Ganmint's own" in result.stderr
    )
    assert "Run the ganmint command instead" in result.stderr


def test_a_module_file_of_the_same_name_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text("")
    path = f"{tmp_path}{os.pathsep}{REPOSITORY}"
    result = run(
        sys.executable, "-c", "from ganmint import Address", cwd=tmp_path.parent, environment={"PYTHONPATH": path}
    )
    assert f"another package called 'training', at {tmp_path / 'training.py'}" in result.stderr


# From a checkout called ganmint


@pytest.mark.slow
def test_beside_a_checkout_its_folder_is_not_taken_for_the_package(tmp_path: Path) -> None:
    checkout, site = tmp_path / "ganmint", tmp_path / "site"
    shutil.copytree(REPOSITORY / "ganmint", checkout / "ganmint", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(REPOSITORY / name, checkout / name)
    build = "from setuptools.build_meta import build_editable; build_editable('..')"
    built = run(sys.executable, "-c", build, cwd=checkout)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)

    code = f"import site; site.addsitedir({str(site)!r}); import ganmint; print(ganmint.__file__)"
    # -S leaves out the packages of this environment, of which Ganmint may be one.
    result = run(sys.executable, "-S", "-c", code, cwd=tmp_path)

    assert result.stdout.strip() == str(checkout / "ganmint" / "__init__.py")


# From the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(REPOSITORY / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(REPOSITORY / name, folder / "source" / name)
    command = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir")
    result = run(*command, folder, folder / "source", cwd=folder)
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("ganmint-*.whl")
    return path


@pytest.fixture(scope="module")
def bin_dir(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel in it; what it depends on is borrowed from this one."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder)
    python = folder / "bin" / "python"
    where = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    Path(where, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet", wheel)
    result = run(*command, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "bin"


@pytest.mark.slow
def test_the_wheel_holds_the_four_packages_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(PACKAGES)
    assert {
        "ganmint/py.typed",
        "service/static/mint/mint.html",
        "service/static/play/kernel.wasm",
        "models/pretrained/digits/manifest.json",
    } <= set(names)
    assert any(name.startswith("training/presets/") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{}, {"PYTHONPATH": "."}], ids=["plain", "with-PYTHONPATH"])
@pytest.mark.parametrize("program", [("ganmint",), ("python", "-m", "ganmint")], ids=" ".join)
def test_an_installed_ganmint_runs_from_a_project_with_its_own_models(
    bin_dir: Path, project: Path, tmp_path: Path, program: tuple[str, ...], environment: dict[str, str]
) -> None:
    command: tuple[str | Path, ...] = (bin_dir / program[0], *program[1:])
    environment = environment | {"BENTOML_HOME": str(tmp_path / "store")}

    installed = run(*command, "models", "install", cwd=project, environment=environment)
    listed = run(*command, "models", "list", cwd=project, environment=environment)

    assert (installed.returncode, listed.returncode) == (0, 0), installed.stderr + listed.stderr
    assert "digits" in listed.stdout and "faces" in listed.stdout


@pytest.mark.slow
def test_worker_processes_find_our_packages_beside_a_projects_own(bin_dir: Path, project: Path, tmp_path: Path) -> None:
    environment = {"BENTOML_HOME": str(tmp_path / "store"), "PYTHONPATH": "."}
    command = (bin_dir / "python", "-m", "ganmint")
    export = ("export", "digits", "--count", "20", "--shard-size", "10", "--workers", "2", "--format", "npz", "--out")
    assert run(*command, "models", "install", cwd=project, environment=environment).returncode == 0

    result = run(*command, *export, tmp_path / "out", cwd=project, environment=environment)

    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out").rglob("*.npz"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("program", ["--no-python ganmint", "-m ganmint"])
def test_torchrun_starts_an_installed_ganmint_beside_a_projects_models(
    bin_dir: Path, project: Path, program: str
) -> None:
    launcher = (bin_dir / "python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1")
    path = f"{bin_dir}{os.pathsep}{os.environ['PATH']}"

    result = run(*launcher, *program.split(), "train", "--help", cwd=project, environment={"PATH": path})

    assert result.returncode == 0, result.stderr
    assert "Usage: ganmint train" in result.stdout
