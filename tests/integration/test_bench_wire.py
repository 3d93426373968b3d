"""The benchmark's own caller, against every engine: what it measures must be what callers get."""

from __future__ import annotations

import asyncio

import pytest
from support.engines import MAKERS, METHOD, Endpoints, serving

from bench.processes import Failure
from bench.wire import Wire

pytestmark = pytest.mark.parametrize("engine", MAKERS)
EACH = "test.Service/Each"


def call(address: str, method: str, messages: list[bytes]) -> list[bytes]:
    """Send all messages in one call and return all answers."""
    answers: list[bytes] = []
    with Wire(address) as wire:
        wire.open(method)
        for message in messages:
            wire.send(message, last=message is messages[-1])
        while received := wire.receive():
            answers += received
    return answers


async def test_calls_one_after_the_other_share_a_connection(engine: str) -> None:
    """A call that has ended leaves nothing behind for the next."""

    def call_twice(address: str) -> list[list[bytes]]:
        received = []
        with Wire(address) as wire:
            for message in (b"first", b"second"):
                wire.open(METHOD.lstrip("/"))
                wire.send(message, last=True)
                received += [wire.receive(), wire.receive()]
        return received

    async with serving(engine, Endpoints()) as served:
        received = await asyncio.to_thread(call_twice, served.address)
    assert [[b"first"], [], [b"second"], []] == received


async def test_a_stream_goes_on_beyond_the_windows(engine: str) -> None:
    """A megabyte each way needs more than the first windows; every message comes back, in order."""
    messages = [bytes([number]) * 15_000 for number in range(70)]
    async with serving(engine, Endpoints()) as served:
        answers = await asyncio.to_thread(call, served.address, EACH, messages)
    assert messages == answers


async def test_a_refused_call_has_no_answer(engine: str) -> None:
    """A call that ends with an error ends without a message, which its caller takes for a failure."""
    async with serving(engine, Endpoints()) as served:
        assert [] == await asyncio.to_thread(call, served.address, "test.Service/Nothing", [b"m"])


async def test_a_message_must_fit_into_a_frame(engine: str) -> None:
    """What would have to be split is refused."""
    async with serving(engine, Endpoints()) as served:
        with pytest.raises(Failure, match="too large"):
            await asyncio.to_thread(call, served.address, EACH, [bytes(16_384)])
