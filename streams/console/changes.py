"""Changes of contests at the console: at once, or once a second operator confirms them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from schemas.control import Contest
from streams.adapters.postgres.connection import connected
from streams.control.issuing import issuing
from streams.control.trail import (
    ASK,
    CONFIRM,
    WITHDRAW,
    OperatorAction,
    note_action,
    waiting_requests,
)
from streams.core.contests import archive, close_now, open_now
from streams.gateway.problems import Problem
from streams.settings.processes import ConsoleConfig

_CHANGES: Final[dict[str, Callable[[dict[str, Contest], str, int], list[Contest]]]] = {
    "open": open_now,
    "close": lambda known, contest, _now_ms: close_now(known, contest),
    "archive": lambda known, contest, _now_ms: archive(known, contest),
}
DONE: Final = {
    "open": "{contest}: its opening is in the log.",
    "close": "{contest}: its closing is in the log.",
    "archive": "{contest}: its archiving is in the log.",
}


@dataclass(frozen=True)
class ContestChanges:
    """Changes contests for operators; each call returns the contest and what happened to it."""

    config: ConsoleConfig

    async def ask(self, actor: str, verb: str, contest: str) -> tuple[str, str]:
        """Change a contest, or ask a second operator to.

        Raises:
            ContestRefused: the contest does not allow it.
        """
        _known(verb)
        if not self.config.four_eyes:
            await self._change(actor, verb, contest)
            return contest, DONE[verb]
        async with connected(self.config.deployment.postgres) as connection:
            await note_action(connection, actor, ASK + verb, contest)
        return contest, "{contest}: this waits for a second operator."

    async def confirm(self, actor: str, number: int, typed: str) -> tuple[str, str]:
        """Confirm another operator's request.

        Raises:
            Problem: it is one's own (403), it does not wait any more (409), or its contest was not
                typed (422).
            ContestRefused: the contest does not allow it.
        """
        async with connected(self.config.deployment.postgres) as connection:
            request = _waiting(await waiting_requests(connection), number)
        if request.actor == actor:
            raise Problem(403, "Another operator must confirm this request")
        if typed != request.subject:
            raise Problem(422, f"Type {request.subject} to confirm; nothing was changed")
        verb = request.action.removeprefix(ASK)
        await self._change(actor, verb, request.subject, confirms=number)
        return request.subject, DONE[verb]

    async def withdraw(self, actor: str, number: int) -> tuple[str, str]:
        """Withdraw a request.

        Raises:
            Problem: it does not wait any more (409).
        """
        async with connected(self.config.deployment.postgres) as connection:
            request = _waiting(await waiting_requests(connection), number)
            await note_action(connection, actor, WITHDRAW, request.subject, answers=number)
        return request.subject, "{contest}: nothing was changed."

    async def _change(
        self, actor: str, verb: str, contest: str, *, confirms: int | None = None
    ) -> None:
        change = partial(_apply, verb, contest)
        async with (
            issuing(self.config.deployment, enforced=self.config.enforced, actor=actor) as issuer,
            issuer.turn(),
        ):
            if confirms is None:
                await issuer.change_contests(change)
                return
            # Only one issuer has its turn, so nobody confirms it at the same time.
            _waiting(await waiting_requests(issuer.connection), confirms)
            await issuer.change_contests(
                change,
                partial(note_action, issuer.connection, actor, CONFIRM, contest, answers=confirms),
            )


def _apply(verb: str, contest: str, known: dict[str, Contest], now_ms: int) -> list[Contest]:
    return _CHANGES[verb](known, contest, now_ms)


def _known(verb: str) -> None:
    if verb not in _CHANGES:
        raise Problem(404, "There is no such change")


def _waiting(requests: list[OperatorAction], number: int) -> OperatorAction:
    for one in requests:
        if one.id == number:
            _known(one.action.removeprefix(ASK))
            return one
    raise Problem(409, "This request does not wait any more; nothing was changed")
