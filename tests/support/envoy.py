"""Envoy's rate limit service as a client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass

from sidecar.rpc.envoy_messages import OVER_LIMIT, SERVICE, messages

if TYPE_CHECKING:
    import grpc

PATIENCE_SECONDS = 30.0


class Told(NamedTuple):
    """What is said of one descriptor."""

    over: bool
    remaining: int
    limit: tuple[int, int, str] | None
    """Requests per unit, the unit's number, the name."""
    reset_seconds: int | None


class Reply(NamedTuple):
    """A response."""

    over: bool
    told: list[Told]
    headers: list[tuple[str, str]]
    metadata: dict[str, Any] | None = None
    """The dynamic metadata, if there is any."""


def descriptor(
    *entries: tuple[str, str], hits: int | None = None, limit: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Return a descriptor; `limit` is requests per unit and the unit's number."""
    made: dict[str, Any] = {"entries": [{"key": key, "value": value} for key, value in entries]}
    if hits is not None:
        made["hits_addend"] = {"value": hits}
    if limit is not None:
        made["limit"] = {"requests_per_unit": limit[0], "unit": limit[1]}
    return made


class EnvoyClient:
    """Calls the service over a channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        method = messages().service.methods_by_name["ShouldRateLimit"]
        self._call: Any = channel.unary_unary(
            f"/{SERVICE}/ShouldRateLimit",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )

    def ask(self, domain: str, *descriptors: dict[str, Any], hits: int = 0) -> Reply:
        """Make a call; raises `grpc.RpcError`."""
        request = messages().request(domain=domain, descriptors=descriptors, hits_addend=hits)
        response: Any = self._call(request, timeout=PATIENCE_SECONDS)
        told = [
            Told(
                over=status.code == OVER_LIMIT,
                remaining=status.limit_remaining,
                limit=(status.current_limit.requests_per_unit, status.current_limit.unit, status.current_limit.name)
                if status.HasField("current_limit")
                else None,
                reset_seconds=status.duration_until_reset.seconds if status.HasField("duration_until_reset") else None,
            )
            for status in response.statuses
        ]
        sent = [(header.key, header.value) for header in response.response_headers_to_add]
        metadata = MessageToDict(response.dynamic_metadata) if response.HasField("dynamic_metadata") else None
        return Reply(response.overall_code == OVER_LIMIT, told, sent, metadata)
