"""Rate limits before gRPC methods of all four kinds, on an event loop and on a thread pool."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from decisions import NOTHING_ALLOWED, UNAVAILABLE, UNKNOWN_POLICY, allowed, refused
from limited_methods import KINDS, SERVICE, AsyncKinds, PlainKinds, call_kind, call_method, details_of, handlers
from sidecar_client import BlockingSidecar, Rule, SidecarClient
from sidecar_client.grpc_server import AioRateLimitInterceptor, GrpcCall, RateLimitInterceptor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from played_sidecar import Play

# What serves: an asynchronous server with methods of either sort, or one of threads.
SERVERS = ("async", "async-plain", "threads")


def by_user(call: GrpcCall) -> str | None:
    """Return who calls, by its metadata."""
    return call.metadata("X-User")


LOGINS: Rule[GrpcCall] = Rule(policy="auth", name="logins", key=by_user, on_failure="closed")


@asynccontextmanager
async def serving(server_kind: str, play: Play, *rules: Rule[GrpcCall]) -> AsyncIterator[grpc.Channel]:
    """Serve the four kinds behind `rules`; return a channel for threads."""
    if server_kind == "threads":
        with BlockingSidecar(play.address, timeout=30) as blocking, ThreadPoolExecutor(4) as pool:
            plain = grpc.server(pool, interceptors=[RateLimitInterceptor(sidecar=blocking, rules=rules)])
            plain.add_generic_rpc_handlers((handlers(PlainKinds()),))
            port = plain.add_insecure_port("127.0.0.1:0")
            plain.start()
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
            await asyncio.to_thread(plain.stop(None).wait)
    else:
        async with SidecarClient(play.address, timeout=30) as sidecar:
            server = grpc.aio.server(
                migration_thread_pool=ThreadPoolExecutor(4),
                interceptors=[AioRateLimitInterceptor(sidecar=sidecar, rules=rules)],
            )
            server.add_generic_rpc_handlers((handlers(AsyncKinds() if server_kind == "async" else PlainKinds()),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
            await server.stop(None)


async def call(channel: grpc.Channel, kind: str, user: str | None = "ada") -> list[bytes]:
    """Call a method as somebody; return the answers."""
    return await asyncio.to_thread(call_kind, channel, kind, (("x-user", user),) if user else ())


async def failure(channel: grpc.Channel, kind: str) -> Any:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        await call(channel, kind)
    return caught.value


@pytest.fixture(params=SERVERS)
def server_kind(request: pytest.FixtureRequest) -> str:
    """Run the test on each server."""
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_allowed_reaches_its_method(play: Play, server_kind: str, kind: str) -> None:
    """Requests and answers pass as they are; a stream is charged once."""
    play.answer(allowed())
    async with serving(server_kind, play, LOGINS) as channel:
        answers = await call(channel, kind)
    assert ([b"ada"] * (2 if kind == "UnaryStream" else 1), 1) == (answers, len(play.received))
    assert ("auth", "ada") == (play.received[0].request.policy, play.received[0].request.key)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_refused_says_when_to_come_again(play: Play, server_kind: str, kind: str) -> None:
    """RESOURCE_EXHAUSTED with RetryInfo, to the millisecond, and the rule's name as the quota."""
    play.answer(refused(57_600))
    async with serving(server_kind, play, LOGINS) as channel:
        error = await failure(channel, kind)
    retry, subjects = details_of(error)
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, 57_600, ["logins"]) == (
        error.code(),
        retry.retry_delay.ToMilliseconds(),
        subjects,
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_what_fails_closed_is_unavailable(play: Play, server_kind: str, kind: str) -> None:
    """With the wait that the sidecar asks for."""
    play.answer(UNAVAILABLE)
    async with serving(server_kind, play, LOGINS) as channel:
        error = await failure(channel, kind)
    retry, subjects = details_of(error)
    assert (grpc.StatusCode.UNAVAILABLE, 2500, []) == (error.code(), retry.retry_delay.ToMilliseconds(), subjects)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_fails_open_passes(play: Play, server_kind: str, kind: str) -> None:
    """As if there were no limit."""
    play.answer(UNAVAILABLE)
    async with serving(server_kind, play, Rule(policy="api", key=by_user, on_failure="open")) as channel:
        answers = await call(channel, kind)
    assert {b"ada"} == set(answers)


async def test_the_first_refusal_of_several_ends_the_call(play: Play, server_kind: str) -> None:
    """The limits before it are charged, those after it are not asked."""
    everybody: Rule[GrpcCall] = Rule(policy="api", key=lambda _: "all", on_failure="open", advertise=False)
    play.answer(allowed(), refused(2000))
    async with serving(server_kind, play, LOGINS, everybody) as channel:
        error = await failure(channel, "UnaryUnary")
    retry, subjects = details_of(error)
    assert (2, 2, []) == (len(play.received), retry.retry_delay.ToSeconds(), subjects)


async def test_a_limit_of_nothing_names_no_time(play: Play, server_kind: str) -> None:
    """Waiting does not help, so no one is told to."""
    play.answer(NOTHING_ALLOWED)
    async with serving(server_kind, play, LOGINS) as channel:
        error = await failure(channel, "UnaryUnary")
    retry, subjects = details_of(error)
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, False, ["logins"]) == (
        error.code(),
        retry.HasField("retry_delay"),
        subjects,
    )


