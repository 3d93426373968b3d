"""The API with the store behind it in view: keys of a test's own, an oracle, and failures taken apart."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from support.api import DETAILS, Api

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.servers import StoreServer
    from support.sidecars import RunningSidecar

TENANT = "contract"
# Wrapped data keys are made by the first call that needs one, whoever makes it.
_DATA_KEYS = b":k:{"


class Contract(Api):
    """One sidecar's services, and the store that it uses."""

    def __init__(self, sidecar: RunningSidecar, server: StoreServer) -> None:
        super().__init__(sidecar.address)
        self.sidecar = sidecar
        self.server = server
        # Untyped: its answers are bytes, but its types say that they may be text.
        self.oracle: Any = server.oracle()
        self._number = itertools.count()

    def key(self) -> str:
        """Return a key that no other test uses."""
        return f"{uuid.uuid4().hex}-{next(self._number)}"

    def names(self) -> set[bytes]:
        """Return all keys of the store but those of data keys."""
        return {name for name in self.oracle.scan_iter(count=1000) if _DATA_KEYS not in name}

    def snapshot(self, key: str) -> dict[bytes, tuple[bytes, int]]:
        """Return whatever the store holds under keys that contain `key`, as DUMP serializes it, and when it expires."""
        return {
            name: (self.oracle.dump(name) or b"", self.oracle.pexpiretime(name))
            for name in self.oracle.scan_iter(f"*{key}*", count=10_000)
        }


def entry_key(cache: str, key: str) -> str:
    """Return the Redis key of an entry of a cache that neither seals nor is raw."""
    return f"sc:{TENANT}:e:{{{cache}:{key}}}"


def milliseconds(count: float) -> duration_pb2.Duration:
    """Return a Duration."""
    made = duration_pb2.Duration()
    made.FromMicroseconds(round(count * 1000))
    return made


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """How a call failed."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: Mapping[str, str]
    fields: tuple[str, ...]
    retry_after_ms: int | None

    @property
    def field(self) -> str:
        """Return the one field at fault, empty if none is named."""
        return self.fields[0] if self.fields else ""

    @property
    def brief(self) -> tuple[grpc.StatusCode, str, str]:
        """Return what a program decides on: code, reason and the field at fault."""
        return self.code, self.reason, self.field


def refusal(call: Callable[[], object]) -> Refusal:
    """Make a call that must fail, and return how it did."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return taken_apart(error)
    raise AssertionError(f"the call was to fail, but answered {answer!r}")


def taken_apart(error: grpc.RpcError) -> Refusal:
    """Return what an error says in its status and its details."""
    call: grpc.Call = error  # type: ignore[assignment]  # as each raised error is
    status = status_pb2.Status()
    for name, value in call.trailing_metadata() or ():
        if name == DETAILS and isinstance(value, bytes):
            status.ParseFromString(value)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, retry_after_ms = error_details_pb2.RetryInfo(), None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
        if detail.Unpack(retry):
            retry_after_ms = retry.retry_delay.ToMilliseconds()
    return Refusal(
        code=call.code(),
        message=call.details() or "",
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        fields=tuple(violation.field for violation in bad_request.field_violations),
        retry_after_ms=retry_after_ms,
    )
