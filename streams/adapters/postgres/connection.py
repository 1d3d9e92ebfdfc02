"""Adapter: opens PostgreSQL connections and translates the driver's errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

import asyncpg

from streams.errors import ScrutinError, ServiceUnavailable, SettingsError, StageFailed
from streams.settings.configs import PostgresConfig
from streams.settings.tls import refusal

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
LOCK_TIMEOUT_S = 5.0
"""Longest wait of a flush for a lock, e.g. for the fence lock of a frozen worker."""
STATEMENT_TIMEOUT_S = 40.0

_TRANSIENT = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # The connection has ended, but asyncpg has not noticed yet.
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
    """Translate asyncpg's errors.

    Raises:
        ServiceUnavailable: the database does not answer or cannot run the statement now.
        SettingsError: the login, the database name or a missing privilege is refused.
        StageFailed: any other error, by its class only, because its text may contain a row.
    """
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise ServiceUnavailable(
            f"PostgreSQL does not answer: {refusal(error) or type(error).__name__}",
            where=where,
            todo="Check POSTGRES_HOST and POSTGRES_PORT, and that it is up",
        ) from error
    except _TRANSIENT as error:
        raise ServiceUnavailable(
            f"PostgreSQL cannot run the statement now: {refusal(error) or type(error).__name__}",
            where=where,
            todo="Check that it is up, writable and has free disk space and connections",
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
            todo="The transaction was not committed; see PostgreSQL's log for the statement",
        ) from None


@contextmanager
def migrated(what: str, where: dict[str, object] | None) -> Iterator[None]:
    """Translate the error of a database that was not migrated.

    Args:
        what: the tables that are read inside, for the message.
        where: for the message.

    Raises:
        ScrutinError: the database lacks them.
    """
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
        raise ScrutinError(
            f"The database has no {what}", where=where, todo="Run `scrutin migrate`"
        ) from error


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
        opened: asyncpg.Connection = await asyncpg.connect(
            **_arguments(config), server_settings={"application_name": "scrutin"}
        )
        try:
            # Not among the settings above, so that `scrutin doctor` sees what others have.
            await opened.execute("SET jit = off")
        except BaseException:
            opened.terminate()
            raise
        return opened


@asynccontextmanager
async def connected(config: PostgresConfig) -> AsyncIterator[asyncpg.Connection]:
    """One connection, for commands; closed when the context ends.

    Errors of PostgreSQL inside the context are translated too, and so is any OSError.

    Raises:
        ServiceUnavailable, SettingsError, StageFailed: see :func:`translated`.
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
    """Check that a command runs as the owner of the tables.

    Args:
        connection: of the user that runs the command.
        config: where the database is.
        command: as it is typed, for the message.

    Raises:
        SettingsError: the user does not own the tables.
        ServiceUnavailable: the database does not answer.
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
    """Reset nothing: enough for users that change only rows, as asyncpg ends an open transaction.

    asyncpg's default reset also makes a round trip, which costs as much as a small flush.
    """


def pool(
    config: PostgresConfig,
    application_name: str,
    schema: str = "",
    reset: Reset | None = None,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
) -> asyncpg.Pool:
    """A pool that is not connected yet; await it or enter its context to connect.

    Args:
        config: where the database is.
        application_name: as PostgreSQL shows it.
        schema: search path for unqualified names; the user's default if empty.
        reset: prepares a released connection for its next use; asyncpg's reset by default.
        statement_timeout_s: after which PostgreSQL cancels a statement.
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
            # A frozen worker must not hold the fence lock for ever.
            "idle_in_transaction_session_timeout": "15s",
            # A waiting flush must fail before the watchdog considers the worker stuck: it is then
            # an outage and is retried.
            "lock_timeout": _ms(min(LOCK_TIMEOUT_S, config.watchdog_timeout_s / 3)),
            "statement_timeout": _ms(min(statement_timeout_s, config.watchdog_timeout_s * 2 / 3)),
            "jit": "off",
        },
    )


class Pooled:
    """Base of adapters with their own connection pool. Enter the context to open it.

    Args:
        config: where the database is.
        application_name: as PostgreSQL shows it.
        schema: search path for unqualified names; the user's default if empty.
        reset: as in :func:`pool`.
        statement_timeout_s: after which PostgreSQL cancels a statement.
        acquire_timeout_s: longest wait for a connection; None: as long as it takes.
    """

    def __init__(
        self,
        config: PostgresConfig,
        application_name: str,
        schema: str = "",
        reset: Reset | None = None,
        *,
        statement_timeout_s: float = STATEMENT_TIMEOUT_S,
        acquire_timeout_s: float | None = None,
    ) -> None:
        self._config = config
        self._where = config.where()
        self._application_name = application_name[:63]
        self._schema = schema
        self._reset = reset
        self._statement_timeout_s = statement_timeout_s
        self._acquire_timeout_s = acquire_timeout_s
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> Self:
        self._pool = pool(
            self._config,
            self._application_name,
            self._schema,
            self._reset,
            self._statement_timeout_s,
        )
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
        """Acquire a connection for exclusive use.

        Raises:
            ServiceUnavailable: the database does not answer.
        """
        async with (
            translated(self._where),
            self.connections.acquire(timeout=self._acquire_timeout_s) as connection,
        ):
            yield connection
