"""Writers and readers beside two sidecars, and invalidations meanwhile: nothing is read that is older than one."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from support.contract import Contract, milliseconds
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import StoreServer

HIT = common_pb2.OUTCOME_HIT
ROUNDS = 100
PACES = 20
KEYS = 6


@pytest.fixture(scope="module")
def other(shared_store: StoreServer, engine: str) -> Iterator[Contract]:
    """Return the services of a second sidecar over the same store."""
    sidecar = RunningSidecar(shared_store.url, engine=engine)
    sidecar.start()
    with Contract(sidecar, shared_store) as made:
        yield made
    sidecar.stop()


class Race:
    """What writers and readers do until they are told to end; each value is a number of its own."""

    def __init__(self, key: str) -> None:
        self.names = [f"{key}:{number}" for number in range(KEYS)]
        self.known: set[bytes] = set()
        """The values that were written, or were to be loaded: the next invalidation concerns them."""
        self.gone: set[bytes] = set()
        """Those that an acknowledged invalidation concerned."""
        self.hits = self.filled = 0
        """How often readers found something, and writers filled something in."""
        self.ended = False
        self._tags = [key, f"{key}more"]
        self._numbers = itertools.count()

    def write(self, api: Contract, offset: int) -> None:
        """Set and load entries."""
        for number in itertools.count(offset):
            if self.ended:
                break
            name, value = self.names[number % KEYS], b"%d" % next(self._numbers)
            if number % 3:
                self.filled += self._load(api, name, value)
            else:
                api.cache.Set(pb.SetRequest(cache="both", key=name, value=value, tags=self._tags))
                self.known.add(value)

    def _load(self, api: Contract, name: str, value: bytes) -> bool:
        answer = api.cache.GetOrLoad(pb.GetOrLoadRequest(cache="both", key=name, wait=milliseconds(0)))
        if answer.outcome != pb.LOAD_OUTCOME_LEASE:
            return False
        self.known.add(value)
        request = pb.FillRequest(cache="both", key=name, token=answer.token, value=value, tags=self._tags)
        try:
            api.cache.Fill(request)
        except grpc.RpcError:
            return False
        return True

    def read(self, api: Contract) -> None:
        """Read all entries, and see that none should be gone."""
        request = pb.GetManyRequest(cache="both", keys=self.names)
        while not self.ended:
            gone = self.gone
            values = {one.entry.value for one in api.cache.GetMany(request).results if one.entry.outcome == HIT}
            self.hits += len(values)
            assert set() == values & gone

    def invalidate(self, api: Contract, request: pb.InvalidateRequest) -> None:
        """Put all that is known out of date."""
        concerned = self.known.copy()
        api.cache.Invalidate(request)
        self.gone = self.gone | concerned


@pytest.mark.parametrize("how", ["tag", "prefix", "all"])
def test_nothing_of_before_is_read_after(api: Contract, other: Contract, key: str, how: str) -> None:
    """Neither what was written before it nor what was to be loaded before it, beside whichever sidecar."""
    request = {
        "tag": pb.InvalidateRequest(cache="both", tags=pb.InvalidateTags(tags=[key])),
        "prefix": pb.InvalidateRequest(cache="both", prefix=f"{key}:"),
        "all": pb.InvalidateRequest(cache="both", all=True),
    }[how]
    race = Race(key)
    with ThreadPoolExecutor(6) as pool:
        writers = [pool.submit(race.write, each, offset) for each in (api, other) for offset in (0, 3)]
        readers = [pool.submit(race.read, each) for each in (api, other)]
        try:
            # Sometimes there is time enough to fill something in and to find it, and sometimes there is not.
            for number in itertools.count():
                race.invalidate((api, other)[number % 2], request)
                time.sleep(0.001 * (number % PACES))
                if number >= ROUNDS and race.hits and race.filled:
                    break
        finally:
            race.ended = True
        for each in readers + writers:
            each.result()
