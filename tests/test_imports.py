"""The contracts between the packages (pyproject.toml, importlinter)."""

import subprocess
import sys


def test_imports_point_down() -> None:
    # In a process of its own, because it turns off all loggers of the process.
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr
