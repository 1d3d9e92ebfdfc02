"""Every command that README and docs/ show exists, with the options shown, and is run by a test."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from streams.cli import MODULES, app, wire
from tests.documented import ELSEWHERE, NOT_HERE, PAGES, ROOT, SHOWN
from tests.integration.test_operator_session import RUN_HERE

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))
ASSIGNMENT = re.compile(r"^[A-Z_]+=\S*$")
STATEMENTS = {"SELECT", "ALTER", "DROP"}
OTHERS = {
    "curl",
    "docker",
    "export",
    "kubectl",
    "eval",
    "psql",
    "printf",
    "rabbitmq-diagnostics",
    ".",
}
TEXTS = sorted({each.text for each in SHOWN})


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
    while words and ASSIGNMENT.match(words[0]):
        words = words[1:]
    return words


@pytest.mark.parametrize("command", TEXTS)
def test_a_command_that_is_shown_exists(cli: Any, command: str) -> None:
    program, *words = words_of(command)
    if program == "scrutin":
        known(cli, words, command)
    elif program == "make":
        for target in words:
            assert "=" in target or target in TARGETS, command
    elif program == "python":
        assert words[0] == "-m"
        assert importlib.util.find_spec(words[1]) is not None, command
    elif program == "faust":
        assert words[:3] == ["-A", "topology", "worker"]
    else:
        assert program in OTHERS | STATEMENTS, command


def test_every_command_is_run_by_a_test_or_has_a_reason() -> None:
    places = [RUN_HERE, set(ELSEWHERE), set(NOT_HERE)]
    for text in TEXTS:
        assert sum(text in place for place in places) == 1, (
            f"{text}: type it in tests/integration/test_operator_session.py, or say in"
            " tests/documented.py which test runs it"
        )
    assert set().union(*places) == set(TEXTS), "listed, and on no page any more"


@cache
def nodes_of(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


def words_in(node: ast.AST) -> set[str]:
    """All words of the texts beneath a node."""
    texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return {word for text in texts if isinstance(text, str) for word in text.split()}


@cache
def typed_in(file: Path) -> list[set[str]]:
    """What calls, lists of arguments, loops and comparisons say, each by itself.

    Of a module, and of those beside it that hold its steps.
    """
    kinds = ast.Call | ast.List | ast.Tuple | ast.For | ast.Compare
    beside = "tests.integration."
    steps = {
        ROOT.joinpath(*n.module.split(".")).with_suffix(".py")
        for n in nodes_of(file)
        if isinstance(n, ast.ImportFrom) and n.module and n.module.startswith(beside)
    }
    return [
        words
        for each in (file, *sorted(steps))
        for n in nodes_of(each)
        if isinstance(n, kinds) and (words := words_in(n))
    ]


@pytest.mark.parametrize(
    "test", sorted({*ELSEWHERE.values(), *(n.instead for n in NOT_HERE.values())})
)
def test_a_test_that_is_named_exists(test: str) -> None:
    file, _, name = test.partition("::")
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    found = {n.name for n in nodes_of(ROOT / file) if isinstance(n, functions)}
    assert not name or name in found


@pytest.mark.parametrize(
    ("command", "test"), [each for each in ELSEWHERE.items() if each[0].startswith("scrutin ")]
)
def test_it_types_the_words_and_options_of_the_command(command: str, test: str) -> None:
    """Names, numbers and files are its own; the first word may be a helper's."""
    typed = typed_in(ROOT / test.partition("::")[0])
    words = [word.strip("[]") for word in words_of(command)[1:]]
    group, *rest = (word for word in words if re.fullmatch(r"(--)?[a-z][a-z-]*", word))
    assert any(group in each for each in typed), f"{group} is typed nowhere"
    # Helpers that read what is printed add it.
    together = {*rest} - {"--json"}
    assert any(together <= each for each in typed), f"{rest} are not typed together"


MAKES = [each for each in TEXTS if each.startswith("make ")]


@pytest.mark.parametrize("command", MAKES)
def test_a_target_passes_its_arguments_on(command: str) -> None:
    """What a target would type, without typing it."""
    done = subprocess.run(
        ["make", "-n", *words_of(command)[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in words_of(command)[2:]:
        name, _, value = word.partition("=")
        assert ("--hold" if name == "HOLD" else value) in done.stdout


def test_a_short_form_is_not_shown(cli: Any) -> None:
    """`contest close C-42` is nothing that anybody can type."""
    for page in PAGES:
        for text in re.findall(r"`([a-z]+ [^`]+)`", page.read_text(encoding="utf-8")):
            first, second, *_ = text.split()
            group = cli.commands.get(first)
            assert second not in getattr(group, "commands", ()), f"{page.name}: scrutin {text}"


DOCKER = ROOT / "docker"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())[
    "services"
]


@pytest.mark.parametrize("command", [c for c in TEXTS if c.startswith(("docker ", "kubectl "))])
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
        assert name in at.commands, f"{command}: no command {name!r}"
        at = at.commands[name]
    options = {
        name for parameter in at.params for name in (*parameter.opts, *parameter.secondary_opts)
    }
    for word in words:
        name = word.strip("[]").split("=")[0]
        if re.match(r"^--?[a-z]", name):
            assert name in {*options, "--help"}, f"{command}: no option {name}"


def test_the_pages_show_commands() -> None:
    assert len(TEXTS) > 120
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
