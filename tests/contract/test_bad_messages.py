"""What goes wrong before a servicer is asked: bytes, paths, sizes, deadlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2, rate_limit_pb2, record_pb2
from support.contract import refusal

if TYPE_CHECKING:
    from support.contract import Contract

SERVICES = [
    file.DESCRIPTOR.services_by_name[name]
    for file, name in (
        (cache_pb2, "CacheService"),
        (record_pb2, "RecordService"),
        (rate_limit_pb2, "RateLimitService"),
    )
]
PATHS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]
# What is wrong with an empty request of these is another thing than the policy, or nothing.
OTHERWISE = {"CheckMany", "DeleteOverride", "ListOverrides", "ListPolicies"}
UNDECODABLE = {
    "a cut varint": b"\xff",
    "a cut field": b"\x0a\x05ab",
    "text that is not UTF-8": b"\x0a\x02\xff\xfe",
    "wire type 7": b"\x0f",
}
# `limits.max_message_bytes` of the tests' configuration.
MOST_BYTES = 128 * 1024


def send(api: Contract, path: str, message: bytes) -> bytes:
    """Send bytes as they are."""
    call: Any = api.channel.unary_unary(path, request_serializer=None, response_deserializer=None)
    answer: bytes = call(message, timeout=30)
    return answer


@pytest.mark.parametrize("message", UNDECODABLE.values(), ids=UNDECODABLE.keys())
@pytest.mark.parametrize("path", [*PATHS, "/grpc.health.v1.Health/Check"])
def test_bytes_that_are_no_message_are_refused(api: Contract, path: str, message: bytes) -> None:
    """MESSAGE_MALFORMED, in every method."""
    refused = refusal(lambda: send(api, path, message))
    assert (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED", "") == refused.brief


@pytest.mark.parametrize(
    "path", ["/grpc.health.v1.Health/Watch", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
)
def test_bytes_that_are_no_message_end_a_stream(api: Contract, path: str) -> None:
    """MESSAGE_MALFORMED there, too."""
    if path.endswith("Info"):
        call: Any = api.channel.stream_stream(path, request_serializer=None, response_deserializer=None)
        refused = refusal(lambda: list(call(iter([b"\xff"]), timeout=30)))
    else:
        watch: Any = api.channel.unary_stream(path, request_serializer=None, response_deserializer=None)
        refused = refusal(lambda: list(watch(b"\xff", timeout=30)))
    assert (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED", "") == refused.brief


@pytest.mark.parametrize("path", [path for path in PATHS if path.rpartition("/")[2] not in OTHERWISE])
def test_no_bytes_are_a_message_of_nothing(api: Contract, path: str) -> None:
    """An empty message is valid, and names no cache or policy."""
    refused = refusal(lambda: send(api, path, b""))
    assert grpc.StatusCode.NOT_FOUND == refused.code


def test_unknown_fields_are_passed_over(api: Contract, key: str) -> None:
    """A newer client may send more than this sidecar knows."""
    request = cache_pb2.GetRequest(cache="plain", key=key).SerializeToString() + b"\xfa\x3e\x03new"
    found = cache_pb2.GetResponse.FromString(send(api, "/sidecar.v1.CacheService/Get", request))
    assert 2 == found.outcome


@pytest.mark.parametrize("path", ["/sidecar.v1.CacheService/Nope", "/sidecar.v2.CacheService/Get", "/nope"])
def test_an_unknown_method_is_unimplemented(api: Contract, path: str) -> None:
    """There is no such method, and the call says so at once, with its reason."""
    refused = refusal(lambda: send(api, path, b""))
    assert (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN") == (refused.code, refused.reason)


def test_a_message_above_the_limit_is_refused(api: Contract, key: str) -> None:
    """RESOURCE_EXHAUSTED, without being read whole."""
    request = cache_pb2.SetRequest(cache="plain", key=key, value=b"x" * MOST_BYTES).SerializeToString()
    refused = refusal(lambda: send(api, "/sidecar.v1.CacheService/Set", request))
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, {}) == (refused.code, api.snapshot(key))


def test_the_connection_survives_such_a_message(api: Contract, key: str) -> None:
    """Other calls go on."""
    request = cache_pb2.SetRequest(cache="plain", key=key, value=b"x" * MOST_BYTES).SerializeToString()
    refusal(lambda: send(api, "/sidecar.v1.CacheService/Set", request))
    assert 2 == api.cache.Get(cache_pb2.GetRequest(cache="plain", key=key)).outcome


def test_an_expired_deadline_ends_the_call(api: Contract, key: str) -> None:
    """DEADLINE_EXCEEDED, and the key is not made."""
    request = cache_pb2.SetRequest(cache="plain", key=key)
    refused = refusal(lambda: api.cache.Set(request, timeout=-1))
    assert (grpc.StatusCode.DEADLINE_EXCEEDED, {}) == (refused.code, api.snapshot(key))


def test_a_call_that_waited_beyond_its_deadline_writes_nothing(api: Contract, key: str) -> None:
    """A busy sidecar that comes to a call too late does not carry it out any more."""
    request = cache_pb2.SetRequest(cache="plain", key=key)
    with api.sidecar.stalled():
        refused = refusal(lambda: api.cache.Set(request, timeout=0.05))
    api.cache.Get(cache_pb2.GetRequest(cache="plain", key=key))  # answered after whatever came before
    assert (grpc.StatusCode.DEADLINE_EXCEEDED, {}) == (refused.code, api.snapshot(key))
