"""Every RPC when Redis cannot be reached, or does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sidecar_client.gen.sidecar.v1 import cache_pb2, error_reason_pb2, rate_limit_pb2
from support.contract import Contract, refusal
from support.rpcs import ALL_RPCS, LIMIT_RPCS, Rpc
from support.servers import KINDS, PATIENCE_SECONDS, StoreServer
from support.sidecars import RunningSidecar
from support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
DEADLINE_SECONDS = 0.2
# Calls must end this soon after their deadline; the rest is for coverage, which slows the sidecar down.
GRACE_SECONDS = 0.05 + 0.2
SINGLE_RPCS = [rpc for rpc in ALL_RPCS if not rpc.is_batch]
BATCH_RPCS = [rpc for rpc in ALL_RPCS if rpc.is_batch]


def owner_of(rpc: Rpc) -> str:
    """Return a cache or policy that is configured."""
    return "window" if rpc in LIMIT_RPCS else "plain"


@pytest.fixture(scope="module", params=KINDS)
def down(request: pytest.FixtureRequest, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    """Return a sidecar whose store was killed."""
    server = StoreServer(request.param, tmp_path_factory.mktemp("store"))
    server.start()
    sidecar = RunningSidecar(server.url, engine=engine)
    sidecar.start()
    server.kill()
    sidecar.wait_for(NOT_SERVING)
    with Contract(sidecar, server) as made:
        yield made
    sidecar.stop()
    server.stop()


@pytest.fixture(scope="module", params=KINDS)
def hung(request: pytest.FixtureRequest, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    """Return a sidecar that gives each call 200 ms, and whose store has just stopped answering."""
    server = StoreServer(request.param, tmp_path_factory.mktemp("store"))
    server.start()
    deadline = {"limits.default_deadline": "200ms", "limits.max_deadline": "200ms", "store.reply_timeout": "1m"}
    sidecar = RunningSidecar(server.url, engine=engine, overrides=deadline)
    sidecar.start()
    server.pause()
    with Contract(sidecar, server) as made:
        yield made
    server.resume()
    sidecar.stop()
    server.stop()


class TestDown:
    """The store's process is gone."""

    @pytest.mark.parametrize("rpc", SINGLE_RPCS, ids=[rpc.name for rpc in SINGLE_RPCS])
    def test_a_call_is_unavailable(self, down: Contract, rpc: Rpc) -> None:
        """STORE_UNAVAILABLE says that nothing was changed, and when to try again."""
        refused = refusal(lambda: rpc.call(down, owner_of(rpc), down.key(), None))
        expected = (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", True)
        assert expected == (refused.code, refused.reason, (refused.retry_after_ms or 0) > 0)

    @pytest.mark.parametrize("rpc", BATCH_RPCS, ids=[rpc.name for rpc in BATCH_RPCS])
    def test_each_item_of_a_batch_is(self, down: Contract, rpc: Rpc) -> None:
        """Its failures say what the single calls would."""
        results = rpc.call(down, owner_of(rpc), down.key(), None).results  # type: ignore[attr-defined]  # of each batch
        expected = error_reason_pb2.ERROR_REASON_STORE_UNAVAILABLE
        assert {expected} == {result.failure.reason for result in results}

    @pytest.mark.parametrize("method", ["Reserve", "Commit", "Cancel"])
    def test_reservations_fail_whatever_the_policy_says(self, down: Contract, method: str) -> None:
        """Its `on_failure: open` is for checks: nothing can be held that nobody keeps."""
        token = {} if method == "Reserve" else {"token": f"r{'x' * 22}.1"}
        request = getattr(rate_limit_pb2, f"{method}Request")(policy="reserved-bucket", key=down.key(), **token)
        refused = refusal(lambda: getattr(down.limits, method)(request))
        assert (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") == (refused.code, refused.reason)

    def test_it_is_said_at_once(self, down: Contract) -> None:
        """A call does not wait for its deadline to hear it."""
        watch = Stopwatch()
        refusal(lambda: down.cache.Get(cache_pb2.GetRequest(cache="plain", key=down.key()), timeout=PATIENCE_SECONDS))
        assert watch.seconds < 0.5

    def test_a_wrong_request_is_still_refused_for_what_it_is(self, down: Contract) -> None:
        """What can be checked without the store, is."""
        refused = refusal(lambda: down.cache.Get(cache_pb2.GetRequest(cache="plain")))
        assert (grpc.StatusCode.INVALID_ARGUMENT, "KEY_EMPTY", "key") == refused.brief


class TestHung:
    """The store's process does not answer, and its connections stay open."""

    @pytest.mark.parametrize("rpc", SINGLE_RPCS, ids=[rpc.name for rpc in SINGLE_RPCS])
    def test_a_call_ends_with_its_deadline(self, hung: Contract, rpc: Rpc) -> None:
        """The sidecar itself says DEADLINE_EXCEEDED, without a client's deadline to help it."""
        watch = Stopwatch()
        refused = refusal(lambda: rpc.call(hung, owner_of(rpc), hung.key(), None))
        took = watch.seconds
        assert (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED") == (refused.code, refused.reason)
        assert took < DEADLINE_SECONDS + GRACE_SECONDS


def test_it_starts_without_a_store_and_recovers(server: StoreServer, engine: str) -> None:
    """A sidecar whose store comes later serves as soon as it is there."""
    server.kill()
    sidecar = RunningSidecar(server.url, engine=engine)
    sidecar.start(serving=False)
    sidecar.wait_for(NOT_SERVING)
    server.start()
    sidecar.wait_for(health_pb2.HealthCheckResponse.SERVING)
    with Contract(sidecar, server) as own:
        written = own.cache.Set(cache_pb2.SetRequest(cache="plain", key=own.key()))
    sidecar.stop()
    assert 1 == written.outcome
