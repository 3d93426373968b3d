"""Which calls have spans, whose children they are, and what they tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sidecar.call import Call, Code
from sidecar.errors import Reason, StoreError
from sidecar.store import commands, scripts
from sidecar.store.address import StoreAddress
from sidecar.store.base import ScriptCall
from sidecar.store.traced import TracedStore
from sidecar.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Recorder:
    """Tracing into memory."""

    def __init__(self, ratio: float = 0.0) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing(service_name="test", sample_ratio=ratio, exporter=self._exporter)

    def call(self, *metadata: tuple[str, str]) -> Call:
        """Return a call with this metadata, its span begun if it is sampled."""
        call = Call("/sidecar.v1.CacheService/Get", metadata=metadata)
        self.tracing.start_call(call)
        return call

    def spans(self) -> Sequence[Any]:
        """Flush and return what was recorded."""
        self.tracing.shutdown()
        return self._exporter.get_finished_spans()


def traceparent(flags: str) -> tuple[str, str]:
    """Return a caller's trace context."""
    return "traceparent", f"00-{TRACE}-{PARENT}-{flags}"


class Answer:
    """A store that answers with one thing, or fails with it; the spans around it are the subject here."""

    def __init__(self, reply: Any) -> None:
        self._reply = reply

    async def _give(self) -> Any:
        if isinstance(self._reply, StoreError):
            raise self._reply
        return self._reply

    def call(self, *_: object) -> Awaitable[Any]:
        """Answer."""
        return self._give()

    run = call_many = get_many = call


class TestSampling:
    """Who decides."""

    def test_the_callers_trace_is_continued(self) -> None:
        """The span has the caller's trace id and the caller's span for its parent."""
        recorder = Recorder()
        recorder.tracing.end_call(recorder.call(traceparent("01")), Code.OK)
        (span,) = recorder.spans()
        assert (int(TRACE, 16), int(PARENT, 16)) == (span.context.trace_id, span.parent.span_id)

    def test_a_caller_who_does_not_sample_is_followed(self) -> None:
        """Even where all others would be sampled."""
        assert Recorder(ratio=1.0).call(traceparent("00")).span is None

    def test_without_a_context_the_ratio_decides(self) -> None:
        """Of all or of none, here."""
        assert (None, True) == (Recorder(0.0).call().span, Recorder(1.0).call().span is not None)

    @pytest.mark.parametrize("broken", ["", "00", "zz-" + "0" * 50, "00-" + TRACE + "-" + PARENT + "-zz"])
    def test_a_broken_context_is_no_sample(self, broken: str) -> None:
        """And no error."""
        assert Recorder(1.0).call(("traceparent", broken)).span is None

    def test_without_an_exporter_nothing_is_made(self) -> None:
        """Tracing that nobody sees costs nothing."""
        call = Call("/a/b", metadata=(traceparent("01"),))
        Tracing(service_name="test", sample_ratio=1.0).start_call(call)
        assert call.span is None

    def test_a_command_span_without_tracing_is_a_defect(self) -> None:
        """It cannot come about by itself."""
        with pytest.raises(RuntimeError):
            Tracing(service_name="test", sample_ratio=1.0).start_command(Call("/a/b"), "GET", {})


class TestAttributes:
    """What a span tells."""

    def test_a_call_span_follows_the_rpc_conventions(self) -> None:
        """Name, kind, system, method, status."""
        recorder = Recorder(1.0)
        recorder.tracing.end_call(recorder.call(), Code.NOT_FOUND)
        (span,) = recorder.spans()
        expected = {
            "rpc.system.name": "grpc",
            "rpc.method": "sidecar.v1.CacheService/Get",
            "rpc.response.status_code": "NOT_FOUND",
        }
        assert ("sidecar.v1.CacheService/Get", "SERVER", expected) == (span.name, span.kind.name, dict(span.attributes))

    def test_the_servers_faults_are_errors(self) -> None:
        """UNAVAILABLE is one, NOT_FOUND is the caller's."""
        recorder = Recorder(1.0)
        recorder.tracing.end_call(recorder.call(), Code.UNAVAILABLE)
        recorder.tracing.end_call(recorder.call(), Code.NOT_FOUND)
        assert ["ERROR", "UNSET"] == [span.status.status_code.name for span in recorder.spans()]

    async def test_a_command_is_a_child_and_names_no_key(self) -> None:
        """The database conventions, without the query's text."""
        recorder = Recorder(1.0)
        call = recorder.call()
        store = TracedStore(Answer(b"v"), recorder.tracing, StoreAddress(host="db", port=6390, database=2))
        assert await store.call(commands.get(b"secret"), call) == b"v"
        recorder.tracing.end_call(call, Code.OK)
        child, parent = recorder.spans()
        expected = {
            "db.system.name": "redis",
            "db.namespace": "2",
            "db.operation.name": "GET",
            "server.address": "db",
            "server.port": 6390,
            "network.transport": "tcp",
        }
        assert ("GET", "CLIENT", parent.context.span_id) == (child.name, child.kind.name, child.parent.span_id)
        assert expected == dict(child.attributes)

    async def test_a_script_is_named_and_a_batch_is_counted(self) -> None:
        """Scripts by name, batches by size."""
        recorder = Recorder(1.0)
        call = recorder.call()
        store = TracedStore(Answer([]), recorder.tracing, StoreAddress(path="/run/redis.sock"))
        await store.run(ScriptCall(scripts.load("set_entry"), (b"k", b"k"), (), True), call)
        await store.call_many([commands.get(b"k")] * 3, call)
        await store.get_many([b"k"] * 2, call)
        script, batch, reads = recorder.spans()
        assert ("EVALSHA set_entry", "set_entry") == (script.name, script.attributes["db.stored_procedure.name"])
        assert ("PIPELINE", 3) == (batch.name, batch.attributes["db.operation.batch.size"])
        assert ("PIPELINE", 2) == (reads.name, reads.attributes["db.operation.batch.size"])

    async def test_a_failed_command_says_why(self) -> None:
        """By the reason's name."""
        recorder = Recorder(1.0)
        call = recorder.call()
        failing = Answer(StoreError(Reason.STORE_UNAVAILABLE, "down"))
        with pytest.raises(StoreError):
            await TracedStore(failing, recorder.tracing, StoreAddress(host="db")).call(commands.get(b"k"), call)
        (span,) = recorder.spans()
        assert ("ERROR", "STORE_UNAVAILABLE") == (span.status.status_code.name, span.attributes["error.type"])

    async def test_an_unsampled_call_gets_the_stores_own_awaitable(self) -> None:
        """No span, for any kind of request."""
        recorder = Recorder(0.0)
        store = TracedStore(Answer(b"v"), recorder.tracing, StoreAddress(host="db"))
        call = recorder.call()
        await store.call(commands.get(b"k"), call)
        await store.call_many([], call)
        await store.get_many([], call)
        await store.run(ScriptCall(scripts.load("set_entry"), (b"k", b"k"), (), True), call)
        assert () == tuple(recorder.spans())
