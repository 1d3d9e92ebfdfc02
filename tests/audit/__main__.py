"""Audits `requirements.lock`: exit 1 for a known vulnerability.

Where no database of advisories is reached, it says so and exits 0, since nothing was found; with
`--required` that is exit 3. Locks of what tests only compare with are not audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.audit.judging import Answer, first_requirement, read
from tests.tools import LOCK as TOOLS
from tests.tools import environment

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
SERVICES = ("osv", "pypi")
"""Databases of advisories that pip-audit can ask; the first that answers is asked about all."""


def audit(python: Path, service: str, requirements: Path) -> Answer | None:
    """Ask about requirements; None where there is no answer."""
    done = subprocess.run(
        [
            *(str(python), "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"),
            *("--vulnerability-service", service, "--timeout", "10"),
            *("--require-hashes", "--disable-pip", "--requirement", str(requirements)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    try:
        return read(json.loads(done.stdout))
    except ValueError:
        return None


def answering(python: Path) -> str | None:
    """A service that knows the first package of the lock."""
    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "one.txt"
        one.write_text(first_requirement(LOCK.read_text(encoding="utf-8")), encoding="utf-8")
        for service in SERVICES:
            answer = audit(python, service, one)
            if answer is not None and answer.audited:
                return service
    return None


def main() -> int:
    """Exit code: 0, 1 for a vulnerability, 3 where nobody answered and `--required` was given."""
    python = environment("tools", TOOLS)
    service = answering(python)
    answer = None if service is None else audit(python, service, LOCK)
    if answer is None:
        print(
            "audit: NOT AUDITED: no database of advisories is in reach from here."
            " Run `make audit` where one is"
        )
        return 3 if "--required" in sys.argv else 0
    for finding in answer.findings:
        print(f"audit: {finding}")
    if answer.left_out:
        print(f"audit: no answer about {', '.join(answer.left_out)}")
    print(
        f"audit: {answer.audited} packages of {LOCK.name} audited with {service},"
        f" {len(answer.findings)} known vulnerabilities"
    )
    return 1 if answer.findings else 0


if __name__ == "__main__":
    sys.exit(main())
