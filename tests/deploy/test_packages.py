"""The image's packages, their list as CycloneDX, and the audit."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

import ganmint
from deploy import audit, lock, packages

REPOSITORY = Path(ganmint.__file__).parent.parent
PINNED = {
    str(canonicalize_name(name)): version
    for name, version in re.findall(
        r"^([\w.-]+)==([^\s;]+)", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE
    )
}
of_the_image = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image and its pins are for Python 3.11")


@of_the_image
def test_every_package_of_the_image_is_pinned() -> None:
    versions = packages.list_packages()
    assert {"onnxruntime", "bentoml", "model-signing", "s3fs", "opentelemetry-sdk"} <= versions.keys()
    assert not {"ganmint", "pytest", "matplotlib", "pyarrow"} & versions.keys()
    assert not {"torch", "onnx", "matplotlib"} & packages.list_packages("").keys()
    assert {name: version.partition("+")[0] for name, version in versions.items()} == {
        name: PINNED.get(name) for name in versions
    }


def read_lock(variant: str) -> dict[str, tuple[str, int]]:
    """Read a lock: the version and the number of hashes of each package."""
    entries = re.findall(
        r"^([\w.-]+)==(\S+).*((?:\n    --hash=sha256:[0-9a-f]{64}.*)*)", lock.get_path(variant).read_text(), re.M
    )
    return {str(canonicalize_name(name)): (version, hashes.count("--hash")) for name, version, hashes in entries}


@of_the_image
@pytest.mark.parametrize("variant", lock.EXTRAS)
def test_the_lock_has_every_package_of_the_image_as_it_was_tested_and_its_hashes(variant: str) -> None:
    entries = read_lock(variant)
    # What is not pinned is for other systems and older patch releases of Python.
    assert all(version == PINNED.get(name, version) for name, (version, _) in entries.items())
    assert packages.list_packages(lock.EXTRAS[variant]).keys() <= entries.keys()
    assert min(num_hashes for _, num_hashes in entries.values()) > 0
    assert ("torch" in entries) == (variant == "cuda")
    assert lock.get_path(variant).read_text().startswith(lock.write_header(lock.EXTRAS[variant]) + "\n")


def test_more_extras_are_more_packages() -> None:
    assert "pyarrow" in packages.list_packages("image,parquet")
    assert "s3fs" not in packages.list_packages("tracing")


def test_torch_is_in_the_image_for_gpus_and_in_the_environment_of_training_only() -> None:
    assert "torch" not in packages.list_packages()
    assert "torch" in packages.list_packages(packages.CUDA_EXTRAS)
    assert {"torch", "onnx", "matplotlib"} <= packages.list_packages("train").keys()


@of_the_image
def test_the_bill_of_materials_lists_these_packages_with_licences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", ["packages", "--sbom", str(tmp_path / "sbom.json")])
    packages.main()
    bom: dict[str, Any] = json.loads((tmp_path / "sbom.json").read_text())
    components = {str(canonicalize_name(c["name"])): c["version"] for c in bom["components"]}
    assert (bom["bomFormat"], bom["metadata"]["component"]["name"]) == ("CycloneDX", "ganmint")
    assert components == packages.list_packages()
    assert all(c["purl"].startswith("pkg:pypi/") for c in bom["components"])
    numpy = next(c for c in bom["components"] if c["name"] == "numpy")
    assert numpy["licenses"]
    refs = {c["bom-ref"] for c in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
    needed = {d["ref"]: set(d["dependsOn"]) for d in bom["dependencies"]}
    assert needed.keys() == refs and set().union(*needed.values()) <= refs
    assert any("onnxruntime" in ref for ref in needed[bom["metadata"]["component"]["bom-ref"]])


CLEAN = {"name": "a", "version": "1", "vulns": []}
LISTED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("report", "code", "message"),
    [
        ([CLEAN], 0, r"^1 packages, no known vulnerability$"),
        ([CLEAN, LISTED], 1, r"^b 2: PYSEC-1, fixed in 2.1$"),
        ([CLEAN, SKIPPED], 1, r"^NOT AUDITED: 1 of 2 packages could not be looked up \(Dependency not found\)"),
        ([LISTED, SKIPPED], 1, r"^b 2: PYSEC-1, fixed in 2.1\nNOT AUDITED: 1 of 2"),
    ],
    ids=["clean", "listed", "skipped", "both"],
)
def test_only_packages_that_were_looked_up_count_as_clean(
    report: list[dict[str, Any]], code: int, message: str
) -> None:
    exit_code, text = audit.summarize({"dependencies": report})
    assert exit_code == code
    assert re.search(message, text)


def test_without_the_advisory_service_nothing_is_audited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing listens on this port.
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr(sys, "argv", ["audit", "--service", "osv"])
    monkeypatch.setattr(audit, "list_packages", lambda extras: {"anyio": "4.16.0"})
    with pytest.raises(SystemExit) as caught:
        audit.main()
    assert caught.value.code == 1
    assert capsys.readouterr().out.startswith("NOT AUDITED: ")
