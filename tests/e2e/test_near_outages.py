"""A near cache while its store hangs: what was true is true for a while, and then nobody says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from support.api import Api
from support.programs import wait_until
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from support.servers import StoreServer

BOUND_SECONDS = 0.5
OVERRIDES = {"caches.plain.l1": {"admission": "all", "max_staleness": "500ms"}}
GET = pb.GetRequest(cache="plain", key="k")


def is_copied(api: Api) -> bool:
    """Say whether the entry is read from a copy; an answer must come at once, and be right."""
    answer = api.cache.Get(GET, timeout=0.3)
    assert b"1" == answer.value
    return bool(answer.source == common_pb2.SOURCE_L1)


def read_on(api: Api, until: float) -> None:
    """Read copies until a read fails; no read may be answered that has begun later than that."""
    while True:
        begun_at = time.monotonic()
        assert is_copied(api)
        assert begun_at < until
        time.sleep(0.01)


def test_copies_are_of_use_for_as_long_as_they_may_be_behind(server: StoreServer) -> None:
    """Then a read asks the store as ever, and waits for it; once the store is back, so are they."""
    sidecar = RunningSidecar(server.url, engine="fast", overrides=OVERRIDES)
    sidecar.start()
    with Api(sidecar.address) as api:
        api.cache.Set(pb.SetRequest(cache="plain", key="k", value=b"1"))
        wait_until(lambda: is_copied(api), "there is a copy")
        server.pause()
        paused_at = time.monotonic()
        with pytest.raises(grpc.RpcError) as failed:
            read_on(api, until=paused_at + BOUND_SECONDS)
        assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        server.resume()

        def is_back() -> bool:
            try:
                return is_copied(api)
            except grpc.RpcError:
                return False

        wait_until(is_back, "there are copies again")
    sidecar.stop()
