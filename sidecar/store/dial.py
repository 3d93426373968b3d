"""Opening a connection: the socket, TLS, and the RESP3 handshake."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import hiredis

from sidecar.clock import after
from sidecar.connecting import why_not
from sidecar.errors import Reason, StoreError
from sidecar.store.connection import Connection, ConnectionLostError, pack
from sidecar.store.replies import code_of, to_error, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Arg, Reply


async def dial(
    address: StoreAddress,
    *,
    client_name: str,
    connect_timeout: float,
    reply_timeout: float,
    on_lost: Callable[[Connection], None],
    on_push: Callable[[list[Reply]], None] | None = None,
    busy_wait: bool = True,
) -> Connection:
    """Open a connection that is ready for commands; times are in seconds.

    Raises `StoreError`: STORE_UNAVAILABLE if there is no answer in time or the server is still loading, STORE_DENIED if
    it refuses the credentials. `on_lost` is called once, when a connection that was ready is gone; `on_push` gets what
    the server pushes.
    """
    loop = asyncio.get_running_loop()
    ready = False

    def lost(connection: Connection) -> None:
        if ready:
            on_lost(connection)

    connection = Connection(loop=loop, reply_timeout=reply_timeout, on_lost=lost, on_push=on_push, busy_wait=busy_wait)
    try:
        async with asyncio.timeout(connect_timeout):
            await open_socket(loop, address, connection)
            await _handshake(address, connection, client_name, connect_timeout)
        # What came right behind the handshake's last reply may have closed it.
        ready = not connection.closed
    except TimeoutError:
        raise unavailable("no answer in time") from None
    except ConnectionLostError:
        raise unavailable("it closed the connection") from None
    except OSError as error:
        raise unavailable(why_not(error)) from None
    except UnicodeError:  # the resolver's, for what cannot be a host's name
        raise unavailable("its host name is not valid") from None
    else:
        if ready:
            return connection
        raise unavailable("it closed the connection")
    finally:
        if not ready:
            connection.abort()


async def open_socket(loop: asyncio.AbstractEventLoop, address: StoreAddress, connection: asyncio.Protocol) -> None:
    """Connect a protocol to the server; raises `OSError`, and `UnicodeError` for what cannot be a host's name."""
    if address.path:
        await loop.create_unix_connection(lambda: connection, address.path)
        return
    transport, _ = await loop.create_connection(
        lambda: connection,
        address.host,
        address.port,
        ssl=address.tls,
        server_hostname=(address.server_name or address.host) if address.tls else None,
    )
    raw = transport.get_extra_info("socket")
    if raw is not None:
        # A peer that vanished without a word is noticed even while nothing is sent.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


async def _handshake(address: StoreAddress, connection: Connection, client_name: str, reply_timeout: float) -> None:
    words = login(address, client_name)
    packed = b"".join(pack(command) for command in words)
    for reply in await connection.send(packed, len(words), after(reply_timeout)):
        if isinstance(reply, hiredis.ReplyError):
            raise refusal(reply)


def login(address: StoreAddress, client_name: str) -> list[tuple[Arg, ...]]:
    """Return what agrees on RESP3, logs in, chooses the database, and sees that commands are taken.

    The last is PING, which fails while the server loads.
    """
    hello: list[str] = ["HELLO", "3"]
    if address.password:
        hello += ["AUTH", address.username or "default", address.password]
    hello += ["SETNAME", client_name]
    words: list[tuple[Arg, ...]] = [tuple(hello), ("PING",)]
    if address.database:
        words.insert(1, ("SELECT", str(address.database)))
    return words


def refusal(reply: hiredis.ReplyError) -> StoreError:
    """Return the error of a login that was refused."""
    code = code_of(reply)
    if code == "NOPROTO" or "unknown command" in str(reply):
        return StoreError(Reason.STORE_DENIED, "the store does not speak RESP3; use Redis 6 or newer, or Valkey")
    if code == "ERR":
        return StoreError(Reason.STORE_DENIED, "the store refused the login or the database number")
    return to_error(reply)
