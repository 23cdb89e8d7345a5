"""Runs the page's modules in Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
STATIC = HERE.parents[2] / "service/static/play"


def run_node(script: str, argument: Any, *options: str) -> Any:
    """Run a script of this folder with a JSON argument on its standard input; return the JSON that it prints."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js (node), which runs what the browser runs")
    done = subprocess.run(
        [node, str(HERE / script), *options], input=json.dumps(argument), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
