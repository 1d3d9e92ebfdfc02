"""Faust's table recovery, started without delay and with bulk reads of long changelogs."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

import faust.tables.manager
import faust.tables.recovery
from faust.types import TP

from streams.engine.partition_store import PartitionStore
from streams.runtime.failstop import fail


class Recovery(faust.tables.recovery.Recovery):  # type: ignore[misc]
    """Bulk-reads the changelogs as they were at the start; Faust reads later records.

    Faust passes a changelog on in small buffers, record by record through two queues. For millions
    of voters that takes minutes.
    """

    # Faust's own logger of this name would add its progress tables to the log.
    logger = logging.getLogger("faust.tables.recovery.ahead")

    began_s: float | None = None
    """When the latest restore began."""

    async def _wait(self, coro: Any, timeout: float | None = None) -> None:
        # After a timeout Faust goes on as if it had an answer, and would call a table complete
        # whose end it does not know. Kafka may be unavailable for longer than any timeout.
        del timeout
        await super()._wait(coro)

    async def _build_highwaters(
        self, consumer: Any, tps: set[TP], destination: Counter[TP], title: str
    ) -> None:
        if title == "active":
            self.began_s = time.monotonic()
        await super()._build_highwaters(consumer, tps, destination, title)
        if title != "active":
            return
        for table, owned in list(self.actives_for_table.items()):
            store: PartitionStore[Any, Any, Any] = table.data
            try:
                await store.preload({tp.partition: destination[tp] for tp in owned})
            except Exception as error:  # noqa: BLE001 - Faust would end without a named exit code
                fail(error)
            for tp in owned:
                offset = table.persisted_offset(tp)
                if offset is not None:
                    self.active_offsets[tp] = offset


class TableManager(faust.tables.manager.TableManager):  # type: ignore[misc]
    """Restores tables as soon as the app starts."""

    _recovery: Recovery | None

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """Declare the changelogs and start the restore.

        Faust would first sleep for a second, for tables that an agent declares when it starts;
        Scrutin's tables are declared with the topology.
        """
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
