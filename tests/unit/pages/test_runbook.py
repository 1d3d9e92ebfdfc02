"""The runbook has a section for every alert and every exit code, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from streams.errors import ExitCode

ROOT = Path(__file__).parents[3]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", flags=re.MULTILINE | re.DOTALL)
SECTIONS = {title: text.strip() for title, text in SECTION.findall(RUNBOOK)}
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "docker/prometheus/rules/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}


def test_the_sections_are_the_alerts_and_the_exit_codes() -> None:
    assert set(SECTIONS) == {*ALERTS, *(code.name for code in ExitCode)}
    assert all(len(text) > 40 for text in SECTIONS.values())


@pytest.mark.parametrize("code", list(ExitCode), ids=lambda code: code.name)
def test_an_exit_codes_section_begins_with_its_number(code: ExitCode) -> None:
    assert SECTIONS[code.name].startswith(f"{int(code)}. ")


def test_the_table_says_of_every_exit_code_whether_to_start_again() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| ([A-Z_, ]+) \|", RUNBOOK, flags=re.MULTILINE)
    named = {
        int(number): name
        for numbers, names in rows
        for number, name in zip(numbers.split(", "), names.split(", "), strict=True)
    }
    assert named == {int(code): code.name for code in ExitCode}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    base = '{{ or $externalLabels.runbook "docs/runbook.md" }}'
    assert rule["annotations"]["runbook_url"] == f"{base}#{name.lower()}"
    assert {"summary", "description"} < set(rule["annotations"])
