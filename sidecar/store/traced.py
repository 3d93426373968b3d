"""A store whose requests, made for a sampled call, are spans.

For any other call it hands on the inner store's awaitable as it is: no coroutine, no object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Status, StatusCode

from sidecar.errors import SidecarError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from opentelemetry.trace import Span

    from sidecar.call import Call
    from sidecar.store.address import StoreAddress
    from sidecar.store.base import Command, Reply, ScriptCall, Store
    from sidecar.telemetry.tracing import Tracing


class TracedStore:
    """A `Store` around another."""

    def __init__(self, inner: Store, tracing: Tracing, address: StoreAddress) -> None:
        self._inner = inner
        self._tracing = tracing
        self._common: dict[str, Any] = {"db.system.name": "redis", "db.namespace": str(address.database)}
        if address.path:
            self._common |= {"server.address": address.path, "network.transport": "unix"}
        else:
            self._common |= {"server.address": address.host, "server.port": address.port, "network.transport": "tcp"}

    def call(self, command: Command, call: Call) -> Awaitable[Reply]:
        """Send one command; see `Store.call`."""
        if call.span is None:
            return self._inner.call(command, call)
        name = str(command.words[0])
        span = self._tracing.start_command(call, name, {**self._common, "db.operation.name": name})
        return _ending(span, self._inner.call(command, call))

    def run(self, script_call: ScriptCall, call: Call) -> Awaitable[Reply]:
        """Run a script; see `Store.run`."""
        if call.span is None:
            return self._inner.run(script_call, call)
        attributes = {"db.operation.name": "EVALSHA", "db.stored_procedure.name": script_call.script.name}
        span = self._tracing.start_command(call, f"EVALSHA {script_call.script.name}", {**self._common, **attributes})
        return _ending(span, self._inner.run(script_call, call))

    def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Send commands together; see `Store.call_many`."""
        if call.span is None:
            return self._inner.call_many(commands, call)
        return _ending(self._start_batch(len(commands), call), self._inner.call_many(commands, call))

    def get_many(self, keys: Sequence[bytes], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Read strings together; see `Store.get_many`."""
        if call.span is None:
            return self._inner.get_many(keys, call)
        return _ending(self._start_batch(len(keys), call), self._inner.get_many(keys, call))

    def _start_batch(self, size: int, call: Call) -> Span:
        attributes = {"db.operation.name": "PIPELINE", "db.operation.batch.size": size}
        return self._tracing.start_command(call, "PIPELINE", {**self._common, **attributes})


async def _ending(span: Span, request: Awaitable[Any]) -> Any:
    try:
        reply = await request
    except SidecarError as error:
        _mark(span, error)
        raise
    else:
        if isinstance(reply, list):
            # A batch returns its failures; the first stands for all.
            failed = next((item for item in reply if isinstance(item, StoreError)), None)
            if failed is not None:
                _mark(span, failed)
        return reply
    finally:
        span.end()


def _mark(span: Span, error: SidecarError) -> None:
    span.set_attribute("error.type", error.reason.name)
    span.set_status(Status(StatusCode.ERROR))
