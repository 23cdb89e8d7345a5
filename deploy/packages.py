"""The Python packages of the image: what Ganmint needs, in the versions of constraints.txt.

Knows: how they follow from the environment that `make setup` makes, and their list as CycloneDX. Does not
know: what else an image has (Debian's packages), which packages are vulnerable.

    python -m deploy.packages                  one NAME==VERSION a line
    python -m deploy.packages --sbom sbom.json
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
# The image's.
PYTHON = "3.11"


def packages(extras: str = "image") -> dict[str, str]:
    """Name to version of everything that `ganmint[extras]` needs here, itself left out, by name.

    Raises: importlib.metadata.PackageNotFoundError naming what is not installed.
    """
    found: dict[str, str] = {}
    wanted = [(ROOT, frozenset(extras.split(",")))]
    seen = set(wanted)
    while wanted:
        name, asked = wanted.pop()
        distribution = metadata.distribution(name)
        if name != ROOT:
            found[name] = distribution.version
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in asked | {""}):
                needed = (str(canonicalize_name(requirement.name)), frozenset(requirement.extras))
                if needed not in seen:
                    seen.add(needed)
                    wanted.append(needed)
    return dict(sorted(found.items()))


def sbom(wanted: dict[str, str]) -> dict[str, Any]:
    """CycloneDX 1.6 of these packages of this environment, with their licences and what needs what."""
    command = ["environment", "--pyproject", "pyproject.toml", "--output-reproducible", "--no-validate"]
    made = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", *command, str(Path(sys.prefix))],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    bom: dict[str, Any] = json.loads(made.stdout)
    bom["components"] = [c for c in bom["components"] if canonicalize_name(c["name"]) in wanted]
    kept = {c["bom-ref"] for c in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
    bom["dependencies"] = [
        {**d, "dependsOn": [ref for ref in d.get("dependsOn", ()) if ref in kept]}
        for d in bom["dependencies"]
        if d["ref"] in kept
    ]
    return bom


def main() -> None:
    """Print the packages, or write their list."""
    parser = argparse.ArgumentParser(description="The Python packages of the image.")
    parser.add_argument("--sbom", type=Path, metavar="FILE", help="write CycloneDX JSON instead")
    arguments = parser.parse_args()
    if (here := f"{sys.version_info.major}.{sys.version_info.minor}") != PYTHON:
        sys.exit(f"the image has Python {PYTHON}, this is {here}, for which other packages may be needed")
    wanted = packages()
    if arguments.sbom is None:
        print(*(f"{name}=={version}" for name, version in wanted.items()), sep="\n")
        return
    bom = sbom(wanted)
    write_atomically(arguments.sbom, json.dumps(bom, indent=2).encode() + b"\n")
    print(f"{arguments.sbom}: {len(bom['components'])} packages")


if __name__ == "__main__":
    main()
