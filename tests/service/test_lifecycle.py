"""What ties a worker to its arbiter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from service.lifecycle import ARBITER_VARIABLE

WORKER = "from service import lifecycle; lifecycle.die_with_parent(); print('serving')"


@pytest.mark.parametrize(
    ("arbiter", "code", "output", "errors"),
    [
        ("this process", 0, "serving\n", ""),
        # Never a parent: the arbiter was killed while the worker started.
        ("0", 1, "", "its arbiter has ended"),
    ],
)
def test_a_worker_serves_only_under_its_arbiter(arbiter: str, code: int, output: str, errors: str) -> None:
    environment = {**os.environ, ARBITER_VARIABLE: arbiter.replace("this process", str(os.getpid()))}
    result = subprocess.run([sys.executable, "-c", WORKER], env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (code, output)
    assert errors in result.stderr
