"""The client: one channel to the sidecar, and the named things behind it."""

# ruff: noqa: ASYNC109 - a timeout here becomes the call's deadline, which the sidecar sees and keeps too

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from sidecar_client.batching import Batcher
from sidecar_client.cache import Cache
from sidecar_client.caller import Caller
from sidecar_client.channel import open_channel, target
from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub
from sidecar_client.gen.sidecar.v1.invalidation_pb2_grpc import InvalidationServiceStub
from sidecar_client.gen.sidecar.v1.pipeline_pb2_grpc import PipelineServiceStub
from sidecar_client.gen.sidecar.v1.rate_limit_pb2_grpc import RateLimitServiceStub
from sidecar_client.gen.sidecar.v1.record_pb2_grpc import RecordServiceStub
from sidecar_client.limit import Limit, check_many
from sidecar_client.overrides import list_overrides
from sidecar_client.policies import list_policies
from sidecar_client.records import Records
from sidecar_client.retry import RetryPolicy
from sidecar_client.watching import watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence
    from types import TracebackType

    import grpc

    from sidecar_client.durations import Span
    from sidecar_client.limit import Check
    from sidecar_client.overrides import Override
    from sidecar_client.policies import Policy
    from sidecar_client.results import Decisions
    from sidecar_client.watching import Change

DEFAULT_ADDRESS = "127.0.0.1:50051"

# A cache that takes longer than a second is of no use to its caller: the origin answers sooner.
DEFAULT_TIMEOUT_S = 1.0

_DEFAULT_RETRIES = RetryPolicy()


class SidecarClient:
    """A connection to the sidecar, for any number of tasks of one event loop.

    `address` is `"host:port"` or `"unix:/path"`. `timeout` bounds every call that names none, all its attempts
    included. `interceptors` and `credentials` go to the gRPC channel as they are; tracing hooks in there. `auto_batch`
    sends the calls that tasks make in the same turn of the event loop as one message, where a cache of values or a rate
    limit is asked about one key; answers and errors stay as they are.

        async with SidecarClient("127.0.0.1:50051") as sidecar:
            found = await sidecar.cache("balances").get("account:7")
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: Span = DEFAULT_TIMEOUT_S,
        retries: RetryPolicy = _DEFAULT_RETRIES,
        credentials: grpc.ChannelCredentials | None = None,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        auto_batch: bool = False,
    ) -> None:
        target(address)  # a wrong one is the constructor's error, not the first call's
        self.address = address
        self._caller = Caller(timeout=timeout, retries=retries)
        self._credentials = credentials
        self._interceptors = tuple(interceptors)
        self._auto_batch = auto_batch
        self._open: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise RuntimeError("the client is open already")
        self._open = open_channel(self.address, credentials=self._credentials, interceptors=self._interceptors)
        if self._auto_batch:
            self._caller.batcher = Batcher(PipelineServiceStub(self._open))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls that are under way end with CANCELLED, those that are gathered are let end first."""
        channel, self._open = self._open, None
        if channel is None:
            return
        try:
            if self._caller.batcher is not None:
                await self._caller.batcher.drain()
        finally:
            await channel.close()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, for other stubs; raises RuntimeError outside `async with`."""
        if self._open is None:
            raise RuntimeError("the client is not open: use it in `async with SidecarClient(...) as sidecar:`")
        return self._open

    def cache(self, name: str) -> Cache:
        """Return the cache of values with that name. Whether it is configured, the first call tells."""
        return Cache(name, CacheServiceStub(self.channel), self._caller)

    def watch(self, cache: str, *, prefixes: Sequence[str] = ()) -> AsyncGenerator[Change, None]:
        """Tell what changes in a cache, by whichever sidecar, for as long as the caller listens.

        `prefixes` are the beginnings of the keys that are wanted; none for all. When the sidecar stops or goes away, a
        RESET is told, and it is watched again. Raises SidecarError for what cannot be watched. `Copies` keeps entries
        rightly by what is told.
        """
        return watch(InvalidationServiceStub(self.channel), cache, prefixes)

    def records(self, name: str) -> Records:
        """Return the cache of records with that name."""
        return Records(name, RecordServiceStub(self.channel), self._caller)

    def limit(self, policy: str) -> Limit:
        """Return the rate limit policy with that name."""
        return Limit(policy, RateLimitServiceStub(self.channel), self._caller)

    async def policies(self, *, timeout: Span | None = None) -> tuple[Policy, ...]:
        """Say what every rate limit policy is, by name. The sidecar asks nothing of the store for it."""
        return await list_policies(RateLimitServiceStub(self.channel), self._caller, timeout=timeout)

    async def overrides(self, policy: str = "", *, timeout: Span | None = None) -> tuple[Override, ...]:
        """List the overrides of a policy, or of all, that have not ended."""
        return await list_overrides(RateLimitServiceStub(self.channel), self._caller, policy, timeout=timeout)

    async def check_many(
        self, checks: Iterable[Check], *, all_or_nothing: bool = True, timeout: Span | None = None
    ) -> Decisions:
        """Ask several limits for leave at once, and take the costs from all of them or from none.

        With `all_or_nothing=False` each takes its cost if it allows it. Raises BatchError when some checks then failed;
        its keys are their places, as text. As `Limit.check` it is never repeated.
        """
        return await check_many(
            RateLimitServiceStub(self.channel), self._caller, checks, all_or_nothing=all_or_nothing, timeout=timeout
        )
