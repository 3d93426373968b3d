"""Rate limits and loads for programs of threads, which have no event loop: servers on grpcio's thread pool above all.

Of caches only what `cached` stands on: a whole second client would be a second thing to keep right, and a program that
asks more of them from threads may as well use the stubs in `sidecar_client.gen` (`BlockingSidecar.channel`). Calls are
made as `SidecarClient` makes a `check`: under a deadline, once, and failing with the same errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc

from sidecar_client.blocking_cache import BlockingCache
from sidecar_client.channel import OPTIONS, target
from sidecar_client.client import DEFAULT_ADDRESS, DEFAULT_TIMEOUT_S
from sidecar_client.durations import to_seconds
from sidecar_client.errors import from_rpc_error
from sidecar_client.gen.sidecar.v1 import rate_limit_pb2 as pb
from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub
from sidecar_client.gen.sidecar.v1.rate_limit_pb2_grpc import RateLimitServiceStub
from sidecar_client.limit import decision_of

if TYPE_CHECKING:
    from types import TracebackType

    from sidecar_client.durations import Span
    from sidecar_client.results import Decision


class BlockingLimit:
    """A named rate limit policy, for any number of threads. Made by `BlockingSidecar.limit`."""

    def __init__(self, policy: str, stub: RateLimitServiceStub, timeout_s: float) -> None:
        self.policy = policy
        self._stub = stub
        self._timeout_s = timeout_s

    def check(self, key: str, *, cost: int = 1, tier: str = "", timeout: Span | None = None) -> Decision:
        """Take `cost` from the key's allowance if that much is left; raises SidecarError. A refusal costs nothing.

        `tier` is one of the policy's `tiers`, whose numbers then hold; empty: the policy's own.
        """
        request = pb.CheckRequest(policy=self.policy, key=key, cost=cost, tier=tier)
        seconds = self._timeout_s if timeout is None else to_seconds(timeout)
        try:
            return decision_of(self._stub.Check(request, timeout=seconds))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


class BlockingSidecar:
    """A connection to the sidecar, for any number of threads; its arguments are those of `SidecarClient`.

    with BlockingSidecar("127.0.0.1:50051") as sidecar:
        decision = sidecar.limit("auth").check("user:ada")

    gRPC's threads do not survive a fork: open it in the process that uses it.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: Span = DEFAULT_TIMEOUT_S,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.address = target(address)
        self._timeout_s = to_seconds(timeout)
        if self._timeout_s <= 0:
            raise ValueError("a timeout must be positive")
        self._credentials = credentials
        self._open: grpc.Channel | None = None
        self._limits: RateLimitServiceStub | None = None
        self._caches: CacheServiceStub | None = None

    def __enter__(self) -> Self:
        if self._open is not None:
            raise RuntimeError("the client is open already")
        if self._credentials is None:
            self._open = grpc.insecure_channel(self.address, options=OPTIONS)
        else:
            self._open = grpc.secure_channel(self.address, self._credentials, options=OPTIONS)
        self._limits = RateLimitServiceStub(self._open)
        self._caches = CacheServiceStub(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls that are under way end with CANCELLED."""
        channel, self._open, self._limits, self._caches = self._open, None, None, None
        if channel is not None:
            channel.close()

    @property
    def channel(self) -> grpc.Channel:
        """The channel, for other stubs; raises RuntimeError outside `with`."""
        if self._open is None:
            raise RuntimeError("the client is not open: use it in `with BlockingSidecar(...) as sidecar:`")
        return self._open

    def limit(self, policy: str) -> BlockingLimit:
        """Return the rate limit policy with that name. Whether it is configured, the first call tells."""
        if self._limits is None:
            raise RuntimeError("the client is not open: use it in `with BlockingSidecar(...) as sidecar:`")
        return BlockingLimit(policy, self._limits, self._timeout_s)

    def cache(self, name: str) -> BlockingCache:
        """Return the cache with that name. Whether it is configured, the first call tells."""
        if self._caches is None:
            raise RuntimeError("the client is not open: use it in `with BlockingSidecar(...) as sidecar:`")
        return BlockingCache(name, self._caches, self._timeout_s)
