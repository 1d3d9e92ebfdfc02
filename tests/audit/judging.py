"""What an answer of pip-audit means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of a version that is locked."""

    package: str
    version: str
    advisory: str
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fix = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no version fixes it yet"
        return f"{self.package} {self.version}: {self.advisory}, {fix}"


@dataclass(frozen=True)
class Answer:
    """pip-audit's answer about one or more packages."""

    audited: int
    left_out: tuple[str, ...]
    """Packages that the database of advisories had no answer for."""
    findings: tuple[Finding, ...]


def read(document: dict[str, Any]) -> Answer:
    """An answer from what `pip-audit --format json` writes."""
    dependencies = document["dependencies"]
    left_out = tuple(one["name"] for one in dependencies if "skip_reason" in one)
    findings = tuple(found for one in dependencies for found in _findings(one))
    return Answer(len(dependencies) - len(left_out), left_out, findings)


def _findings(dependency: dict[str, Any]) -> Iterator[Finding]:
    for vulnerability in dependency.get("vulns", ()):
        yield Finding(
            dependency["name"],
            dependency["version"],
            vulnerability["id"],
            tuple(vulnerability["fix_versions"]),
        )


def first_requirement(lock: str) -> str:
    """The first requirement of a lock, with its hashes: a question to see who answers."""
    lines = []
    for line in lock.splitlines():
        if not line or line.startswith("#"):
            continue
        lines.append(line)
        if not line.endswith("\\"):
            break
    return "\n".join(lines) + "\n"
