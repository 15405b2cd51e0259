"""Known vulnerabilities of the installed packages, and a bill of materials.

python tools/audit.py results/bill_of_materials.json

Advisories come from the package index. Some mirrors serve none: what could not be audited is
counted and said. The exit code is 1 where a vulnerability is known.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT = 120


def audited() -> list[dict[str, Any]]:
    """The installed packages, each with its known vulnerabilities, or the reason for none."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner=off", "-f=json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return []
    # The exit code is 1 with vulnerabilities as well as without a service.
    return json.loads(done.stdout)["dependencies"] if done.stdout else []


def report(packages: list[dict[str, Any]]) -> tuple[str, bool]:
    """What to say, and whether a vulnerability is known."""
    if not packages:
        return "audit: no advisory service could be reached; nothing was audited", False
    skipped = sum("skip_reason" in package for package in packages)
    lines = [f"audit: {len(packages) - skipped} packages audited, {skipped} without advisories"]
    if skipped == len(packages):
        lines[0] += ": the package index serves none, so that nothing is known"
    found = [
        f"{package['name']} {package['version']}: {fault['id']}, fixed in "
        f"{', '.join(fault['fix_versions']) or 'no version'}"
        for package in packages
        for fault in package.get("vulns", [])
    ]
    return "\n".join([*lines, *found]), bool(found)


def main(path: str) -> int:
    """Print the audit and write the bill of materials (CycloneDX)."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable, "-o", path],
        check=True,
    )
    text, is_vulnerable = report(audited())
    print(f"{text}\nbill of materials: {path}")
    return int(is_vulnerable)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
