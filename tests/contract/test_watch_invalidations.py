"""InvalidationService, WatchInvalidations: whoever keeps entries is told what changes, and when nobody can tell."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from sidecar_client.gen.sidecar.v1 import cache_pb2, record_pb2
from sidecar_client.gen.sidecar.v1 import invalidation_pb2 as pb
from support.contract import TENANT, Contract, milliseconds, refusal
from support.sidecars import RunningSidecar

from sidecar.cache import watches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import StoreServer

PATIENCE_SECONDS = 30
INVALID, REFUSED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION


class Watching:
    """A watch, read in a thread of its own."""

    def __init__(self, api: Contract, cache: str, *prefixes: str) -> None:
        self.call: Any = api.invalidations.WatchInvalidations(
            pb.WatchInvalidationsRequest(cache=cache, prefixes=prefixes), timeout=3 * PATIENCE_SECONDS
        )
        self._told: queue.Queue[pb.WatchInvalidationsResponse | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for told in self.call:
                self._told.put(told)
        except grpc.RpcError:
            pass
        self._told.put(None)

    def next(self) -> pb.WatchInvalidationsResponse | None:
        """Return what is told next; None at the end."""
        return self._told.get(timeout=PATIENCE_SECONDS)

    def until(self, what: str) -> list[Any]:
        """Return what is told up to something of that kind, without heartbeats and kinds' true."""
        seen: list[Any] = []
        while True:
            told = self.next()
            assert told is not None, f"the stream ended before {what}; it told {seen}"
            kind = told.WhichOneof("what")
            if kind == "keys":
                seen.append(sorted(told.keys.keys))
            elif kind == "prefix":
                seen.append(told.prefix)
            elif kind != "heartbeat" or what == "heartbeat":
                seen.append(kind)
            if kind == what:
                return seen

    def keys(self, count: int = 1) -> set[str]:
        """Return the keys that are told, once there are so many."""
        seen: set[str] = set()
        while len(seen) < count:
            seen.update(self.until("keys")[-1])
        return seen


@contextmanager
def watching(api: Contract, cache: str, *prefixes: str) -> Iterator[Watching]:
    """Watch, and be ready."""
    watch = Watching(api, cache, *prefixes)
    try:
        assert ["ready"] == watch.until("ready")
        yield watch
    finally:
        watch.call.cancel()


def put(api: Contract, cache: str, key: str, **more: Any) -> None:
    """Set an entry."""
    api.cache.Set(cache_pb2.SetRequest(cache=cache, key=key, value=b"v", **more))


def invalidate(api: Contract, cache: str, **what: Any) -> None:
    """Invalidate."""
    api.cache.Invalidate(cache_pb2.InvalidateRequest(cache=cache, **what))


