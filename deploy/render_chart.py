"""Renders the chart to files, for checkers that read them. Run: python -m deploy.render_chart FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from deploy.chart import EXPORT, INGRESS, KEY, MATRIX, Values, render

DIGEST = {"digest": "sha256:" + "0" * 64}
COMBINATIONS: dict[str, Values] = {
    "defaults": {"image": DIGEST},
    "whole": {**MATRIX["gpu keda ingress monitoring"], "image": DIGEST, "export": EXPORT},
    "open": {"image": DIGEST, "ingress": INGRESS, "apiKeys": {"records": [KEY]}, "models": {"claim": "store"}},
}


def main(folder: Path) -> None:
    """Write one file for each combination."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in COMBINATIONS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(render(values)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
