"""Locks the Python packages of the image: every version, and the hash of every file that may be installed.

The versions are those of constraints.txt, the hashes those that the package index states now. A later build that is
offered other bytes ends with an error.

    python -m deploy.lock                                            both variants, as committed: make lock
    python -m deploy.lock --variant cpu --extras image,parquet       one variant with other optional parts
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from deploy.packages import PYTHON
from models.files import write_atomically

REPOSITORY = Path(__file__).parent.parent
# Ganmint's optional parts in each variant of the image.
EXTRAS = {"cpu": "image", "cuda": "image,torch"}


def get_path(variant: str) -> Path:
    """Return the file of a variant's lock."""
    return Path(__file__).parent / f"requirements-{variant}.txt"


def write_header(extras: str) -> str:
    """Return the first line of a lock, by which deploy/bento.py knows whether it is the one it needs."""
    return f"# ganmint[{extras}] on Python {PYTHON}, made by: make lock"


def lock(variant: str, extras: str, index: str | None) -> int:
    """Write a variant's lock; returns the number of packages.

    Args:
        variant: cpu or cuda; with cpu, torch is the one without CUDA, from PyTorch's own index.
        extras: Ganmint's optional parts, comma-separated.
        index: address of the package index that states the hashes; None: uv's default one.

    Raises:
        subprocess.CalledProcessError: when uv finds no such packages; uv has said why.
    """
    names = [part for name in extras.split(",") if name for part in ("--extra", name)]
    command = ["uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate", "--generate-hashes"]
    command += ["--universal", "--python-version", PYTHON, "--constraint", "constraints.txt"]
    command += [*(["--default-index", index] if index else []), *names, "pyproject.toml"]
    if variant == "cpu" and "torch" in names:
        command += ["--torch-backend", "cpu"]
    process = subprocess.run(command, check=True, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    write_atomically(get_path(variant), f"{write_header(extras)}\n{process.stdout}".encode())
    return sum(line[:1].isalnum() for line in process.stdout.splitlines())


def main() -> None:
    """Write the locks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--variant", choices=EXTRAS, help="lock this variant only")
    parser.add_argument("--extras", metavar="NAMES", help="optional parts, comma-separated; needs --variant")
    parser.add_argument("--index", metavar="URL", help="package index (default: uv's own)")
    arguments = parser.parse_args()
    if arguments.extras is not None and arguments.variant is None:
        parser.error("--extras needs --variant")
    for variant in [arguments.variant] if arguments.variant else EXTRAS:
        extras = EXTRAS[variant] if arguments.extras is None else arguments.extras
        try:
            num_packages = lock(variant, extras, arguments.index)
        except subprocess.CalledProcessError as error:
            sys.exit(error.returncode)
        print(f"{get_path(variant)}: {num_packages} packages")


if __name__ == "__main__":
    main()
