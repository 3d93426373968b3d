"""An application as an origin: `sidecar.v1.OriginService`, called over gRPC.

Several keys go in one LoadMany, several changes in one StoreMany. An application that has only the single calls says
UNIMPLEMENTED, and is then called for each by itself for a while, as many at a time as may be. The same goes for an
answer to LoadMany that is too large for a message. Where LoadMany or StoreMany is refused, one of the keys may be why,
and the others are nobody's fault: keys are asked for in halves, down to that one, and changes are made one by one.

A load may be sent twice, a change may not, unless its token says that it is the same: so before a change the connection
must be there, and what fails after that has an outcome that nobody knows, unless the application's status says that it
has not done it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio

from sidecar.call import Code
from sidecar.errors import Reason, SidecarError
from sidecar.gen.sidecar.v1 import origin_pb2
from sidecar.origins.answers import kept
from sidecar.origins.failures import (
    AnotherWayError,
    LostError,
    bad_answer,
    outcome_unknown,
    refused,
    timed_out,
    unavailable,
    unfit,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.origin import Change, OriginValue
    from sidecar.call import Call
    from sidecar.origins.gate import Exchange, Gate
    from sidecar.origins.policies import ServicePolicy

R = TypeVar("R", bound=Message)

_SERVICE: Final = f"/{origin_pb2.DESCRIPTOR.services_by_name['OriginService'].full_name}/"
_REFUSALS: Final = frozenset({
    Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
})  # fmt: skip
# Who answers so has not done what it was asked.
_NOT_DONE: Final = frozenset({Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.UNIMPLEMENTED, Code.UNAUTHENTICATED})
# C core's words for a message that it did not take in.
_TOO_LARGE: Final = "larger than max"
_NO_CONNECTION: Final = ("failed to connect", "errors resolving", "DNS resolution failed")
# C core's words for why there is no connection, from the most telling on, and ours. Its own hold addresses.
_WHYS: Final = (
    (re.compile("CERTIFICATE_VERIFY_FAILED: ([a-z ]+)"), "its certificate is not accepted: {}"),
    (re.compile("(?i)hostname verification"), "its certificate is not accepted: it is for another name"),
    (re.compile("(?i)handshake"), "TLS failed"),
    (re.compile("Connection refused"), "connection refused"),
    (re.compile("No such file or directory"), "no such file or directory"),
    (re.compile("(?i)lookup|resol(?:ve|ution)|resolving"), "its host name does not resolve"),
)
# May be called at any time, whether the application has it or not, and changes nothing.
_HARMLESS: Final = "/grpc.health.v1.Health/Check"
_WHY_SECONDS: Final = 0.5
_CLOSE_SECONDS: Final = 1.0
# A channel that loses its connection knows within a few milliseconds; an application that says UNAVAILABLE over one
# that is there is asked again after this.
_NOTICE_SECONDS: Final = 0.1
# An application may be replaced by one that has the method, or one of several behind the address may be older than the
# others: so the method is tried again after this, which costs an application without it two calls a minute.
_LACKS_SECONDS: Final = 30.0
# Beside a value: key, TTL, tags, lengths.
_ENTRY_OVERHEAD_BYTES: Final = 64 << 10


class _TooLargeError(AnotherWayError):
    """A message is larger than one of the two sides takes."""


class _UnimplementedError(AnotherWayError):
    """The application has no such method."""


class ServiceChannel:
    """The connection to one application; made when it is first used."""

    def __init__(self, policy: ServicePolicy) -> None:
        self.policy = policy
        self._channel: aio.Channel | None = None
        self._lacks_until: dict[str, float] = {}

    def has(self, method: str) -> bool:
        """Say whether an application has a method, as far as is known."""
        return time.monotonic() >= self._lacks_until.get(method, 0.0)

    def forget(self, method: str) -> None:
        """Leave a method alone for a while: the application has none of that name."""
        self._lacks_until[method] = time.monotonic() + _LACKS_SECONDS

    async def ready(self) -> None:
        """Wait until there is a connection; raises LostError if an attempt to make one fails."""
        channel = self._opened()
        state = channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            if state in {grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN}:
                raise LostError(await self._why_not())
            await channel.wait_for_state_change(state)
            state = channel.get_state(try_to_connect=True)

    async def noticed(self) -> None:
        """Wait a moment for the channel to notice that its connection is gone.

        A call fails before the channel leaves the state READY, and the next would go by the same dead connection.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NOTICE_SECONDS):
                await self._opened().wait_for_state_change(grpc.ChannelConnectivity.READY)

    async def call(self, method: str, request: Message, seconds: float) -> bytes:
        """Make a call and return its answer; raises `aio.AioRpcError`."""
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = self._opened().unary_unary(_SERVICE + method)
        answer: bytes = await call(request.SerializeToString(), timeout=max(0.001, seconds))
        return answer

    async def close(self) -> None:
        """Hang up."""
        if self._channel is not None:
            await self._channel.close(_CLOSE_SECONDS)

    async def _why_not(self) -> str:
        """Return why the last attempt to connect failed, which a channel tells only to a call that it fails with it."""
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = self._opened().unary_unary(_HARMLESS)
        try:
            await call(b"", timeout=_WHY_SECONDS)
        except aio.AioRpcError as error:
            return _why(error.details() or "")
        return ""

    def _opened(self) -> aio.Channel:
        if self._channel is None:
            policy = self.policy
            options: list[tuple[str, Any]] = [
                # A proxy from the environment would lead elsewhere.
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_receive_message_length", policy.max_answer_bytes + _ENTRY_OVERHEAD_BYTES),
                ("grpc.max_send_message_length", -1),
                # The breaker is what spares the application; behind it an attempt is to be made when it is asked for.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1_000),
                ("grpc.use_local_subchannel_pool", 1),
            ]
            if policy.root_certificates is None:
                self._channel = aio.insecure_channel(policy.address, options)
            else:
                if policy.server_name is not None:
                    options.append(("grpc.ssl_target_name_override", policy.server_name))
                roots = grpc.ssl_channel_credentials(policy.root_certificates)
                self._channel = aio.secure_channel(policy.address, roots, options)
        return self._channel


