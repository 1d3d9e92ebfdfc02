"""Publishes the votes of a ballot file to a queue, and waits for RabbitMQ's confirms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from streams.adapters.rabbitmq.client import QueueMissing, connected
from streams.adapters.rabbitmq.confirms import Confirms
from streams.elections.files.votes import FileVote
from streams.errors import ServiceUnavailable, TopologyMismatch
from streams.settings.configs import RabbitConfig

WINDOW: Final = 2_000
"""Votes that wait for their confirms together."""


async def publish_votes(
    rabbit: RabbitConfig,
    queue: str,
    votes: Iterable[FileVote],
    advance: Callable[[int], None] = lambda _: None,
) -> int:
    """Publish votes; returns how many RabbitMQ has.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer, or has not taken all of them. Sending the
            same votes again is safe.
        TopologyMismatch: there is no such queue.
    """
    sent = 0
    waiting = iter(votes)
    async with connected(rabbit, f"scrutin ballots {queue}", retried=False) as connection:
        channel = await connection.channel()
        try:
            await channel.depth(queue)
        except QueueMissing:
            raise TopologyMismatch(
                "There is no such queue",
                where={"queue": queue},
                todo="A bridge that reads it declares it; name another one with --queue",
            ) from None
        open_votes: Confirms[None] = Confirms()
        changed = asyncio.Event()
        refused = 0

        def on_confirm(tag: int, multiple: bool, taken: bool) -> None:
            nonlocal refused
            refused += sum(not has_it for _, has_it in open_votes.answered(tag, multiple, taken))
            changed.set()

        channel.closed.add_done_callback(lambda _: changed.set())
        await channel.confirm(on_confirm, open_votes.returned)
        publish = channel.publisher(queue)
        while batch := list(islice(waiting, WINDOW)):
            for vote in batch:
                open_votes.expect(vote.message_id, None)
                publish(vote.message_id, vote.body)
            while open_votes and not channel.closed.done():
                changed.clear()
                await changed.wait()
            if channel.closed.done():
                raise channel.closed.result()
            if refused:
                raise ServiceUnavailable(
                    f"RabbitMQ has not taken {refused} votes",
                    where={"queue": queue},
                    todo="Run the command again: a vote that arrived counts once",
                )
            sent += len(batch)
            advance(len(batch))
    return sent
