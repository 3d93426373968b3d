"""`grpc.health.v1.Health` (grpc/doc/health-checking.md), driven by the store's real state.

Each service that needs the store is SERVING exactly while the store answers; so is the empty name, the sidecar as a
whole.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2 as pb

from sidecar.errors import InvalidArgumentError, Reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

    from sidecar.call import Call

_SERVING = pb.HealthCheckResponse.SERVING
_NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN

WHOLE = ""
# What watchers get to hear of the end before the transport says goodbye. It takes a turn or two of the loop, unless one
# of them does not read.
_TELLING_SECONDS = 0.25


class HealthServicer:
    """Answers for the services that it was made with, and for the whole sidecar."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset({WHOLE, *services})
        self._serving = False
        self._stopping = False
        self._changed = asyncio.Event()
        self._watches = 0
        self._all_told = asyncio.Event()
        self._listeners: list[Callable[[bool], None]] = []

    @property
    def serving(self) -> bool:
        """Whether the sidecar as a whole is SERVING."""
        return self._serving

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Have `listener` called with the state of the whole whenever it may have changed."""
        self._listeners.append(listener)

    def set_serving(self, serving: bool) -> None:  # noqa: FBT001 (a state, told by the probe)
        """Tell all watchers of a new state."""
        self._serving = serving and not self._stopping
        self._wake()

    async def stop(self) -> None:
        """Say NOT_SERVING from now on, and end every watch once it has said so; wait for that, within reason."""
        self._stopping = True
        self._serving = False
        self._wake()
        if self._watches:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_told.wait(), _TELLING_SECONDS)

    async def check(self, request: pb.HealthCheckRequest, call: Call) -> pb.HealthCheckResponse:  # noqa: ARG002
        """Answer once; an unknown service is NOT_FOUND, as the health protocol wants it."""
        if request.service not in self._services:
            raise InvalidArgumentError(Reason.SERVICE_UNKNOWN, "no service of that name is served", field="service")
        return self._state_of(request.service)

    async def list(self, request: pb.HealthListRequest, call: Call) -> pb.HealthListResponse:  # noqa: ARG002
        """Answer for all services at once."""
        return pb.HealthListResponse(statuses={name: self._state_of(name) for name in self._services})

    async def watch(
        self,
        requests: AsyncIterator[pb.HealthCheckRequest],
        call: Call,  # noqa: ARG002 (a watch has no deadline of its own)
    ) -> AsyncGenerator[pb.HealthCheckResponse, None]:
        """Answer now and at each change, until the caller leaves or the sidecar stops."""
        self._watches += 1
        try:
            async for request in requests:
                last: pb.HealthCheckResponse | None = None
                while True:
                    # Both before the state is looked at: what happens while it is sent must be told in another round.
                    changed, stopping = self._changed, self._stopping
                    state = self._state_of(request.service)
                    if state != last:
                        last = state
                        yield state
                    if stopping:
                        return
                    await changed.wait()
        finally:
            self._watches -= 1
            if self._stopping and not self._watches:
                self._all_told.set()

    def _state_of(self, service: str) -> pb.HealthCheckResponse:
        if service not in self._services:
            return pb.HealthCheckResponse(status=_SERVICE_UNKNOWN)
        return pb.HealthCheckResponse(status=_SERVING if self._serving else _NOT_SERVING)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self._listeners:
            listener(self._serving)
