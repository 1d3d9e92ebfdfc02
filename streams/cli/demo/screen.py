"""Output of `scrutin demo`, for a terminal of 100 columns, and readable when piped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.rule import Rule
from rich.text import Text

from streams.cli.show import console, grid, plain
from streams.load.checks import Figure, Report
from streams.load.demo import DemoReport, votes_to_count
from streams.load.election import LoadPlan
from streams.load.expected import Expected
from streams.load.verification import VerificationProgress as Look

_BAR: Final = 36
_WITH_BARS: Final = ("vote_results", "contest_results")

Advance = Callable[[int], None]


class Screen:
    """Prints one run from top to bottom."""

    def __init__(self) -> None:
        self._out: Console = console()
        self._begin = time.monotonic()

    def say(self, name: str, text: str) -> None:
        """Print one event; called from several threads."""
        line = Text.assemble((f"{time.monotonic() - self._begin:6.1f} s  ", "dim"))
        self._out.print(line.append(f"{name:<10} ", "cyan").append(text))

    def step(self, title: str) -> None:
        """A heading."""
        self._out.print()
        self._out.print(Rule(Text(title, style="bold"), align="left", style="dim"))

    def addresses(self, links: dict[str, str]) -> None:
        """Print addresses of interest."""
        self.step("Addresses")
        width = max(len(name) for name in links)
        for name, link in links.items():
            line = Text(f"{name:<{width}}  ", style="bold").append_text(plain(link))
            # Unwrapped, so that it can be copied.
            self._out.print(line, soft_wrap=True)

    @contextmanager
    def bars(self, plan: LoadPlan) -> Iterator[tuple[Advance, Advance, Callable[[Look], None]]]:
        """Progress bars on a terminal: published and counted messages, and what follows."""
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
        )
        progress = Progress(
            *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        )
        with progress:
            sent = progress.add_task("published", total=plan.messages, note="")
            seen = progress.add_task("counted", total=votes_to_count(plan), note="")

            def look(now: Look) -> None:
                note = f"{now.mirrored:,} mirrored, {now.reviews:,} to review"
                progress.update(seen, note=note)

            yield (
                lambda count: progress.advance(sent, count),
                lambda count: progress.advance(seen, count),
                look,
            )

    def throughput(self, outcome: DemoReport) -> None:
        """Print the number of messages and the rates."""
        document = outcome.expected
        rate = document.messages / document.seconds
        self.say("published", f"{document.messages:,} messages confirmed, {rate:,.0f}/s")
        if outcome.counted_s is not None and outcome.rate is not None:
            self.say(
                "counted",
                f"{document.counted:,} votes committed {outcome.counted_s:.1f} s after the first "
                f"message was sent, {outcome.rate:,.0f} votes/s",
            )

    def results(self, report: Report, expected: Expected) -> None:
        """Print bars of the counted votes, next to the expected ones."""
        self.step("Results")
        found = {f.name: f for f in report.figures}
        table = grid("", "", "votes", "expected", "", right=("votes", "expected"))
        for law in expected.laws:
            oui, non = (found[f"vote_results {law} {choice}"] for choice in ("oui", "non"))
            total = oui.found + non.found
            table.add_row(
                Text(law, style="bold"),
                _split_bar(oui.found, non.found),
                f"{total:,}",
                f"{oui.lowest + non.lowest:,}",
                _mark(oui.ok and non.ok),
            )
            share = f"oui {oui.found:,} ({_percent(oui.found, total)})"
            rest = f"non {non.found:,} ({_percent(non.found, total)})"
            table.add_row("", Text.assemble((share, "green"), "  ", (rest, "red")))
        for contest, candidates in expected.contests.items():
            figures = [found[f"contest_results {contest} {name}"] for name in candidates]
            most = max(figure.found for figure in figures)
            name = contest.removeprefix("election:") or "election"
            table.add_row(Text(name, style="bold"), "", "", "", "")
            for candidate, figure in zip(candidates, figures, strict=True):
                table.add_row(
                    f"  candidate {candidate}",
                    Text("█" * round(_BAR * figure.found / max(most, 1)), style="cyan"),
                    f"{figure.found:,}",
                    figure.expected,
                    _mark(figure.ok),
                )
        self._out.print(table)

    def proof(self, report: Report) -> None:
        """Print all other figures, and the lines that differ."""
        self.step("Proof")
        table = grid("where", "figure", "expected", "found", "", right=("expected", "found"))
        group = ""
        for figure, of in _condensed(report.figures):
            name = figure.name if of == 1 else f"{figure.name}, {of} reasons"
            shown = figure.group if figure.group != group else ""
            table.add_row(shown, name, figure.expected, f"{figure.found:,}", _mark(figure.ok))
            group = figure.group
        self._out.print(table)
        if report.different_lines:
            self._out.print(f"\n[bold red]{report.different_lines:,} lines differ[/], the first:")
            lines = grid("where", "line", "expected", "found")
            for difference in report.differences:
                lines.add_row(*(plain(part) for part in astuple(difference)))
            self._out.print(lines)
        for note in report.notes:
            self._out.print(f"[yellow]note:[/] {note}")

    def verdict(self, outcome: DemoReport, logs: Path) -> None:
        """Print the final lines."""
        self._out.print()
        if outcome.good:
            self._out.print(
                f"[bold green]Exact.[/] {outcome.expected.counted:,} votes counted; "
                f"{len(outcome.report.figures)} figures and every line are as expected."
            )
            return
        if not outcome.report.equal:
            self._out.print("[bold red]Different.[/] Not every figure and line is as expected.")
        for name, code in outcome.exit_codes.items():
            if code:
                self._out.print(f"[bold red]{name} ended with exit code {code}.[/]")
        self._out.print(f"Logs are in {logs}")

    def invite(self) -> None:
        """Print how to keep the demo running."""
        self._out.print(
            "`make demo HOLD=1` keeps everything running and shows the address of its page."
        )


def _condensed(figures: list[Figure]) -> Iterator[tuple[Figure, int]]:
    """Figures without bars, with rejections summed up by status; and the number of parts."""
    sums: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        table, _, rest = figure.name.partition(" ")
        if table not in _WITH_BARS:
            name = f"{table} {rest.split()[0]}" if table == "rejected" else figure.name
            sums.setdefault((figure.group, name), []).append(figure)
    for (group, name), parts in sums.items():
        if len(parts) == 1:
            yield parts[0], 1
            continue
        lowest, highest = sum(f.lowest for f in parts), sum(f.highest for f in parts)
        found = sum(f.found for f in parts)
        # A sum may be right although its parts are wrong.
        whole = Figure(group, name, lowest, highest, found)
        yield from [(whole, len(parts))] if all(f.ok for f in parts) else [(f, 1) for f in parts]


def _split_bar(oui: int, non: int) -> Text:
    total = oui + non
    green = round(_BAR * oui / total) if total else 0
    rest = _BAR - green if total else 0
    return Text("█" * green, style="green").append("░" * rest, style="red")


def _percent(part: int, total: int) -> str:
    return f"{100 * part / total:.1f} %" if total else "0 %"


def _mark(ok: bool) -> Text:
    return Text("ok", style="green") if ok else Text("DIFFERENT", style="bold red")
