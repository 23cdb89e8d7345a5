"""The API description is held against the real service, by somebody else's tool."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.live.conftest import Server


def test_schemathesis_finds_no_undocumented_answer_and_no_5xx(digits_server: Server, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", digits_server.url + "/openapi.json"]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "20", "--seed", "1"]
    # That a list of labels has n entries, and which labels a model has, is more than JSON Schema can say.
    command += ["--exclude-checks", "positive_data_acceptance"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) == int(passed[2]) >= 200
