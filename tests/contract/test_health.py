"""grpc.health.v1: per service, driven by whether the store answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2 as pb
from support.contract import Contract, refusal
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import StoreServer

SERVICES = (
    "",
    *(
        f"sidecar.v1.{name}Service"
        for name in ("Cache", "Record", "RateLimit", "Pipeline", "Invalidation", "CacheAdmin")
    ),
)
SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN
PATIENCE_SECONDS = 30


class TestServing:
    """While the store answers."""

    @pytest.mark.parametrize("service", SERVICES)
    def test_check_says_so(self, api: Contract, service: str) -> None:
        """Each service is SERVING, and so is the whole."""
        assert SERVING == api.health.Check(pb.HealthCheckRequest(service=service)).status

    def test_list_names_every_service(self, api: Contract) -> None:
        """With its state."""
        statuses = api.health.List(pb.HealthListRequest()).statuses
        assert dict.fromkeys(SERVICES, SERVING) == {name: status.status for name, status in statuses.items()}

    def test_check_of_an_unknown_service_is_not_found(self, api: Contract) -> None:
        """As the health protocol wants it."""
        refused = refusal(lambda: api.health.Check(pb.HealthCheckRequest(service="nope")))
        assert (grpc.StatusCode.NOT_FOUND, "SERVICE_UNKNOWN", "service") == refused.brief

    @pytest.mark.parametrize("service", SERVICES)
    def test_watch_begins_with_the_state(self, api: Contract, service: str) -> None:
        """The first message comes at once."""
        watch = api.health.Watch(pb.HealthCheckRequest(service=service), timeout=PATIENCE_SECONDS)
        state = next(watch).status
        watch.cancel()
        assert SERVING == state

    def test_watch_of_an_unknown_service_waits_for_it(self, api: Contract) -> None:
        """SERVICE_UNKNOWN is a state there, not an error."""
        watch = api.health.Watch(pb.HealthCheckRequest(service="nope"), timeout=PATIENCE_SECONDS)
        state = next(watch).status
        watch.cancel()
        assert SERVICE_UNKNOWN == state

    def test_a_cancelled_watch_leaves_the_others(self, api: Contract) -> None:
        """Callers may leave at any time."""
        watches = [api.health.Watch(pb.HealthCheckRequest(), timeout=PATIENCE_SECONDS) for _ in range(10)]
        states = [next(watch).status for watch in watches]
        for watch in watches:
            watch.cancel()
        assert ([SERVING] * 10, SERVING) == (states, api.health.Check(pb.HealthCheckRequest()).status)


class TestStoreGone:
    """A sidecar of this test's own, whose store comes and goes."""

    @pytest.fixture
    def own(self, server: StoreServer, engine: str) -> Iterator[Contract]:
        """Return a sidecar over a server that may be killed."""
        sidecar = RunningSidecar(server.url, engine=engine)
        sidecar.start()
        with Contract(sidecar, server) as made:
            yield made
        sidecar.stop()

    def test_watch_sees_the_store_go_and_come(self, own: Contract) -> None:
        """SERVING, NOT_SERVING once it is killed, SERVING once it is back."""
        watch = own.health.Watch(pb.HealthCheckRequest(), timeout=3 * PATIENCE_SECONDS)
        states = [next(watch).status]
        own.server.kill()
        states.append(next(watch).status)
        own.server.start()
        states.append(next(watch).status)
        watch.cancel()
        assert [SERVING, NOT_SERVING, SERVING] == states

    def test_every_service_is_down_with_the_store(self, own: Contract) -> None:
        """All of them need it."""
        own.server.kill()
        own.sidecar.wait_for(NOT_SERVING)
        statuses = own.health.List(pb.HealthListRequest()).statuses
        assert dict.fromkeys(SERVICES, NOT_SERVING) == {name: status.status for name, status in statuses.items()}

    def test_a_hung_store_is_not_serving(self, own: Contract) -> None:
        """A connection that stays open proves nothing; a reply does."""
        watch = own.health.Watch(pb.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
        states = [next(watch).status]
        own.server.pause()
        states.append(next(watch).status)
        own.server.resume()
        states.append(next(watch).status)
        watch.cancel()
        assert [SERVING, NOT_SERVING, SERVING] == states

    def test_a_stopping_sidecar_says_so_and_ends_the_watch(self, server: StoreServer, engine: str) -> None:
        """NOT_SERVING is the last word, with status OK."""
        sidecar = RunningSidecar(server.url, engine=engine)
        sidecar.start()
        with Contract(sidecar, server) as own:
            watch = own.health.Watch(pb.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
            states = [next(watch).status]
            sidecar.stop()
            states.extend(answer.status for answer in watch)
            assert ([SERVING, NOT_SERVING], grpc.StatusCode.OK) == (states, watch.code())
