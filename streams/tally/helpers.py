"""Runs :mod:`streams.tally.work` in helper processes, each with one request at a time."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final, Self, TypeVar

from streams.errors import ScrutinError
from streams.tally import work
from streams.tally.work import LENGTH_BYTES, Request

_END_S: Final = 2.0

T = TypeVar("T")


class WorkFailed(ScrutinError):
    """A request failed: something does not verify, or the helper died."""


class Helpers:
    """A pool of helper processes, each with one request at a time. Use as a context.

    If a helper dies or does not answer in time, only its current request fails.

    Args:
        count: number of processes.
        timeout_s: longest wait for one answer.
    """

    def __init__(self, count: int, *, timeout_s: float = 240.0) -> None:
        self._timeout_s = timeout_s
        self._free: asyncio.Queue[_Helper] = asyncio.Queue()
        self._all = [_Helper() for _ in range(count)]
        self.count = count

    async def __aenter__(self) -> Self:
        for helper in self._all:
            self._free.put_nowait(helper)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(helper.end() for helper in self._all))

    async def ask(self, request: Request) -> bytes:
        """Send a request to a free helper; returns the result.

        Raises:
            WorkFailed: with a message that contains no secret.
        """
        helper = await self._free.get()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await helper.ask(request)
        except TimeoutError as error:
            await helper.end()
            raise WorkFailed(f"a helper did not answer within {self._timeout_s:.0f} s") from error
        except asyncio.CancelledError:
            # Its late answer would be mistaken for that of the next request.
            await helper.end()
            raise
        finally:
            self._free.put_nowait(helper)

    async def ask_each(self, request: Request) -> list[bytes]:
        """Ask every running helper, once what they do is done; returns their results.

        Raises:
            WorkFailed: as :meth:`ask`.
        """
        helpers = [await self._free.get() for _ in range(self.count)]
        try:
            running = [helper for helper in helpers if helper.process is not None]
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.gather(*(helper.ask(request) for helper in running))
        except BaseException as error:
            # A late answer would be mistaken for that of the next request.
            await asyncio.gather(*(helper.end() for helper in helpers))
            if isinstance(error, TimeoutError):
                raise WorkFailed(
                    f"a helper did not answer within {self._timeout_s:.0f} s"
                ) from error
            raise
        finally:
            for helper in helpers:
                self._free.put_nowait(helper)

    async def in_order(
        self, request: Callable[[T], Request], inputs: Iterable[T]
    ) -> AsyncIterator[tuple[bytes, T]]:
        """Request every input, as many in parallel as there are helpers; answers come in order."""
        pending: deque[tuple[asyncio.Task[bytes], T]] = deque()
        try:
            for given in inputs:
                pending.append((asyncio.create_task(self.ask(request(given))), given))
                # One request more than helpers, so that no helper is idle.
                if len(pending) > self.count:
                    task, first = pending.popleft()
                    yield await task, first
            while pending:
                task, first = pending.popleft()
                yield await task, first
        finally:
            for task, _ in pending:
                task.cancel()

    def pids(self) -> list[int]:
        """Ids of the running helper processes."""
        return [helper.process.pid for helper in self._all if helper.process is not None]


class _Helper:
    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None

    async def ask(self, request: Request) -> bytes:
        if self.process is None or self.process.returncode is not None:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "streams.tally.work",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        data = work.encoder.encode(request)
        try:
            self.process.stdin.write(len(data).to_bytes(LENGTH_BYTES) + data)
            await self.process.stdin.drain()
            length = int.from_bytes(await self.process.stdout.readexactly(LENGTH_BYTES))
            answer = work.answers.decode(await self.process.stdout.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            code = await self.process.wait()
            raise WorkFailed(f"a helper died during a request (exit code {code})") from error
        if answer.error:
            raise WorkFailed(answer.error)
        return answer.result

    async def end(self) -> None:
        """Kill the process; the next request starts a new one."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        process.kill()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            return
