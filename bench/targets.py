"""What is under load: a server that answers calls, and the store behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import redis
from google.protobuf.message_factory import GetMessageClass

from bench.processes import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.processes import Server
    from bench.profiles import Profile, Request

_CALL_SECONDS = 5.0
# What `StoreWatch` asks.
_OWN_COMMANDS = frozenset({"cmdstat_info"})
_READY_SECONDS = 0.5


class Target:
    """A gRPC server under load, and how to call it."""

    def __init__(self, server: Server, address: str, *, uses_store: bool = True) -> None:
        self.server = server
        self.address = address
        self.uses_store = uses_store
        self.calls = 0
        """All calls that it was sent."""

    def call(self, request: Request) -> Any:
        """Send one call, of one message, and return its first answer; raises `Failure`."""
        service, _, method = request.method.partition("/")
        # The pool is the one that the message's own class comes from: a peer's messages are not in the default one.
        served: Any = request.message.DESCRIPTOR.file.pool.FindServiceByName(service)
        described = served.methods_by_name[method]
        self.calls += 1
        with grpc.insecure_channel(self.address) as channel:
            shape = channel.stream_stream if described.client_streaming else channel.unary_unary
            ask: Any = shape(
                f"/{request.method}",
                request_serializer=type(request.message).SerializeToString,
                response_deserializer=GetMessageClass(described.output_type).FromString,
            )
            try:
                if described.client_streaming:
                    return next(ask(iter((request.message,)), timeout=_CALL_SECONDS))
                return ask(request.message, timeout=_CALL_SECONDS)
            except grpc.RpcError as error:
                raise Failure(f"{request.method}: {error.code().name}: {error.details()}") from None

    def check(self, profile: Profile) -> None:
        """Raise `Failure` unless the profile's call does its work."""
        answer = self.call(profile.request)
        if not profile.works(answer):
            raise Failure(f"{profile.name}: not the answer to measure:\n{answer}")


def accepts(address: str) -> Callable[[], bool]:
    """Return a function that says whether a gRPC server takes calls there."""

    def is_ready() -> bool:
        with grpc.insecure_channel(address) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=_READY_SECONDS)
            except grpc.FutureTimeoutError:
                return False
        return True

    return is_ready


class StoreMemory(NamedTuple):
    """The store's memory, in bytes."""

    used: int
    most: int


class StoreWatch:
    """The store's own account of its CPU time, which a remote one keeps too."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(url)

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, user and system, by all threads."""
        info = self._client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def commands(self) -> int:
        """Return how many commands it has run, in scripts too, but for the questions of this very watch."""
        info = self._client.info("commandstats")
        return sum(int(each["calls"]) for name, each in info.items() if name not in _OWN_COMMANDS)

    def memory(self) -> StoreMemory:
        """Return what memory it uses, and how much it may."""
        info = self._client.info("memory")
        return StoreMemory(int(info["used_memory"]), int(info["maxmemory"]))

    def name(self) -> str:
        """Return the store's kind and version."""
        info = self._client.info("server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"

    def forget(self, tenant: str) -> None:
        """Remove what a tenant has stored."""
        for key in self._client.scan_iter(f"sc:{tenant}:*", count=1000):
            self._client.delete(key)
