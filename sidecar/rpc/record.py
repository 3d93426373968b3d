"""`sidecar.v1.RecordService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import timestamp_pb2

from sidecar.cache.fields import Instant, is_in_range
from sidecar.cache.policy import Outcome
from sidecar.cache.request import WriteOptions
from sidecar.errors import InvalidArgumentError, Reason
from sidecar.gen.sidecar.v1 import common_pb2
from sidecar.gen.sidecar.v1 import record_pb2 as pb
from sidecar.rpc.convert import OUTCOMES, WRITE_OUTCOMES, condition_of, duration_from_ms, ttl_ms_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.cache.catalog import Caches
    from sidecar.cache.fields import FieldValue
    from sidecar.call import Call


class RecordServicer:
    """Serves the caches of records."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    async def put_record(self, request: pb.PutRecordRequest, call: Call) -> pb.PutRecordResponse:
        """Write a whole record."""
        cache = self._caches.records(request.cache)
        written = await cache.put(request.key, fields_from(request.fields), _options(request), call)
        return pb.PutRecordResponse(
            outcome=WRITE_OUTCOMES[written.outcome],
            version=written.version,
            ttl=None if written.ttl_ms is None else duration_from_ms(written.ttl_ms),
        )

    async def get_record(self, request: pb.GetRecordRequest, call: Call) -> pb.GetRecordResponse:
        """Read a record, or some of its fields."""
        cache = self._caches.records(request.cache)
        found = await cache.get(request.key, request.read_mask.paths, call)
        if found.outcome is Outcome.MISS:
            return pb.GetRecordResponse(outcome=common_pb2.OUTCOME_MISS)
        return pb.GetRecordResponse(
            outcome=OUTCOMES[found.outcome],
            fields={name: value_to_message(value) for name, value in found.fields.items()},
            version=found.version,
            ttl=None if found.ttl_ms is None else duration_from_ms(found.ttl_ms),
            age=None if found.age_ms is None else duration_from_ms(found.age_ms),
            source=common_pb2.SOURCE_STORE,
        )

    async def patch_record(self, request: pb.PatchRecordRequest, call: Call) -> pb.PatchRecordResponse:
        """Change single fields of a record."""
        cache = self._caches.records(request.cache)
        fields = fields_from(request.fields)
        written = await cache.patch(request.key, fields, list(request.remove_fields), _options(request), call)
        return pb.PatchRecordResponse(
            outcome=WRITE_OUTCOMES[written.outcome],
            version=written.version,
            ttl=None if written.ttl_ms is None else duration_from_ms(written.ttl_ms),
        )

    async def delete_record(self, request: pb.DeleteRecordRequest, call: Call) -> pb.DeleteRecordResponse:
        """Remove a record."""
        options = WriteOptions(condition=condition_of(request), idempotency_key=request.idempotency_key)
        written = await self._caches.records(request.cache).delete(request.key, options, call)
        return pb.DeleteRecordResponse(outcome=WRITE_OUTCOMES[written.outcome])


def _options(request: pb.PutRecordRequest | pb.PatchRecordRequest) -> WriteOptions:
    return WriteOptions(
        ttl_ms=ttl_ms_of(request),
        condition=condition_of(request),
        idempotency_key=request.idempotency_key,
    )


def fields_from(messages: Mapping[str, pb.FieldValue]) -> dict[str, FieldValue]:
    """Decode a record's fields; raises FIELD_VALUE, naming the field."""
    return {name: _value_from(name, message) for name, message in messages.items()}


def _value_from(name: str, message: pb.FieldValue) -> FieldValue:
    kind = message.WhichOneof("value")
    if kind is None:
        raise InvalidArgumentError(Reason.FIELD_VALUE, "a field holds no value", field=f"fields[{name[:64]}]")
    if kind != "time":
        value: FieldValue = getattr(message, kind)
        return value
    time = Instant(message.time.seconds, message.time.nanos)
    if not is_in_range(time):
        raise InvalidArgumentError(
            Reason.FIELD_VALUE, "a time lies outside the years 1 to 9999", field=f"fields[{name[:64]}]"
        )
    return time


def value_to_message(value: FieldValue) -> pb.FieldValue:
    """Encode one field."""
    if isinstance(value, str):
        return pb.FieldValue(text=value)
    if isinstance(value, bytes):
        return pb.FieldValue(data=value)
    if isinstance(value, bool):
        return pb.FieldValue(boolean=value)
    if isinstance(value, int):
        return pb.FieldValue(integer=value)
    if isinstance(value, float):
        return pb.FieldValue(number=value)
    return pb.FieldValue(time=timestamp_pb2.Timestamp(seconds=value.seconds, nanos=value.nanos))
