"""The chart as files, for checkers that read them. Run: python -m tests.deploy.rendered FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.deploy.chart import EXPORT, KEY, MATRIX, OUTSIDE, Values, render

DIGEST = {"digest": "sha256:" + "0" * 64}
COMBINED: dict[str, Values] = {
    "defaults": {"image": DIGEST},
    "whole": {**MATRIX["gpu keda ingress monitoring"], "image": DIGEST, "export": EXPORT},
    "open": {"image": DIGEST, "ingress": OUTSIDE, "apiKeys": {"records": [KEY]}, "models": {"claim": "store"}},
}


def main(folder: Path) -> None:
    """Write a file a combination."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in COMBINED.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(render(values)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
