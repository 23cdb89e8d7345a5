"""Checks the files and the settings of a container image that is not running.

    python -m deploy.check_image ROOT CONFIG

ROOT is the folder that the image is mounted at, CONFIG what `buildah inspect` prints. Run it as root: other users
cannot see every file. Used by deploy/smoke-container.sh.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

UID = 1034
LABELS = ("title", "description", "version", "revision", "licenses", "base.name")
# Programs that a service does not need and an intruder may.
TOOLS = {"apk", "c++", "cc", "curl", "g++", "gcc", "git", "make", "pip", "pip3", "uv", "uvx", "wget"}
# Where any user may write, as on every Linux. The kernel's file systems are not in the image.
SHARED_FOLDERS = {"tmp", "var/tmp", "run/lock"}


def find_wrong_files(root: Path) -> Iterator[str]:
    """Yield what is wrong with each file that the image's user owns or may change, or that gives other rights."""
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder, name)
            inside = path.relative_to(root)
            info = path.lstat()
            if UID in (info.st_uid, info.st_gid):
                yield f"/{inside} belongs to the user that runs"
            if stat.S_ISREG(info.st_mode) and info.st_mode & (stat.S_ISUID | stat.S_ISGID):
                yield f"/{inside} runs with the rights of its owner"
            writable = info.st_mode & stat.S_IWOTH and stat.S_IFMT(info.st_mode) in (stat.S_IFREG, stat.S_IFDIR)
            if writable and str(inside) not in SHARED_FOLDERS:
                yield f"/{inside} may be changed by every user"
            if name in TOOLS and inside.parent.name in ("bin", "sbin"):
                yield f"/{inside} is not needed"


def find_wrong_settings(config: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the image's user and labels.

    Args:
        config: the image's `config` by the OCI image specification.
    """
    if config.get("User") != f"{UID}:{UID}":
        yield f"the image runs as {config.get('User')!r}"
    labels = config.get("Labels") or {}
    for name in LABELS:
        if not labels.get(f"org.opencontainers.image.{name}"):
            yield f"the image has no label org.opencontainers.image.{name}"


def main(root: Path, config_file: Path) -> None:
    """Print what is wrong, and exit with 1 if anything is."""
    config = json.loads(config_file.read_text())["OCIv1"]["config"]
    faults = [*find_wrong_settings(config), *find_wrong_files(root)]
    if faults:
        print(*faults[:20], *([f"and {len(faults) - 20} more"] if len(faults) > 20 else []), sep="\n")
        sys.exit(1)
    print("every file belongs to root, none gives other rights; no installers; labels and user are set")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
