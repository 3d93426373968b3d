"""`RecordService` for one named cache."""

# ruff: noqa: ASYNC109 - a timeout here becomes the call's deadline, which the sidecar sees and keeps too

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from google.protobuf import field_mask_pb2

from sidecar_client.conditions import to_condition
from sidecar_client.durations import optional_timedelta, to_duration
from sidecar_client.fields import from_field_values, to_field_values
from sidecar_client.gen.sidecar.v1 import record_pb2 as pb
from sidecar_client.results import Deleted, Outcome, Record, WriteOutcome, Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sidecar_client.caller import Caller
    from sidecar_client.conditions import Condition
    from sidecar_client.durations import Span
    from sidecar_client.fields import Value
    from sidecar_client.gen.sidecar.v1.record_pb2_grpc import RecordServiceAsyncStub

_NO_FIELDS: Mapping[str, Value] = MappingProxyType({})


class Records:
    """A named cache of records. Made by `SidecarClient.records`; it costs nothing and may be kept.

    Fields hold str, bytes, int, float, bool and aware datetimes (see `fields.py`). The rest is as in `Cache`.
    """

    def __init__(self, name: str, stub: RecordServiceAsyncStub, caller: Caller) -> None:
        self.name = name
        self._stub = stub
        self._caller = caller

    async def get(self, key: str, *, fields: Iterable[str] = (), timeout: Span | None = None) -> Record:
        """Read a record, or only the named fields of it."""
        paths = list(fields)
        request = pb.GetRecordRequest(
            cache=self.name, key=key, read_mask=field_mask_pb2.FieldMask(paths=paths) if paths else None
        )
        answer = await self._caller.call(self._stub.GetRecord, request, repeatable=True, timeout=timeout)
        outcome = Outcome(answer.outcome)
        if outcome is Outcome.MISS:
            return Record(outcome=outcome, fields=_NO_FIELDS)
        return Record(
            outcome=outcome,
            fields=from_field_values(answer.fields),
            version=answer.version,
            ttl=optional_timedelta(answer, "ttl"),
            age=optional_timedelta(answer, "age"),
        )

    async def put(
        self,
        key: str,
        fields: Mapping[str, Value],
        *,
        ttl: Span | None = None,
        condition: Condition | None = None,
        idempotency_key: str | None = None,
        timeout: Span | None = None,
    ) -> Written:
        """Write a whole record; fields that are not named are removed."""
        request = pb.PutRecordRequest(
            cache=self.name,
            key=key,
            fields=to_field_values(fields),
            ttl=to_duration(ttl),
            condition=to_condition(condition),
            idempotency_key=idempotency_key or "",
        )
        answer = await self._caller.call(
            self._stub.PutRecord, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        return _written(answer)

    async def patch(
        self,
        key: str,
        fields: Mapping[str, Value] = _NO_FIELDS,
        *,
        remove: Iterable[str] = (),
        ttl: Span | None = None,
        condition: Condition | None = None,
        idempotency_key: str | None = None,
        timeout: Span | None = None,
    ) -> Written:
        """Set and remove single fields of a record that exists; without a `ttl` it keeps the one it has."""
        request = pb.PatchRecordRequest(
            cache=self.name,
            key=key,
            fields=to_field_values(fields),
            remove_fields=list(remove),
            ttl=to_duration(ttl),
            condition=to_condition(condition),
            idempotency_key=idempotency_key or "",
        )
        answer = await self._caller.call(
            self._stub.PatchRecord, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        return _written(answer)

    async def delete(
        self,
        key: str,
        *,
        condition: Condition | None = None,
        idempotency_key: str | None = None,
        timeout: Span | None = None,
    ) -> Deleted:
        """Remove a record, if its condition holds."""
        request = pb.DeleteRecordRequest(
            cache=self.name, key=key, condition=to_condition(condition), idempotency_key=idempotency_key or ""
        )
        answer = await self._caller.call(
            self._stub.DeleteRecord, request, repeatable=bool(request.idempotency_key), timeout=timeout
        )
        return Deleted(outcome=WriteOutcome(answer.outcome))


def _written(answer: pb.PutRecordResponse | pb.PatchRecordResponse) -> Written:
    return Written(outcome=WriteOutcome(answer.outcome), version=answer.version, ttl=optional_timedelta(answer, "ttl"))