class TestTold:
    """What a watcher is told of."""

    def test_a_write(self, api: Contract, key: str) -> None:
        """Of an entry, by its key."""
        with watching(api, "plain") as watch:
            put(api, "plain", key)
            assert {key} == watch.keys()

    def test_a_deletion(self, api: Contract, key: str) -> None:
        """As a write."""
        put(api, "plain", key)
        with watching(api, "plain") as watch:
            api.cache.Delete(cache_pb2.DeleteRequest(cache="plain", key=key))
            assert {key} == watch.keys()

    def test_an_entry_that_expires(self, api: Contract, key: str) -> None:
        """Without anybody's doing."""
        with watching(api, "brief", key) as watch:
            put(api, "brief", key)
            written = watch.keys()
            assert ({key}, {key}) == (written, watch.keys())

    def test_a_record(self, api: Contract, key: str) -> None:
        """Records are entries too."""
        with watching(api, "plain") as watch:
            fields = {"name": record_pb2.FieldValue(text="Ada")}
            api.records.PutRecord(record_pb2.PutRecordRequest(cache="plain", key=key, fields=fields))
            assert {key} == watch.keys()

    def test_a_fill(self, api: Contract, key: str) -> None:
        """What is loaded, and not the lease before it."""
        with watching(api, "loaded_long", key) as watch:
            asked = cache_pb2.GetOrLoadRequest(cache="loaded_long", key=key, wait=milliseconds(0))
            token = api.cache.GetOrLoad(asked).token
            watch.until("heartbeat")
            api.cache.Fill(cache_pb2.FillRequest(cache="loaded_long", key=key, token=token, value=b"v"))
            assert {key} == watch.keys()

    def test_another_programs_write_in_a_raw_cache(self, api: Contract, key: str) -> None:
        """By the caller's key, without the cache's prefix; a name that no caller can have is left out."""
        with watching(api, "shared") as watch:
            api.oracle.set(b"shared:\xff\xfe", b"v")
            api.oracle.set(f"shared:{key}", b"v")
            assert {key} == watch.keys()

    def test_odd_keys_come_as_they_were_given(self, api: Contract, key: str) -> None:
        """Braces, colons, spaces and other alphabets."""
        odd = {f"{key}}}", f"{{{key}:", f"{key} æøå 患者", f"{key}\n"}
        with watching(api, "plain") as watch:
            for one in odd:
                put(api, "plain", one)
            assert odd == watch.keys(len(odd))

    def test_nothing_of_other_caches(self, api: Contract, key: str) -> None:
        """Not even of those whose names begin so."""
        with watching(api, "loaded") as watch:
            put(api, "loaded_long", key)
            put(api, "loaded", key + "-mine")
            assert {key + "-mine"} == watch.keys()

    def test_wanted_prefixes_alone(self, api: Contract, key: str) -> None:
        """A whole key is a prefix too."""
        with watching(api, "plain", f"{key}-a:", f"{key}-whole") as watch:
            for end in ("-b:1", "-a", "-a:1", "-whole"):
                put(api, "plain", key + end)
            assert {f"{key}-a:1", f"{key}-whole"} == watch.keys(2)

    def test_invalidated_tags(self, api: Contract, key: str) -> None:
        """By the keys of the entries that had them."""
        put(api, "tagged", key, tags=[key])
        put(api, "tagged", f"{key}-2", tags=[key])
        with watching(api, "tagged") as watch:
            invalidate(api, "tagged", tags=cache_pb2.InvalidateTags(tags=[key]))
            assert {key, f"{key}-2"} == watch.keys(2)

    def test_an_invalidated_prefix(self, api: Contract, key: str) -> None:
        """As what it is."""
        with watching(api, "passing") as watch:
            invalidate(api, "passing", prefix=f"{key}:")
            assert [f"{key}:"] == watch.until("prefix")

    @pytest.mark.parametrize(("wanted", "is_told"), [("-a:", True), ("-a:1", True), ("", True), ("-b:", False)])
    def test_an_invalidated_prefix_that_meets_a_wanted_one(
        self, api: Contract, key: str, wanted: str, *, is_told: bool
    ) -> None:
        """Whichever of the two is longer."""
        with watching(api, "passing", key + wanted) as watch:
            invalidate(api, "passing", prefix=f"{key}-a:")
            put(api, "passing", f"{key}{wanted}-end")
            seen = watch.until("keys")
            assert is_told == (f"{key}-a:" in seen)

    def test_an_invalidated_cache(self, api: Contract) -> None:
        """Everything at once, and several in a row are not lost."""
        with watching(api, "both") as watch:
            for _ in range(2):
                invalidate(api, "both", all=True)
                assert ["all"] == watch.until("all")

    def test_an_emptied_store(self, server: StoreServer, engine: str) -> None:
        """As an invalidated cache, whether the cache has generations or not."""
        sidecar = RunningSidecar(server.url, engine=engine)
        sidecar.start()
        with Contract(sidecar, server) as own, watching(own, "plain") as watch:
            own.oracle.flushall()
            assert ["all"] == watch.until("all")
        sidecar.stop()

    def test_many_keys(self, api: Contract, key: str) -> None:
        """In messages that hold no more than a thousand."""
        keys = {f"{key}-{number}" for number in range(2500)}
        with watching(api, "shared", key) as watch:
            api.oracle.mset({f"shared:{one}": b"v" for one in keys})
            assert keys == watch.keys(2500)

    def test_every_watcher(self, api: Contract, key: str) -> None:
        """They share a connection."""
        with watching(api, "plain") as one, watching(api, "plain") as other:
            put(api, "plain", key)
            assert ({key}, {key}) == (one.keys(), other.keys())

    def test_other_sidecars_writes(self, api: Contract, shared_store: StoreServer, engine: str, key: str) -> None:
        """It is the store that tells."""
        other = RunningSidecar(shared_store.url, engine=engine)
        other.start()
        with Contract(other, shared_store) as elsewhere, watching(api, "plain") as watch:
            put(elsewhere, "plain", key)
            assert {key} == watch.keys()
        other.stop()


class TestAsOf:
    """Up to when everything has been told."""

    def test_heartbeats_come_and_their_time_grows(self, api: Contract) -> None:
        """By the store's clock, within a little more than their interval."""
        with watching(api, "plain", "nobody-") as watch:
            times: list[int] = []
            while len(times) < 3:
                told = watch.next()
                assert told is not None
                times.append(told.as_of.ToMicroseconds())
            seconds, micros = api.oracle.time()
            age = seconds + micros / 1e6 - times[-1] / 1e6
            assert (times, True) == (sorted(set(times)), 0 <= age < 5)

    def test_a_hung_store_gives_no_heartbeat_but_a_reset(self, server: StoreServer, engine: str) -> None:
        """And READY again once it answers."""
        sidecar = RunningSidecar(server.url, engine=engine, overrides={"store.reply_timeout": "300ms"})
        sidecar.start()
        with Contract(sidecar, server) as own, watching(own, "plain") as watch:
            server.pause()
            watch.until("reset")
            server.resume()
            assert ["ready"] == watch.until("ready")
        sidecar.stop()


