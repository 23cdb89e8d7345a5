"""Looks the Python packages of the images for CPUs and GPUs up among known vulnerabilities, by pip-audit.

pip-audit also ends with 0 when it skipped packages; here a skipped package is an error. Advisories come from the
package index, or from OSV (`--service osv`).

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

from deploy.packages import CUDA_EXTRAS, list_packages


def audit(versions: dict[str, str], service: str) -> dict[str, Any]:
    """Run pip-audit on these packages and return its report.

    Args:
        versions: the version of each package, by name.
        service: pypi or osv.

    Raises:
        RuntimeError: when pip-audit makes no report; with the last line of its output.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        # Advisories name public versions: 2.13.0, not 2.13.0+cpu.
        file.writelines(f"{name}=={Version(version).public}\n" for name, version in versions.items())
        file.flush()
        command = [str(Path(sys.executable).with_name("pip-audit")), "--requirement", file.name, "--service", service]
        command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
        process = subprocess.run(command, capture_output=True, text=True)
    try:
        report: dict[str, Any] = json.loads(process.stdout)
    except ValueError:
        lines = process.stderr.strip().splitlines() or [f"it ended with {process.returncode}"]
        raise RuntimeError(lines[-1]) from None
    return report


def summarize(report: dict[str, Any]) -> tuple[int, str]:
    """Return the exit code and a text: 0 only if every package was looked up and none is vulnerable."""
    packages = report["dependencies"]
    skipped = [package for package in packages if "skip_reason" in package]
    vulnerabilities = [
        f"{package['name']} {package['version']}: {v['id']}, "
        f"fixed in {', '.join(v['fix_versions']) or 'no version yet'}"
        for package in packages
        for v in package.get("vulns", ())
    ]
    lines = list(vulnerabilities)
    if skipped:
        lines.append(
            f"NOT AUDITED: {len(skipped)} of {len(packages)} packages could not be looked up "
            f"({skipped[0]['skip_reason']}). Run this where the advisory service can be reached."
        )
    elif not vulnerabilities:
        lines.append(f"{len(packages)} packages, no known vulnerability")
    return (1 if vulnerabilities or skipped else 0), "\n".join(lines)


def main() -> None:
    """Print the audit; exit with 0 if all packages were looked up and none is vulnerable, else with 1."""
    parser = argparse.ArgumentParser(description="Look the image's Python packages up among known vulnerabilities.")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="where advisories come from")
    try:
        code, text = summarize(audit(list_packages(CUDA_EXTRAS), parser.parse_args().service))
    except RuntimeError as error:
        code = 1
        text = f"NOT AUDITED: pip-audit failed: {error}"
    print(text)
    sys.exit(code)


if __name__ == "__main__":
    main()
