"""The Python client with `auto_batch=True` on a real sidecar: it does what it does without, in fewer messages."""

from __future__ import annotations

import asyncio
import random
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sidecar_client import SidecarClient, SidecarError, if_absent, if_present
from sidecar_client.results import Deleted, Written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from support.programs import SidecarProgram

_TIMEOUT_S = 20.0
_CALLERS = 200


@pytest.fixture
async def plain(sidecar_address: str) -> AsyncIterator[SidecarClient]:
    """Open a client that sends each call by itself."""
    async with SidecarClient(sidecar_address, timeout=_TIMEOUT_S) as client:
        yield client


@pytest.fixture
async def gathering(sidecar_address: str) -> AsyncIterator[SidecarClient]:
    """Open a client that gathers calls."""
    async with SidecarClient(sidecar_address, timeout=_TIMEOUT_S, auto_batch=True) as client:
        yield client


def _calls(key: str) -> list[Callable[[SidecarClient], Awaitable[Any]]]:
    """Return calls on keys of their own, whose results depend on nothing but the call."""
    return [
        lambda client: client.cache("default").get(f"{key}:none"),
        lambda client: client.cache("balances").set(f"{key}:s", b"\x00\xff", condition=if_present()),
        lambda client: client.cache("default").delete(f"{key}:d"),
        lambda client: client.cache("shared").touch(f"{key}:t", ttl=5),
        lambda client: client.cache("shared").set(f"{key}:raw", "v", condition=if_absent(), ttl=3),
        lambda client: client.cache("patients").get(f"{key}:p"),
        lambda client: client.limit("auth").peek(f"{key}:l", cost=3),
        lambda client: client.limit("auth").reset(f"{key}:r"),
        # Errors, each of another kind.
        lambda client: client.cache("balance").get(key),
        lambda client: client.cache("default").get(""),
        lambda client: client.cache("default").get("k" * 600),
        lambda client: client.cache("patients").set(key, "v", ttl=100_000),
        lambda client: client.cache("default").set(key, "v", ttl=0),
        lambda client: client.cache("patients").increment(key),
        lambda client: client.limit("auth").check(key, cost=11),
        lambda client: client.limit("aut").check(key),
        lambda client: client.cache("shared").set("a}b", "v", idempotency_key="once"),
    ]


def _said(result: Any) -> Any:
    """Return all that a result or an error says, but for the moment of a write, which is a moment of its own."""
    if isinstance(result, SidecarError):
        return type(result), str(result), result.code, result.reason, result.field, result.retry_after, result.metadata
    return replace(result, token="") if isinstance(result, Written | Deleted) else result


async def test_answers_and_errors_are_those_of_calls_one_by_one(plain: SidecarClient, gathering: SidecarClient) -> None:
    """To the last word."""
    one, other = secrets.token_hex(8), secrets.token_hex(8)
    expected = [await _ended(call(plain)) for call in _calls(one)]
    together = await asyncio.gather(*(call(gathering) for call in _calls(other)), return_exceptions=True)
    assert [_said(result) for result in expected] == [_said(result) for result in together]


async def _ended(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except SidecarError as error:
        return error


async def test_every_caller_gets_its_own_answer(gathering: SidecarClient) -> None:
    """Of 200 at once, some of whom leave at random, none gets what another asked for."""
    chance = random.Random(4)
    prefix = secrets.token_hex(8)
    cache, limit = gathering.cache("default"), gathering.limit("api")
    wrong = 0

    async def caller(number: int) -> None:
        nonlocal wrong
        key = f"{prefix}:{number}"
        for turn in range(10):
            await cache.set(key, f"{number} {turn}")
            await limit.peek(key)
            wrong += (await cache.get(key)).text != f"{number} {turn}"
            wrong += (await cache.increment(f"{key}:n")).value != turn + 1

    async def leaver(number: int) -> None:
        for _ in range(20):
            task = asyncio.create_task(cache.get(f"{prefix}:{number}"))
            await asyncio.sleep(chance.uniform(0, 0.01))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(caller(number) for number in range(_CALLERS)), *(leaver(number) for number in range(30)))
    assert 0 == wrong


async def test_no_more_is_allowed_than_without(gathering: SidecarClient) -> None:
    """Ten logins of thirty at once, all on one key."""
    key = secrets.token_hex(8)
    decisions = await asyncio.gather(*(gathering.limit("auth").check(key) for _ in range(30)))
    assert 10 == sum(decision.allowed for decision in decisions)


async def test_it_lives_through_a_restart_of_the_sidecar(lasting_sidecar: SidecarProgram) -> None:
    """Reads are repeated, and nobody is left waiting."""
    async with SidecarClient(lasting_sidecar.address, timeout=_TIMEOUT_S, auto_batch=True) as client:
        cache = client.cache("default")
        key = secrets.token_hex(8)
        await cache.set(key, "v", ttl=600)
        over = asyncio.Event()

        async def reader() -> int:
            done = 0
            while not over.is_set() or not done:
                found = await _ended(cache.get(key))
                done += not isinstance(found, SidecarError) and found.text == "v"
            return done

        readers = [asyncio.create_task(reader()) for _ in range(20)]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(_restart, lasting_sidecar)
        while isinstance(await _ended(cache.get(key)), SidecarError):
            await asyncio.sleep(0.05)
        over.set()
        counts = await asyncio.wait_for(asyncio.gather(*readers), _TIMEOUT_S)
        assert all(count > 0 for count in counts)


def _restart(program: SidecarProgram) -> None:
    program.stop()
    program.start()
