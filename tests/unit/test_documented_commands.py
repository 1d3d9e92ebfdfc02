"""Every command that README and docs/ show exists, with the options shown."""

from __future__ import annotations

import importlib.util
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from streams.cli import MODULES, app, wire

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))
FENCED = re.compile(r"^```sh\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:scrutin|make|python -m|faust) [^`]+)`")
ASSIGNMENT = re.compile(r"^[A-Z_]+=\S*$")
OTHERS = {
    "curl", "docker", "eval", "kubectl", "kill", "nc", "openssl", "pg_dump", "psql", "export",
    "ab", "cp", "jq", "sudo", "apt-get", "git", "ulimit", "kafka-topics.sh", "kafka-configs.sh",
    "redis-cli", "rabbitmqctl", "rabbitmq-diagnostics", "npm", ".", "cd", "echo", "cat", "ls",
    "wscat", "websocat", "promtool", "prometheus", "SELECT", "source", "java", "xz", "tar", "head",
}  # fmt: skip


def commands(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    found = [part for block in FENCED.findall(text) for part in pieces(block)]
    # In a sentence a bar stands between alternatives.
    found += INLINE.findall(FENCED.sub("", text))
    return [part.strip() for part in found if part.strip()]


def pieces(block: str) -> list[str]:
    """Single commands of a block, without comments."""
    text = re.sub(r"\\\n\s*", " ", block)
    text = re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\$\([^)]*\)", "$()", text)
    return re.split(r"&&|\|\||[|;\n]|(?<!&)&(?!&)", text)


SHOWN = [(page.name, command) for page in PAGES for command in commands(page)]


@pytest.fixture(scope="module")
def cli() -> Any:
    wire([])
    return typer.main.get_command(app)


def words_of(command: str) -> list[str]:
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        # A quotation that a pipe within it has cut.
        words = command.split()
    while words and (ASSIGNMENT.match(words[0]) or words[0] in {"eval", "$(scrutin"}):
        words = words[1:]
    return words


@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_a_command_that_is_shown_exists(cli: Any, page: str, command: str) -> None:
    words = words_of(command)
    if not words:
        return
    program = words[0].rpartition("/")[2]
    if program == "scrutin":
        known(cli, words[1:], command)
    elif program == "make":
        for target in words[1:]:
            assert "=" in target or target.startswith("-") or target in TARGETS, command
    elif program in {"python", "python3"}:
        if words[1:2] == ["-m"]:
            assert importlib.util.find_spec(words[2]) is not None, command
    elif program == "faust":
        assert words[1:4] == ["-A", "topology", "worker"]
    else:
        assert program in OTHERS or "$" in program, f"{page}: {command}"


DOCKER = ROOT / "docker"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())[
    "services"
]


@pytest.mark.parametrize("command", [c for _, c in SHOWN if c.startswith(("docker ", "kubectl "))])
def test_a_container_command_names_what_is_there(command: str) -> None:
    """No engine and no cluster is here, so files, services and profiles must do."""
    words = shlex.split(command)
    values = dict(pairwise(words))
    if words[0] == "kubectl":
        assert (ROOT / values["-k"] / "kustomization.yaml").is_file()
        return
    assert words[1] == "compose"
    assert ROOT / values["-f"] == DOCKER / "compose.yaml"
    service = values.get("--scale", "worker=1").partition("=")[0]
    assert service in SERVICES
    # A fixed host port, or a name, would be taken by the first of them.
    assert not {"ports", "container_name"} & set(SERVICES[service])
    profiles = {profile for one in SERVICES.values() for profile in one.get("profiles", ())}
    assert values.get("--profile", "monitoring") in profiles
    assert "up" in words


def known(group: Any, words: list[str], command: str) -> None:
    at = group
    while hasattr(at, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        if name == "..." or name.isupper():
            return
        for one in name.split("|"):
            assert one in at.commands, f"{command}: no command {one!r}"
        at = at.commands[one]
    options = {
        name for parameter in at.params for name in (*parameter.opts, *parameter.secondary_opts)
    }
    for word in words:
        name = word.split("=")[0]
        if re.match(r"^--?[a-z]", name):
            assert name in {*options, "--help"}, f"{command}: no option {name}"


def test_the_pages_show_commands() -> None:
    assert len(SHOWN) > 60
    assert len(MODULES) > 15


LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    if not link.startswith("http")
]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: getattr(value, "name", value))
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    place, _, anchor = link.partition("#")
    target = (page.parent / place).resolve() if place else page
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
        assert anchor in slugs
