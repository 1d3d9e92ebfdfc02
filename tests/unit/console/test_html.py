"""Values on the console's pages are text."""

from __future__ import annotations

from datetime import UTC, datetime

from streams.console.html import act_page, contests_page, login_page, rejected_page, tag
from streams.console.sessions import Session
from streams.control.trail import OperatorAction

SESSION = Session("ann", "its proof", 0, 0)
ATTACK = "<script>alert(1)</script>\"'"


def test_no_value_becomes_an_element() -> None:
    assert tag("td", ATTACK) == ("<td>&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;</td>")
    assert tag("a", "x", href='"><b>') == '<a href="&quot;&gt;&lt;b&gt;">x</a>'
    for shown in (
        act_page(SESSION, ATTACK, "close", ATTACK, ATTACK),
        rejected_page(SESSION, [(ATTACK,) * 8], ATTACK, ATTACK, 7),
        login_page(by_key=True, by_provider=True, fault=ATTACK),
    ):
        assert b"<script>alert" not in shown


def test_every_form_behind_the_login_proves_its_session() -> None:
    shown = act_page(SESSION, "C-1", "close", "Close C-1 now?").decode()
    assert shown.count("<form") == shown.count('name="csrf" value="its proof"') == 2


def test_ones_own_request_can_only_be_withdrawn() -> None:
    def asked(actor: str) -> bytes:
        request = OperatorAction(5, datetime.now(UTC), actor, "ask to close", "C-1", None, None)
        return contests_page(SESSION, [], [request])

    assert b"/requests/confirm" not in asked("console:ann")
    assert b"/requests/withdraw" in asked("console:ann")
    assert b"/requests/confirm" in asked("console:bob")
