"""Schemathesis compares the API description with the real service."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.server import Server

TIMEOUT_S = 850


@pytest.mark.timeout(TIMEOUT_S + 50)
def test_schemathesis_finds_no_undocumented_response_and_no_5xx(digits_server: Server, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", digits_server.url + "/openapi.json"]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "20", "--seed", "1"]
    # JSON Schema cannot express that a list of labels has n entries, nor which labels a model has.
    command += ["--exclude-checks", "positive_data_acceptance"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert process.returncode == 0, process.stdout
    counts = re.search(r"(\d+) generated, (\d+) passed", process.stdout)
    assert counts, process.stdout
    assert int(counts[1]) == int(counts[2]) >= 200
