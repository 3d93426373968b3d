"""The channel to the sidecar: address forms and transport options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOST_AND_PORT = re.compile(r"(?P<host>[^\s:/\[\]]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>[0-9]{1,5})")
_MAX_PORT = 65_535

OPTIONS: tuple[tuple[str, int], ...] = (
    # A sidecar that vanished without a word (a frozen container, a pulled cable) is noticed within 15 s, also between
    # calls. The sidecar tolerates a ping every 10 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own 20 s between attempts to connect is meant for servers far away; a restarted sidecar is back in one.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # By default gRPC lets equal channels of a process share a connection, and with it the wait before its next attempt:
    # a client that is opened when the sidecar is back would fail because another one has met nobody there.
    ("grpc.use_local_subchannel_pool", 1),
    # The sidecar is next door: a proxy from the environment would lead away from it.
    ("grpc.enable_http_proxy", 0),
    # A batch of large values is larger than the default of 4 MiB; the sidecar's own limits bound what it sends.
    ("grpc.max_receive_message_length", -1),
)


def target(address: str) -> str:
    """Return gRPC's name for `"host:port"` or `"unix:/path"`; raises ValueError for anything else."""
    if address.startswith("unix:/"):
        return address
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None or not 0 < int(match["port"]) <= _MAX_PORT:
        raise ValueError(f"the address {address!r} is neither 'host:port' nor 'unix:/path'")
    return address


def open_channel(
    address: str,
    *,
    credentials: grpc.ChannelCredentials | None = None,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Return a channel, which connects when it is first used; call it inside a running event loop."""
    if credentials is None:
        return grpc.aio.insecure_channel(target(address), options=OPTIONS, interceptors=interceptors)
    return grpc.aio.secure_channel(target(address), credentials, options=OPTIONS, interceptors=interceptors)