class TestGaps:
    """When nobody can tell."""

    @pytest.mark.parametrize("cache", ["plain", "passing"])
    def test_a_lost_connection_is_a_reset(self, api: Contract, key: str, cache: str) -> None:
        """Then READY, and everything is told again."""
        with watching(api, cache) as watch:
            tracking = [one["id"] for one in api.oracle.client_list() if "t" in one["flags"] or "B" in one["flags"]]
            for one in tracking:
                api.oracle.client_kill_filter(_id=one)
            assert ["reset", "ready"] == watch.until("ready")
            put(api, cache, key)
            assert {key} == watch.keys()

    def test_a_store_that_was_killed(self, server: StoreServer, engine: str) -> None:
        """A reset at once, READY when it is back."""
        sidecar = RunningSidecar(server.url, engine=engine)
        sidecar.start()
        with Contract(sidecar, server) as own, watching(own, "both") as watch:
            server.kill()
            assert ["reset"] == watch.until("reset")
            server.start()
            assert ["ready"] == watch.until("ready")
            sidecar.wait_for(1)
            invalidate(own, "both", all=True)
            assert ["all"] == watch.until("all")
        sidecar.stop()

    def test_a_watcher_that_does_not_read_gets_a_reset(
        self, api: Contract, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In place of more than is kept for it, and READY with it."""
        monkeypatch.setattr(watches, "_MOST_UNTOLD", 10)
        with watching(api, "plain", key) as watch:
            with api.sidecar.stalled():
                api.oracle.eval(
                    "for n = 1, 100 do redis.call('SET', ARGV[1] .. n .. '}', 'v') end",
                    0,
                    f"sc:{TENANT}:e:{{plain:{key}",
                )
            assert ["reset", "ready"] == watch.until("ready")


class TestEnds:
    """How a watch ends."""

    def test_the_connection_is_closed_when_nobody_watches(self, api: Contract) -> None:
        """And was open no longer than that."""

        def tracking() -> int:
            return sum("t" in one["flags"] for one in api.oracle.client_list())

        with watching(api, "plain"):
            during = tracking()
        until = time.monotonic() + PATIENCE_SECONDS
        while tracking() and time.monotonic() < until:
            time.sleep(0.01)
        assert (1, 0) == (during, tracking())

    def test_a_stopping_sidecar_ends_it(self, server: StoreServer, engine: str) -> None:
        """With status OK, long before the grace is over."""
        sidecar = RunningSidecar(server.url, engine=engine)
        sidecar.start()
        with Contract(sidecar, server) as own, watching(own, "plain") as watch:
            begun = time.monotonic()
            sidecar.stop()
            while watch.next() is not None:
                continue
            assert (grpc.StatusCode.OK, True) == (watch.call.code(), time.monotonic() - begun < 5)


class TestRefused:
    """What cannot be watched."""

    @pytest.mark.parametrize(
        ("cache", "prefixes", "brief"),
        [
            ("nope", (), (grpc.StatusCode.NOT_FOUND, "CACHE_UNKNOWN", "cache")),
            ("patients", (), (REFUSED, "UNSUPPORTED_BY_CACHE", "cache")),
            ("patients_passing", (), (REFUSED, "UNSUPPORTED_BY_CACHE", "cache")),
            ("plain", ("a", ""), (INVALID, "PREFIX_UNSUITABLE", "prefixes[1]")),
            ("plain", ("x" * 513,), (INVALID, "PREFIX_UNSUITABLE", "prefixes[0]")),
            ("plain", ("x",) * 101, (INVALID, "BATCH_SIZE", "prefixes")),
        ],
    )
    def test_with_status_and_reason(
        self, api: Contract, cache: str, prefixes: tuple[str, ...], brief: tuple[grpc.StatusCode, str, str]
    ) -> None:
        """Before anything is told."""
        request = pb.WatchInvalidationsRequest(cache=cache, prefixes=prefixes)
        told = refusal(lambda: next(api.invalidations.WatchInvalidations(request, timeout=PATIENCE_SECONDS)))
        assert brief == told.brief

    def test_more_watchers_than_there_may_be(self, api: Contract, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """RESOURCE_EXHAUSTED; those that watch go on."""
        with watching(api, "plain", key) as watch:
            monkeypatch.setattr(watches, "_MOST_WATCHERS", 1)
            request = pb.WatchInvalidationsRequest(cache="plain")
            told = refusal(lambda: next(api.invalidations.WatchInvalidations(request, timeout=PATIENCE_SECONDS)))
            put(api, "plain", key)
            assert ((grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", ""), {key}) == (told.brief, watch.keys())
