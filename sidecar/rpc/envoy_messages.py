"""The messages of `envoy.service.ratelimit.v3`, out of the descriptors that come with the sidecar.

The set is added to protobuf's pool on the first use, and only then: a sidecar without Envoy's front end has neither the
memory nor the wait. Classes made at run time have no types of their own, so what is used of them is said here in
protocols. Where the descriptors are from: docs/adr/0018-envoys-protos-as-descriptors.md.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

# The set lacks protobuf's own files and rests on these.
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message_factory import GetMessageClass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

SERVICE = "envoy.service.ratelimit.v3.RateLimitService"
_SET = "envoy_rls.binpb"
_NEEDED = (any_pb2, descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)

OK, OVER_LIMIT = 1, 2
"""`RateLimitResponse.Code`."""


class Entry(Protocol):
    """`RateLimitDescriptor.Entry`."""

    key: str
    value: str


class Override(Protocol):
    """`RateLimitDescriptor.RateLimitOverride`."""

    requests_per_unit: int
    unit: int


class Descriptor(Protocol):
    """`RateLimitDescriptor`."""

    entries: Sequence[Entry]
    limit: Override
    hits_addend: wrappers_pb2.UInt64Value

    def HasField(self, field_name: Literal["limit", "hits_addend"], /) -> bool:  # noqa: N802 (protobuf's name)
        """Say whether one of these is set."""
        ...


class Request(Protocol):
    """`RateLimitRequest`."""

    domain: str
    hits_addend: int
    descriptors: Sequence[Descriptor]


class Messages(NamedTuple):
    """The service, and what makes its response."""

    service: ServiceDescriptor
    request: Callable[..., Message]
    response: Callable[..., Any]


@cache
def messages() -> Messages:
    """Return the service's descriptor and its messages' classes."""
    pool = descriptor_pool.Default()
    encoded = resources.files(__package__).joinpath(_SET).read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(encoded).file:
        pool.AddSerializedFile(file.SerializeToString())
    service = pool.FindServiceByName(SERVICE)
    method = service.methods_by_name["ShouldRateLimit"]
    return Messages(
        service=service,
        request=GetMessageClass(method.input_type),
        response=cast("Callable[..., Any]", GetMessageClass(method.output_type)),
    )
