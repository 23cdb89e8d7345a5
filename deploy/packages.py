"""Lists the Python packages of the image for CPUs, read from the environment of `make setup`.

Not here: the image's Debian packages, and which packages are vulnerable (deploy.audit).

    python -m deploy.packages                              one NAME==VERSION a line
    python -m deploy.packages --sbom sbom.json
    python -m deploy.packages --extras image,torch         of the image for GPUs
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from models.files import write_atomically

ROOT = "ganmint"
# The image's Python.
PYTHON = "3.11"
IMAGE_EXTRAS = "image"
# Of the image for GPUs, which has all that the other one has.
CUDA_EXTRAS = "image,torch"


def list_packages(extras: str = IMAGE_EXTRAS) -> dict[str, str]:
    """List everything that `ganmint[extras]` needs in this environment, without ganmint itself.

    Returns:
        The version of each package, sorted by name.

    Raises:
        importlib.metadata.PackageNotFoundError: names a package that is not installed.
    """
    versions: dict[str, str] = {}
    queue = [(ROOT, frozenset(extras.split(",")))]
    visited = set(queue)
    while queue:
        name, package_extras = queue.pop()
        distribution = metadata.distribution(name)
        if name != ROOT:
            versions[name] = distribution.version
        for requirement in map(Requirement, distribution.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in package_extras | {""}):
                dependency = (str(canonicalize_name(requirement.name)), frozenset(requirement.extras))
                if dependency not in visited:
                    visited.add(dependency)
                    queue.append(dependency)
    return dict(sorted(versions.items()))


def make_sbom(versions: dict[str, str]) -> dict[str, Any]:
    """Describe these packages as CycloneDX 1.6, with their licences and dependencies."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", "pyproject.toml"]
    command += ["--output-reproducible", "--no-validate", str(Path(sys.prefix))]
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    bom: dict[str, Any] = json.loads(process.stdout)
    bom["components"] = [c for c in bom["components"] if canonicalize_name(c["name"]) in versions]
    refs = {c["bom-ref"] for c in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
    bom["dependencies"] = [
        {**d, "dependsOn": [ref for ref in d.get("dependsOn", ()) if ref in refs]}
        for d in bom["dependencies"]
        if d["ref"] in refs
    ]
    return bom


def main() -> None:
    """Print the packages, or write them as CycloneDX."""
    parser = argparse.ArgumentParser(description="List the Python packages of the image.")
    parser.add_argument("--sbom", type=Path, metavar="FILE", help="write CycloneDX JSON instead")
    parser.add_argument("--extras", default=IMAGE_EXTRAS, metavar="NAMES", help="ganmint's optional parts in the image")
    arguments = parser.parse_args()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if version != PYTHON:
        sys.exit(f"the image has Python {PYTHON}, this is {version}, which may need other packages")
    versions = list_packages(arguments.extras)
    if arguments.sbom is None:
        print(*(f"{name}=={version}" for name, version in versions.items()), sep="\n")
        return
    bom = make_sbom(versions)
    write_atomically(arguments.sbom, json.dumps(bom, indent=2).encode() + b"\n")
    print(f"{arguments.sbom}: {len(bom['components'])} packages")


if __name__ == "__main__":
    main()
