"""`python -m tests.faults.figures`: the figures of the last fault runs, into the documentation.

Reads the results that `make chaos` leaves and writes the table between the marks in
`docs/promises.md`: one line a scenario, the worst of its seeds.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from tests.faults.__main__ import RESULTS, read
from tests.faults.registry import Scenario, scenarios
from tests.faults.running import Result

PAGE: Final = Path("docs/promises.md")
BEGIN: Final = "<!-- chaos: written by `python -m tests.faults.figures` -->"
END: Final = "<!-- /chaos -->"


def figures(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Folders with results; a shard each.")
    ] = None,
    page: Annotated[Path, typer.Option(help="Where the marks are.")] = PAGE,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 3 if it would differ.")
    ] = False,
) -> None:
    """Write the table of the last fault runs into the documentation.

    Example: `python -m tests.faults.figures build/chaos`
    """
    found: list[Result] = []
    for folder in results or [RESULTS]:
        found += read(folder / "results.jsonl").values()
    if not found:
        raise typer.BadParameter("no results there; `make chaos` makes them")
    text = page.read_text(encoding="utf-8")
    new = between(text, table(found, {one.name: one for one in scenarios()}))
    if check:
        sys.exit(3 if new != text else 0)
    page.write_text(new, encoding="utf-8")


def between(text: str, content: str) -> str:
    """Put content between the marks of a page."""
    head, mark, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    assert mark, f"the page has no {BEGIN}"
    assert end, f"the page has no {END}"
    return f"{head}{BEGIN}\n{content}\n{END}{tail}"


def table(results: Iterable[Result], known: Mapping[str, Scenario]) -> str:
    """The table in Markdown."""
    by_name: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_name[result.scenario].append(result)
    lines = [
        "| scenario | what happens | runs | votes | outcome | recovered s | replays | re-sent |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(
        by_name, key=lambda name: (known[name].group if name in known else "", name)
    ):
        runs = by_name[name]
        recovered = [run.recovered_s for run in runs if run.recovered_s is not None]
        cells = (
            name,
            known[name].about if name in known else "",
            str(len(runs)),
            f"{sum(run.votes for run in runs):,}",
            ", ".join(sorted({run.outcome for run in runs})),
            f"{max(recovered):.1f}" if recovered else "-",
            f"{max(run.replays for run in runs):,}",
            f"{max(run.duplicate_egress for run in runs):,}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    runs = [run for own in by_name.values() for run in own]
    good = sum(run.good for run in runs)
    lines += [
        "",
        f"{good} of {len(runs)} runs as they must be, {sum(r.votes for r in runs):,} votes.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(figures)
