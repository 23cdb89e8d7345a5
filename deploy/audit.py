"""Known vulnerabilities of the image's Python packages, by pip-audit.

Knows: that a package which could not be looked up was not audited, however calm pip-audit reports it. Does
not know: where advisories come from; pip-audit asks the package index, or OSV (`--service osv`).

    python -m deploy.audit
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.version import Version

from deploy.packages import packages


def audit(wanted: dict[str, str], service: str) -> dict[str, Any]:
    """pip-audit's report on these versions.

    Raises: RuntimeError with its last word where it makes none.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        # Advisories are on public versions: 2.13.0, not 2.13.0+cpu.
        file.writelines(f"{name}=={Version(version).public}\n" for name, version in wanted.items())
        file.flush()
        command = ["--requirement", file.name, "--no-deps", "--disable-pip", "--format", "json"]
        done = subprocess.run(
            [str(Path(sys.executable).with_name("pip-audit")), *command, "--progress-spinner", "off", "-s", service],
            capture_output=True, text=True,
        )  # fmt: skip
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise RuntimeError(lines[-1]) from None
    return report


def verdict(report: dict[str, Any]) -> tuple[int, str]:
    """The exit code, and the words for people: 0 only where every package was looked up and none is listed."""
    every = report["dependencies"]
    skipped = [one for one in every if "skip_reason" in one]
    found = [
        f"{one['name']} {one['version']}: {v['id']}, fixed in {', '.join(v['fix_versions']) or 'no version yet'}"
        for one in every
        for v in one.get("vulns", ())
    ]
    lines = list(found)
    if skipped:
        lines.append(
            f"NOT AUDITED: {len(skipped)} of {len(every)} packages could not be looked up "
            f"({skipped[0]['skip_reason']}). Run this where the advisory service can be reached."
        )
    elif not found:
        lines.append(f"{len(every)} packages, no known vulnerability")
    return (1 if found or skipped else 0), "\n".join(lines)


def main() -> None:
    """Exit codes: 0 all looked up and none listed, 1 otherwise."""
    parser = argparse.ArgumentParser(description="Known vulnerabilities of the image's Python packages.")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="where advisories come from")
    try:
        code, words = verdict(audit(packages(), parser.parse_args().service))
    except RuntimeError as error:
        code, words = 1, f"NOT AUDITED: pip-audit could not do it: {error}"
    print(words)
    sys.exit(code)


if __name__ == "__main__":
    main()
