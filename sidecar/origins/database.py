"""Connections to one PostgreSQL, and what its errors mean.

A call takes the connection that was given back last, or makes one; the gate before it sees to it that there are not too
many. Those that nobody has needed for minutes are closed. If one is lost, those that lie idle are not trusted any more
either: what ended it, a restart most often, has ended them too, though this process need not have heard of it yet.

A connection that was given up in the middle of something is closed at once and not tidied up, since a server that hangs
would not let it be; the server ends the statement by itself after the same time (`statement_timeout`), so that what
nobody waits for does not pile up there.

Rejected: asyncpg's own pool. It tidies up with a trip of its own after each use, and tries its dead connections one
after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from sidecar.connecting import why_not
from sidecar.errors import SidecarError
from sidecar.origins.failures import LostError, UnfitError, UnusableUrlError, refused, timed_out, unavailable, unfit
from sidecar.origins.sql_states import Verdict, verdict_on

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from sidecar.origins.policies import DatabasePolicy

# A little more than the call has: then it is the call that ends first, and says so.
_SERVER_SLACK_MS: Final = 100
_CLOSE_SECONDS: Final = 1.0
# As long as a lull between two busy minutes; a server's process for each costs it some 10 MB.
_IDLE_SECONDS: Final = 300.0
_LOST = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# What the driver raises for a URL that it cannot make sense of, before it has connected anywhere.
_UNUSABLE = (ValueError, LookupError, asyncpg.ClientConfigurationError)
_UNKNOWN_SETTING: Final = "42704"
# By the class of an SQLSTATE: what the operator has to mend.
_SAID: Final = {"28": "refuses the login", "3D": "has no such database"}


class ConflictError(Exception):
    """A transaction got into another's way and was undone; repeated, it may succeed."""


class Database:
    """One PostgreSQL; connects when it is first used."""

    def __init__(self, policy: DatabasePolicy) -> None:
        self.name = policy.gate.name
        self._policy = policy
        # The last one given back is the last. asyncpg has no types.
        self._idle: list[tuple[float, Any]] = []
        self._tidying: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncGenerator[Any, None]:
        """Have a connection, within `async with`; PostgreSQL's errors and a lost connection leave it as `failure` says.

        One that is left by anything else is closed, since nobody knows what it is in the middle of.
        """
        connection: Any = None
        try:
            connection = self._taken() or await self._connect()
            yield connection
        except (SidecarError, UnfitError):
            self._give_back(connection)
            raise
        except asyncpg.PostgresError as error:
            failure = self.failure(error)
            if isinstance(failure, LostError):
                self._lose(connection)
            elif connection is not None:
                self._give_back(connection)
            raise failure from None
        except LostError:
            self._lose(connection)
            raise
        except _LOST:
            self._lose(connection)
            raise LostError from None
        except BaseException:
            _hang_up(connection)
            raise
        self._give_back(connection)

    def failure(self, error: asyncpg.PostgresError) -> SidecarError | LostError | ConflictError:
        """Return what one of PostgreSQL's errors means; its text may quote what was sent, and is not repeated."""
        code = code_of(error)
        verdict = verdict_on(code)
        # A table that has changed since is no fault: the driver has forgotten what it knew of it.
        if verdict is Verdict.AGAIN or isinstance(error, asyncpg.InvalidCachedStatementError):
            return ConflictError()
        match verdict:
            case Verdict.LOST:
                return LostError()
            case Verdict.LATE:
                return timed_out(self.name)
            case Verdict.UNAVAILABLE:
                return unavailable(self.name, f"{_SAID.get(code[:2], 'cannot be asked now')} (SQLSTATE {code})")
        return (unfit if verdict is Verdict.UNFIT else refused)(self.name, code)

    async def close(self) -> None:
        """Close all connections."""
        if self._tidying is not None:
            self._tidying.cancel()
        self._close([connection for _, connection in self._idle])
        self._idle.clear()
        await asyncio.gather(*self._closing)

    async def _connect(self) -> Any:
        timeout_ms = str(int(self._policy.gate.timeout * 1000) + _SERVER_SLACK_MS)
        try:
            return await asyncpg.connect(
                self._policy.url,
                password=self._policy.password,
                server_settings={
                    "application_name": "sidecar",
                    "statement_timeout": timeout_ms,
                    "idle_in_transaction_session_timeout": timeout_ms,
                    "standard_conforming_strings": "on",
                },
            )
        except asyncpg.PostgresError as error:
            if code_of(error) != _UNKNOWN_SETTING:
                raise
            # Whatever stands behind the `?` of a URL and is not the driver's is a setting of the server's.
            raise UnusableUrlError(f"{error.message} (SQLSTATE {_UNKNOWN_SETTING})") from None
        except OSError as error:
            # The driver's own words where the server answers that it has no TLS, which the system has no number for.
            raise LostError("it takes no TLS" if "SSL upgrade" in str(error) else why_not(error)) from None
        except _UNUSABLE as error:
            # The driver's sentences name settings and files, and no password; what else it raises says nothing useful.
            said = str(error).partition("\n")[0] if isinstance(error, asyncpg.ClientConfigurationError) else ""
            raise UnusableUrlError(said or "the driver cannot read its URL") from None

    def _taken(self) -> Any:
        """Return a connection that lies idle, None if there is none."""
        while self._idle:
            _, connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _give_back(self, connection: Any) -> None:
        if connection.is_closed() or connection.is_in_transaction():
            _hang_up(connection)
            return
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), connection))
        if self._tidying is None:
            self._tidying = loop.call_later(_IDLE_SECONDS, self._tidy, loop)

    def _lose(self, connection: Any) -> None:
        """Have a connection for lost, and those that lie idle with it."""
        _hang_up(connection)
        for _, other in self._idle:
            _hang_up(other)
        self._idle.clear()

    def _tidy(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what nobody has needed for long, and look again later if there is something left."""
        long_ago = loop.time() - _IDLE_SECONDS
        self._close([connection for since, connection in self._idle if since <= long_ago])
        self._idle = [(since, connection) for since, connection in self._idle if since > long_ago]
        self._tidying = loop.call_later(_IDLE_SECONDS, self._tidy, loop) if self._idle else None

    def _close(self, connections: list[Any]) -> None:
        for connection in connections:
            task = asyncio.create_task(_say_goodbye(connection), name="close a connection")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def _say_goodbye(connection: Any) -> None:
    with contextlib.suppress(asyncpg.PostgresError, *_LOST):
        await connection.close(timeout=_CLOSE_SECONDS)


def code_of(error: asyncpg.PostgresError) -> str:
    """Return an error's SQLSTATE."""
    return str(getattr(error, "sqlstate", None) or "XX000")


def _hang_up(connection: Any) -> None:
    if connection is not None:
        connection.terminate()
