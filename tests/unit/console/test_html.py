"""Values on the console's pages are text."""

from __future__ import annotations

from datetime import UTC, datetime

from streams.console.elements import tag
from streams.console.html import act_page, contests_page, login_page, rejected_page
from streams.console.sessions import Session
from streams.console.words import Languages, Reader
from streams.control.trail import OperatorAction

READER = Reader(Languages({}), session=Session("ann", "its proof", 0, 0))
AT = datetime(2026, 11, 30, tzinfo=UTC)
ATTACK = "<script>alert(1)</script>\"'"


def test_no_value_becomes_an_element() -> None:
    assert tag("td", ATTACK) == ("<td>&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;</td>")
    assert tag("a", "x", href='"><b>') == '<a href="&quot;&gt;&lt;b&gt;">x</a>'
    for shown in (
        act_page(READER, ATTACK, "close", [ATTACK], ATTACK),
        rejected_page(READER, [(AT, *(ATTACK,) * 7)], ATTACK, ATTACK, 7),
        login_page(READER, by_key=True, by_provider=True, fault=ATTACK),
    ):
        assert b"<script>alert" not in shown


def test_every_form_behind_the_login_proves_its_session() -> None:
    shown = act_page(READER, "C-1", "close", ["Close C-1 now?"]).decode()
    assert shown.count("<form") == shown.count('name="csrf" value="its proof"') == 2


def test_ones_own_request_can_only_be_withdrawn() -> None:
    def asked(actor: str) -> bytes:
        request = OperatorAction(5, AT, actor, "ask to close", "C-1", None, None)
        return contests_page(READER, [], [request])

    assert b"/requests/confirm" not in asked("console:ann")
    assert b"/requests/withdraw" in asked("console:ann")
    assert b"/requests/confirm" in asked("console:bob")
