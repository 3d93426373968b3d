"""A connection of its own for what the store tells unasked: messages of channels, and names of keys that changed.

Problem. The connections that calls share have no subscriptions: a push belongs to no caller, and one that is missed is
missed for good. Whoever acts on pushes must know three things: that it is told of everything from a certain moment on,
up to which moment it has been told, and when that ceased to be so.

Algorithm. A keeper dials, sends what is to be in force (`SUBSCRIBE`, `CLIENT TRACKING`), and says `up` once the server
has answered a PING behind it. From then on it asks at intervals for the server's TIME, and when that is answered, for a
PING: a server writes the pushes of a turn of its loop behind the turn's replies, so only the answer to the second
question proves that everything has come that happened before the first was answered. That moment is told as a beat.
No answer in time, or a lost connection, ends it: `down`, and what happens until the next `up` nobody will tell.

Who only wants to ask and be kept waiting, as with XREADGROUP, uses the line alone, and says for how long in `ask`.
Pushes reach `on_push` in the loop's turn in which they come, and must be handled without awaiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import hiredis

from sidecar.connecting import why_not
from sidecar.errors import SidecarError
from sidecar.lasting import lasting
from sidecar.store.commands import time_us
from sidecar.store.connection import pack
from sidecar.store.dial import login, open_socket, refusal
from sidecar.store.replies import to_error, unavailable
from sidecar.store.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Arg, Reply

_log = logging.getLogger("sidecar.store")

Words = tuple["Arg", ...]
_MORE = object()
_PING: Words = ("PING",)
# A connection that lasted this long was a good one; after its loss the back-off begins anew.
_STEADY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionPolicy:
    """How subscriptions behave; times in seconds."""

    client_name: str = "sidecar"
    connect_timeout: float = 1.0
    reply_timeout: float = 1.0
    beat_interval: float = 1.0
    backoff: Backoff = field(default_factory=Backoff)


class PushLine(asyncio.Protocol):
    """One connection that gives replies in order to who asked, and pushes to `on_push`."""

    def __init__(self, on_push: Callable[[list[Any]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_push = on_push
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._pending: deque[asyncio.Future[Reply]] = deque()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done once the connection is gone."""

    async def ask(self, *commands: Words, silent: Sequence[Words] = (), patience: float) -> list[Reply]:
        """Send commands and return their replies, error replies among them.

        `silent` are sent before them, and have pushes for answers. Raises `StoreError` (STORE_UNAVAILABLE) when the
        connection goes, or no answer comes within `patience` seconds; the connection is then aborted.
        """
        if self._transport is None or self.lost.done():
            raise unavailable("it closed the connection")
        futures: list[asyncio.Future[Reply]] = [self._loop.create_future() for _ in commands]
        self._pending.extend(futures)
        self._transport.write(b"".join([pack(words) for words in (*silent, *commands)]))
        try:
            async with asyncio.timeout(patience):
                return [await one for one in futures]
        except TimeoutError:
            self.abort()
            raise unavailable("it does not answer") from None
        except BaseException:
            # Somebody else's answers must not come to the wrong place; whoever leaves takes the connection with it.
            self.abort()
            raise
        finally:
            for one in futures:
                if one.done() and not one.cancelled():
                    one.exception()  # the first told what happened to all

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()
        self._fail()

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Deliver replies and pushes."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE and not self.lost.done():
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(list(reply))
                    continue
                future = self._pending.popleft()
                if not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError, TypeError, ValueError):
            # Not RESP, or an answer to no question.
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's signature)
        """Tell who waits."""
        self._fail()

    def _fail(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        while self._pending:
            future = self._pending.popleft()
            if not future.done():
                future.set_exception(unavailable("it closed the connection"))


async def open_line(
    address: StoreAddress, policy: SubscriptionPolicy, on_push: Callable[[list[Any]], None]
) -> PushLine:
    """Open a connection that is logged in; raises `StoreError` (STORE_UNAVAILABLE, STORE_DENIED)."""
    line = PushLine(on_push)
    opened = False
    try:
        async with asyncio.timeout(policy.connect_timeout):
            await open_socket(asyncio.get_running_loop(), address, line)
            replies = await line.ask(*login(address, policy.client_name), patience=policy.connect_timeout)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise refusal(reply)
        opened = True
    except TimeoutError:
        raise unavailable("no answer in time") from None
    except OSError as error:
        raise unavailable(why_not(error)) from None
    except UnicodeError:
        raise unavailable("its host name is not valid") from None
    finally:
        if not opened:
            line.abort()
    return line


class Subscription:
    """Keeps something in force on a connection of its own, and says when it is and when not.

    `set_up` are commands with replies, `silent` those with pushes for replies. `on_up` is called when all that happens
    from now on will be told, `on_down` when that is over, `on_beat` with the store's time, in microseconds, up to which
    everything has been told.
    """

    def __init__(
        self,
        address: StoreAddress,
        policy: SubscriptionPolicy,
        *,
        name: str,
        set_up: Sequence[Words] = (),
        silent: Sequence[Words] = (),
        on_push: Callable[[list[Any]], None],
        on_up: Callable[[], None],
        on_down: Callable[[], None],
        on_beat: Callable[[int], None] = lambda _store_us: None,
    ) -> None:
        self._address = address
        self._policy = policy
        self._name = name
        self._set_up = tuple(set_up)
        self._silent = tuple(silent)
        self._on_push = on_push
        self._on_up = on_up
        self._on_down = on_down
        self._on_beat = on_beat
        self._task: asyncio.Task[None] | None = None
        self.is_up = False
        """Whether everything is told that happens."""

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(
            lasting(self._keep, f"the subscription {self._name}"), name=f"subscription-{self._name}"
        )

    async def close(self) -> None:
        """End it; nothing is told any more, not even `down`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            begun = loop.time()
            try:
                await self._hold()
            except SidecarError as error:
                if attempt == 0 or self.is_up:
                    _log.warning("the subscription %s is not in force: %s", self._name, error.message)
            except Exception:  # noqa: BLE001 (it is logged, and the work goes on)
                _log.exception("the subscription %s has failed", self._name)
            if self.is_up:
                self.is_up = False
                self._on_down()
                if loop.time() - begun > _STEADY_SECONDS:
                    attempt = 0
            await asyncio.sleep(self._policy.backoff.delay_seconds(attempt))
            attempt += 1

    async def _hold(self) -> None:
        """Connect, and stay so for as long as there is an answer; raises `StoreError` when there is none."""
        line = await open_line(self._address, self._policy, self._on_push)
        patience = self._policy.reply_timeout
        try:
            for reply in await line.ask(*self._set_up, _PING, silent=self._silent, patience=patience):
                if isinstance(reply, hiredis.ReplyError):
                    raise to_error(reply)
            self.is_up = True
            self._on_up()
            while True:
                self._on_beat(await _proven_time(line, patience))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(line.lost), self._policy.beat_interval)
        finally:
            line.abort()


async def _proven_time(line: PushLine, patience: float) -> int:
    """Return the server's time, in microseconds, once all has come that it had told before."""
    (told,) = await line.ask(("TIME",), patience=patience)
    (pong,) = await line.ask(_PING, patience=patience)
    for reply in (told, pong):
        if isinstance(reply, hiredis.ReplyError):
            raise to_error(reply)
    try:
        return time_us(told)
    except (TypeError, ValueError):
        raise unavailable("its time is no time") from None