class ServiceOrigin:
    """What one cache has in an application."""

    stores = True

    def __init__(self, *, cache: str, channel: ServiceChannel, gate: Gate, max_value_bytes: int) -> None:
        self.name = gate.name
        self._cache = cache
        self._channel = channel
        self._gate = gate
        self._max_value_bytes = max_value_bytes

    async def load(self, keys: Sequence[str], call: Call) -> Sequence[OriginValue | SidecarError | None]:
        """Return what Load or LoadMany say of each key."""
        distinct = tuple(dict.fromkeys(keys))
        found = dict(zip(distinct, await self._load_distinct(distinct, call), strict=True))
        return [found[key] for key in keys]

    async def _load_distinct(self, keys: Sequence[str], call: Call) -> Sequence[OriginValue | SidecarError | None]:
        if len(keys) > 1 and self._channel.has("LoadMany"):
            try:
                return await self._gate.load(partial(self._load_many, keys), call)
            except SidecarError as error:
                if error.reason is not Reason.ORIGIN_REFUSED:
                    return [error] * len(keys)
                middle = len(keys) // 2
                halves = (keys[:middle], keys[middle:])
                return [found for half in halves for found in await self._load_distinct(half, call)]
            except _UnimplementedError:
                self._channel.forget("LoadMany")
            except _TooLargeError:
                pass
        return await asyncio.gather(*(self._load_one(key, call) for key in keys))

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes by Store, Remove or StoreMany."""
        if len(changes) > 1 and self._channel.has("StoreMany"):
            try:
                return await self._gate.change(partial(self._store_many, changes), call)
            except SidecarError as error:
                if error.reason is not Reason.ORIGIN_REFUSED:
                    return [error] * len(changes)
            except _UnimplementedError:
                self._channel.forget("StoreMany")
            except _TooLargeError:
                pass
        results: list[SidecarError | None] = []
        for place, change in enumerate(changes):
            result = await self._store_one(change, call)
            results.append(result)
            if result is not None and result.reason is not Reason.ORIGIN_REFUSED:
                # What comes after it may be of the same key, and must not come before it.
                rest = unavailable(self.name, "has failed at a change before this one")
                return [*results, *[rest] * (len(changes) - place - 1)]
        return results

    async def _load_one(self, key: str, call: Call) -> OriginValue | SidecarError | None:
        try:
            return await self._gate.load(partial(self._load, key), call)
        except SidecarError as error:
            return error

    async def _store_one(self, change: Change, call: Call) -> SidecarError | None:
        try:
            await self._gate.change(partial(self._store, change), call)
        except SidecarError as error:
            return error
        return None

    # --- what is done within the gate ---

    async def _load(self, key: str, exchange: Exchange) -> OriginValue | SidecarError | None:
        request = origin_pb2.LoadRequest(cache=self._cache, key=key)
        try:
            answer = self._read(origin_pb2.LoadResponse, await self._ask("Load", request, exchange))
        except _TooLargeError:
            raise bad_answer(self.name, "answers with more than fits into a message") from None
        except _UnimplementedError:
            raise unfit(self.name, Code.UNIMPLEMENTED.name) from None
        except SidecarError as error:
            if error.metadata.get("code") == Code.NOT_FOUND.name:
                return None
            raise
        return self._entry(answer.entry)

    async def _load_many(self, keys: Sequence[str], exchange: Exchange) -> Sequence[OriginValue | SidecarError | None]:
        request = origin_pb2.LoadManyRequest(cache=self._cache, keys=keys)
        answer = self._read(origin_pb2.LoadManyResponse, await self._ask("LoadMany", request, exchange))
        if len(answer.entries) != len(keys):
            raise bad_answer(self.name, f"answers for {len(answer.entries)} keys where {len(keys)} were asked for")
        return [self._entry(entry) for entry in answer.entries]

    async def _store(self, change: Change, exchange: Exchange) -> None:
        request: Message
        if change.value is None:
            method = "Remove"
            request = origin_pb2.RemoveRequest(cache=self._cache, key=change.key, token=change.token)
        else:
            method = "Store"
            request = origin_pb2.StoreRequest(cache=self._cache, key=change.key, value=change.value, token=change.token)
        try:
            await self._tell(method, request, exchange, is_repeatable=bool(change.token))
        except _UnimplementedError:
            raise unfit(self.name, Code.UNIMPLEMENTED.name) from None
        except _TooLargeError:
            raise refused(self.name, Code.RESOURCE_EXHAUSTED.name) from None

    async def _store_many(self, changes: Sequence[Change], exchange: Exchange) -> Sequence[SidecarError | None]:
        request = origin_pb2.StoreManyRequest(
            cache=self._cache,
            changes=[
                origin_pb2.OriginChange(key=change.key, remove=True, token=change.token)
                if change.value is None
                else origin_pb2.OriginChange(key=change.key, value=change.value, token=change.token)
                for change in changes
            ],
        )
        repeatable = all(change.token for change in changes)
        answer = await self._tell("StoreMany", request, exchange, is_repeatable=repeatable)
        made = origin_pb2.StoreManyResponse()
        try:
            made.ParseFromString(answer)
        except DecodeError:
            raise outcome_unknown(self.name) from None
        if len(made.results) != len(changes):
            raise outcome_unknown(self.name)
        return [None if result.code == 0 else self._not_made(result.code) for result in made.results]

    # --- calls ---

    async def _ask(self, method: str, request: Message, exchange: Exchange) -> bytes:
        try:
            return await self._channel.call(method, request, exchange.deadline - time.monotonic())
        except aio.AioRpcError as error:
            code = Code(error.code().value[0])
            if code is Code.UNAVAILABLE:
                await self._channel.noticed()
                raise LostError(_why(error.details() or "")) from None
            self._refuse_method(code, error)
            raise self._failed(code, is_change=False) from None

    async def _tell(self, method: str, request: Message, exchange: Exchange, *, is_repeatable: bool) -> bytes:
        """Have a change made, once; twice if the first time the connection was lost and the change may be repeated."""
        await self._channel.ready()
        exchange.is_sent = True
        for may_repeat in (is_repeatable, False):
            try:
                return await self._channel.call(method, request, exchange.deadline - time.monotonic())
            except aio.AioRpcError as error:
                code = Code(error.code().value[0])
                if code is Code.UNAVAILABLE and may_repeat:
                    await self._channel.noticed()
                    continue
                self._refuse_method(code, error)
                raise self._failed(code, is_change=True) from None
        raise outcome_unknown(self.name)

    def _refuse_method(self, code: Code, error: aio.AioRpcError) -> None:
        """Raise what says that the call must be made in another way."""
        if code is Code.UNIMPLEMENTED:
            raise _UnimplementedError from None
        if code is Code.RESOURCE_EXHAUSTED and _TOO_LARGE in (error.details() or ""):
            raise _TooLargeError from None

    def _not_made(self, number: int) -> SidecarError:
        """Return what the application says of one of several changes."""
        try:
            code = Code(number)
        except ValueError:
            code = Code.UNKNOWN
        if code is Code.UNAVAILABLE:
            # Said of a change by who was there, and not of a connection by who knows no more.
            return unavailable(self.name, f"answers with {code.name}")
        return self._failed(code, is_change=True)

    def _failed(self, code: Code, *, is_change: bool) -> SidecarError:
        """Return what a status says."""
        if code in _REFUSALS:
            return refused(self.name, code.name)
        if is_change:
            if code in _NOT_DONE:
                return unavailable(self.name, f"answers with {code.name}")
            return outcome_unknown(self.name)
        return (
            timed_out(self.name)
            if code is Code.DEADLINE_EXCEEDED
            else unavailable(self.name, f"answers with {code.name}")
        )

    def _read(self, kind: type[R], answer: bytes) -> R:
        message = kind()
        try:
            message.ParseFromString(answer)
        except DecodeError:
            raise bad_answer(self.name, "answers with what is no message of OriginService") from None
        return message

    def _entry(self, entry: origin_pb2.OriginEntry) -> OriginValue | SidecarError | None:
        if not entry.present:
            return None
        ttl_ms = entry.ttl.seconds * 1000 + -(-entry.ttl.nanos // 1_000_000) if entry.HasField("ttl") else None
        return kept(
            self.name, entry.value, max_value_bytes=self._max_value_bytes, ttl_ms=ttl_ms, tags=tuple(entry.tags)
        )


def _why(details: str) -> str:
    """Return why a channel has no connection, by what C core says of it; empty for what it says of anything else."""
    if not details.startswith(_NO_CONNECTION):
        return ""
    for pattern, words in _WHYS:
        if found := pattern.search(details):
            return words.format(*found.groups()).strip()
    return ""