async def test_a_call_without_a_key_is_not_limited(play: Play, server_kind: str) -> None:
    """As health checks should not be."""
    async with serving(server_kind, play, LOGINS) as channel:
        answers = await call(channel, "UnaryUnary", user=None)
    assert ([b"ada"], []) == (answers, play.received)


@pytest.mark.parametrize(("kind", "request_seen"), [("UnaryUnary", b"ada"), ("StreamStream", None)])
async def test_a_key_may_come_from_method_peer_and_message(
    play: Play, server_kind: str, kind: str, request_seen: bytes | None
) -> None:
    """A stream has no message yet."""
    seen: list[tuple[str, str, object]] = []

    def key(call: GrpcCall) -> str:
        seen.append((call.method, call.peer.rpartition(":")[0], call.request))
        return "k"

    play.answer(allowed())
    async with serving(server_kind, play, Rule(policy="auth", key=key, on_failure="open")) as channel:
        await call(channel, kind)
    assert [(f"/{SERVICE}/{kind}", "ipv4:127.0.0.1", request_seen)] == seen


async def test_a_key_may_be_awaited_on_an_event_loop(play: Play) -> None:
    """Also for methods that run in threads."""

    async def key(_: GrpcCall) -> str:
        await asyncio.sleep(0)
        return "slow"

    for server_kind in ("async", "async-plain"):
        play.answer(allowed())
        async with serving(server_kind, play, Rule(policy="auth", key=key, on_failure="open")) as channel:
            await call(channel, "UnaryStream")
    assert ["slow", "slow"] == [received.request.key for received in play.received]


async def test_a_mistake_does_not_fail_open(play: Play, server_kind: str) -> None:
    """The server ends the call as it does when a method raises."""
    play.answer(UNKNOWN_POLICY)
    async with serving(server_kind, play, Rule(policy="auht", key=by_user, on_failure="open")) as channel:
        error = await failure(channel, "UnaryUnary")
    assert grpc.StatusCode.UNKNOWN == error.code()


async def test_an_unknown_method_stays_unknown(play: Play, server_kind: str) -> None:
    """Nothing is asked for it."""
    async with serving(server_kind, play, LOGINS) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            await asyncio.to_thread(call_method, channel, f"/{SERVICE}/Other")
    code: Any = caught.value
    assert (grpc.StatusCode.UNIMPLEMENTED, []) == (code.code(), play.received)
