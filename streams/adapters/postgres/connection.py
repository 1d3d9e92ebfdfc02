"""Adapter: connections to PostgreSQL, and its errors in our words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import asyncpg

from streams.errors import ServiceUnavailable, SettingsError, StageFailed
from streams.settings.configs import PostgresConfig
from streams.settings.tls import refusal

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
LOCK_TIMEOUT_S = 5.0
"""Longest wait of a flush for a lock, e.g. for the fence that a frozen worker holds."""
STATEMENT_TIMEOUT_S = 40.0

_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # The connection was ended and asyncpg has not noticed yet.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.PostgresSystemError,
)
"""Errors after which the same transaction may succeed later."""

_REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)

_OWNS = """
SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('vote_audit')
"""


@asynccontextmanager
async def translated(where: dict[str, object]) -> AsyncIterator[None]:
    """Turn asyncpg's errors into ours.

    Raises:
        ServiceUnavailable: the database is away or cannot do it now.
        SettingsError: it refuses who we are, the database we ask for, or what we may not do.
        StageFailed: anything else, by the error's class only, since its text may hold a row.
    """
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise ServiceUnavailable(
            f"PostgreSQL does not answer: {refusal(error) or type(error).__name__}",
            where=where,
            todo="Check POSTGRES_HOST and POSTGRES_PORT, and that it is up",
        ) from error
    except _AWAY as error:
        raise ServiceUnavailable(
            f"PostgreSQL cannot do it now: {refusal(error) or type(error).__name__}",
            where=where,
            todo="Check that it is up, writable and has room",
        ) from error
    except _REFUSED as error:
        raise SettingsError(
            f"PostgreSQL refuses: {error}",
            where=where,
            todo="Check POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB",
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise SettingsError(
            f"PostgreSQL refuses: {error}",
            where={**where, "variable": "POSTGRES_USER"},
            todo="Workers, bridges and gateways need a user in the role scrutin_sink, operators'"
            " commands one in scrutin_operator, `migrate`, `reset`, `rebuild`, `fresh` and `adopt`"
            " the owner of the tables. After a migration the owner runs `scrutin roles --apply`",
        ) from error
    except asyncpg.PostgresError as error:
        raise StageFailed(
            f"PostgreSQL reports {type(error).__name__} ({error.sqlstate})",
            where=where,
            todo="Nothing of it was committed; see PostgreSQL's log for the statement",
        ) from None


def _arguments(config: PostgresConfig) -> dict[str, Any]:
    return {
        "host": config.host,
        "port": config.port,
        "database": config.database,
        "user": config.user,
        "password": config.password or None,
        "ssl": None if config.tls is None else config.tls.context(),
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": COMMAND_TIMEOUT_S,
    }


async def connect(config: PostgresConfig) -> asyncpg.Connection:
    """One connection that the caller closes. Commands use :func:`connected`.

    Raises:
        ServiceUnavailable, SettingsError: as :func:`translated` says.
    """
    async with translated(config.where()):
        return await asyncpg.connect(
            **_arguments(config), server_settings={"application_name": "scrutin"}
        )


@asynccontextmanager
async def connected(config: PostgresConfig) -> AsyncIterator[asyncpg.Connection]:
    """One connection, for commands; closed at the end.

    Errors of PostgreSQL in the context are translated too, and so is any OSError.

    Raises:
        ServiceUnavailable, SettingsError, StageFailed: as :func:`translated` says.
    """
    opened = await connect(config)
    async with translated(config.where()):
        try:
            yield opened
        finally:
            await opened.close()


async def require_owner(
    connection: asyncpg.Connection, config: PostgresConfig, command: str
) -> None:
    """Make sure that a command which needs the owner of the tables runs as such.

    Args:
        connection: of whoever runs it.
        config: where the database is.
        command: as it is typed, for the message.

    Raises:
        SettingsError: it does not.
        ServiceUnavailable: the database is away.
    """
    async with translated(config.where()):
        # Without tables there is nothing to own yet.
        owns = await connection.fetchval(_OWNS)
    if owns is False:
        raise SettingsError(
            f"`{command}` needs the owner of Scrutin's tables, and {config.user} is not",
            where={"variable": "POSTGRES_USER"},
            todo="Run it as the user that ran `scrutin migrate`. Nothing was changed",
        )


def _ms(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"


Reset = Callable[[Any], Awaitable[None]]


async def keep_session(_connection: Any) -> None:
    """For who changes only rows: asyncpg ends a transaction that is open, and that is enough.

    Its own reset also asks the server each time, which costs as much as a small flush.
    """


def pool(
    config: PostgresConfig, application_name: str, schema: str = "", reset: Reset | None = None
) -> asyncpg.Pool:
    """A pool that is not connected yet; enter it to connect.

    Args:
        config: where the database is.
        application_name: as PostgreSQL shows it.
        schema: where unqualified names are looked for; the user's own by default.
        reset: makes a connection ready for the next who takes it; asyncpg's own by default.
    """
    search_path = {"search_path": schema} if schema else {}
    return asyncpg.create_pool(
        **_arguments(config),
        reset=reset,
        min_size=0,
        max_size=config.max_connections,
        server_settings={
            "application_name": application_name,
            **search_path,
            # A frozen worker must not keep the fence locked for ever.
            "idle_in_transaction_session_timeout": "15s",
            # Whoever waits must be told before the watchdog takes it for stuck: then it is an
            # outage, which is waited out.
            "lock_timeout": _ms(min(LOCK_TIMEOUT_S, config.watchdog_timeout_s / 3)),
            "statement_timeout": _ms(min(STATEMENT_TIMEOUT_S, config.watchdog_timeout_s * 2 / 3)),
            "jit": "off",
        },
    )


class Pooled:
    """An adapter with connections of its own to the database. Enter it to have them.

    Args:
        config: where the database is.
        application_name: as PostgreSQL shows it.
        schema: where unqualified names are looked for; the user's own by default.
        reset: as :func:`pool`.
    """

    def __init__(
        self,
        config: PostgresConfig,
        application_name: str,
        schema: str = "",
        reset: Reset | None = None,
    ) -> None:
        self._config = config
        self._where = config.where()
        self._application_name = application_name[:63]
        self._schema = schema
        self._reset = reset
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> Self:
        self._pool = pool(self._config, self._application_name, self._schema, self._reset)
        async with translated(self._where):
            await self._pool
        return self

    async def __aexit__(self, *_: object) -> None:
        opened, self._pool = self._pool, None
        if opened is not None:
            opened.terminate()

    @property
    def connections(self) -> asyncpg.Pool:
        """The pool."""
        assert self._pool is not None, "the adapter is not open"
        return self._pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of one's own.

        Raises:
            ServiceUnavailable: the database is away.
        """
        async with translated(self._where), self.connections.acquire() as connection:
            yield connection
