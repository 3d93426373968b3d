"""F17: SIGTERM while calls come in. NOT_SERVING first, no accepted call lost, exit code 0; on each engine.

A call is accepted if its stream is not above the last that the sidecar's final GOAWAY names (RFC 9113, section 6.8):
one above it has not been looked at, and its caller may safely repeat it. The calls are increments without a key, so
the counter in the store says what was done, and the answers say what its callers were told.

grpcio's server cancels what it has read but not yet handed over when it is told to stop. So there an accepted call may
end with CANCELLED, with a reset, or with no more than the connection; what must hold is that it was not carried out.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2
from sidecar_client.gen.sidecar.v1 import cache_pb2
from support.engines import MAKERS
from support.programs import SidecarProgram
from support.raw_http2 import Frame, Kind, RawClient, connected, message

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import StoreServer

pytestmark = pytest.mark.alone

_TIMES = 50 if "SIDECAR_LONG" in os.environ else 5
# On each connection, all the time.
_IN_FLIGHT = 20
# Before the signal, each time a little longer, so that it meets the load at another point.
_CALLS_BEFORE = 200
_CONFIG = """
caches:
  counters:
    format: raw
    key_prefix: "counters:"
    ttl: 5m
listen:
  - {address: "{address}", engine: ENGINE}
"""
_CANCELLED = "1"
_INCREMENT = "/sidecar.v1.CacheService/Increment"
_REQUEST = cache_pb2.IncrementRequest(cache="counters", key="n").SerializeToString()
_WATCH = "/grpc.health.v1.Health/Watch"
_NOT_SERVING = message(
    health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING).SerializeToString()
)


class _Load:
    """Increments on one connection, a new one for each that is answered; and a watch of the sidecar's health."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._last_accepted = 2**31 - 1
        self.sent: set[int] = set()
        self.is_over = False
        """Whether the sidecar has said that it takes no more."""
        self.heard: list[str] = []
        """NOT_SERVING and GOAWAY, in the order in which they came."""
        client.on_frame = self._take
        self._watch = client.call(_WATCH)
        for _ in range(_IN_FLIGHT):
            self._increment()

    @property
    def accepted(self) -> set[int]:
        return {stream for stream in self.sent if stream <= self._last_accepted}

    @property
    def statuses(self) -> dict[int, str]:
        """The status of each increment that was answered."""
        return {
            stream: fields["grpc-status"] for stream, fields in self._client.trailers.items() if stream in self.sent
        }

    def _increment(self) -> None:
        self.sent.add(self._client.call(_INCREMENT, _REQUEST))

    def _take(self, heard: Frame) -> None:
        if heard.kind == Kind.GOAWAY:
            self._last_accepted = int.from_bytes(heard.payload[:4], "big")
            self.is_over = True
            self.heard.append("GOAWAY")
        elif heard.kind == Kind.DATA and heard.stream == self._watch and heard.payload == _NOT_SERVING:
            self.heard.append("NOT_SERVING")
        elif heard.kind == Kind.HEADERS and heard.stream in self._client.trailers and not self.is_over:
            self._increment()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", MAKERS)
async def test_no_accepted_call_is_lost(tmp_path: Path, lasting_store: StoreServer, oracle: Any, engine: str) -> None:
    """Each accepted increment is answered with OK, and no other is carried out; watchers hear NOT_SERVING first.

    With grpcio it is answered with OK or not carried out.
    """
    config = _CONFIG.replace("ENGINE", engine)
    program = SidecarProgram(tmp_path, config=config, arguments=["--redis", lasting_store.url])
    oracle.set("counters:n", 0)
    answered = 0
    for number in range(_TIMES):
        await asyncio.to_thread(program.start)
        answered += await _stop_under_load(program, engine, _CALLS_BEFORE + 7 * number)
        assert answered == int(oracle.get("counters:n"))
        assert "Traceback" not in program.errors


def _is_closed(client: RawClient) -> bool:
    return client.closed


async def _stop_under_load(program: SidecarProgram, engine: str, calls_before: int) -> int:
    """Send SIGTERM once so many calls were answered; return how many were answered with OK in all."""
    async with (
        connected(program.address) as first,
        connected(program.address) as second,
        connected(program.address) as third,
    ):
        clients = [first, second, third]
        loads = [_Load(client) for client in clients]
        assert await first.until(lambda: len(loads[0].statuses) >= calls_before)
        program.signal(signal.SIGTERM)
        for client in clients:
            assert await client.until(functools.partial(_is_closed, client))
        assert 0 == await asyncio.to_thread(program.wait)
    for load in loads:
        answered = set(load.statuses)
        cancels = engine == "grpcio"
        assert {"0"} == set(load.statuses.values()) - ({_CANCELLED} if cancels else set())
        assert set() == answered - load.accepted
        assert set() == (set() if cancels else load.accepted - answered)
        assert ["NOT_SERVING", "GOAWAY"] == load.heard[:2]
    return sum(list(load.statuses.values()).count("0") for load in loads)
