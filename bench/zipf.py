"""A cache that holds a quarter of what is asked for: `python -m bench.zipf`, four minutes.

Requests for 100,000 keys by Zipf's law (s = 1: the second is asked for half as often as the first, and so on), a store
with memory for a quarter of the keys and `maxmemory-policy allkeys-lfu`. Whoever misses a key writes it. An ideal LFU
keeps the quarter that is asked for most, and finds 88.5 %. Each row is one sidecar over a store of its own: without a
near cache, with copies of hot keys, of all that is read in rooms of different size, and of a cache with a bound of its
own. The last column is the most of its memory that the store was seen to use.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc
import redis
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub

from bench.processes import Failure
from bench.profiles import NEAR, VALUE
from bench.report import table
from bench.servers import NearOptions, SidecarOptions, start_redis, start_sidecar
from bench.targets import StoreWatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.targets import Target

KEYS = 100_000
SHARE = 0.25
BATCH = 100
# Of each copy 560 bytes are counted: the rooms hold 1,800, 29,000 and 119,000 of the 100,000 keys, if they may.
ROWS: dict[str, NearOptions | None] = {
    "none": None,
    "hot": NearOptions(admission="hot"),
    "all, 1 MiB": NearOptions(admission="all", room="1MiB"),
    "all, 16 MiB": NearOptions(admission="all", room="16MiB"),
    "all, 64 MiB": NearOptions(admission="all", room="64MiB"),
    "hot, max_memory 80%": NearOptions(admission="hot", max_memory="80%"),
}
HEADINGS = (
    "near cache", "keys/s", "hit rate", "of them L1", "entries", "sidecar CPU µs/key", "store CPU µs/key", "memory",
)  # fmt: skip
_WATCH_SECONDS = 0.05
_SETTLE_SECONDS = 30.0
# The store looks at so many keys to find the one to give up: 5 is its default, 10 is close to true LFU (redis.conf).
# Its counters grow by chance; with a factor of 1, not of 10, they tell a key that was asked for thrice from one of ten.
_STORE = ("--maxmemory-policy", "allkeys-lfu", "--maxmemory-samples", "16", "--lfu-log-factor", "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one row came to."""

    name: str
    keys: int
    seconds: float
    hits: int
    copies: int
    entries: int
    cpu_seconds: float
    store_seconds: float
    highest: float
    """The most that the store was seen to use of its memory."""

    @property
    def hit_rate(self) -> float:
        """The part of the keys that was found."""
        return self.hits / self.keys

    def cells(self) -> list[str]:
        """Return the row's texts."""
        return [
            self.name,
            f"{self.keys / self.seconds:,.0f}",
            f"{self.hit_rate:.1%}",
            f"{self.copies / self.hits:.1%}",
            f"{self.entries:,}",
            f"{self.cpu_seconds / self.keys * 1e6:.1f}",
            f"{self.store_seconds / self.keys * 1e6:.1f}",
            f"{self.highest:.1%}",
        ]


class Highest:
    """The most of its memory that a store is seen to use, in a `with` block."""

    def __init__(self, url: str) -> None:
        self._watch = StoreWatch(url)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch the store's memory")
        self.share = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(_WATCH_SECONDS):
            used, most = self._watch.memory()
            self.share = max(self.share, used / most)


class Asker:
    """Asks for keys by Zipf's law, and writes what is missed."""

    def __init__(self, target: Target, cache: str) -> None:
        self._channel = grpc.insecure_channel(target.address)
        self._stub: Any = CacheServiceStub(self._channel)
        self._cache = cache
        self._draw = random.Random(1)
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, KEYS + 1)))
        self.keys = self.hits = self.copies = 0

    def ask(self, keys: int) -> None:
        """Ask for so many keys, and count."""
        self.keys = self.hits = self.copies = 0
        while self.keys < keys:
            names = [f"key:{rank}" for rank in self._draw.choices(range(KEYS), cum_weights=self._weights, k=BATCH)]
            found = self._stub.GetMany(pb.GetManyRequest(cache=self._cache, keys=names)).results
            hits = [one.entry for one in found if one.entry.outcome == common_pb2.OUTCOME_HIT]
            self.keys += BATCH
            self.hits += len(hits)
            self.copies += sum(entry.source == common_pb2.SOURCE_L1 for entry in hits)
            self._write([one.key for one in found if one.entry.outcome != common_pb2.OUTCOME_HIT])

    def fill(self) -> None:
        """Write all keys once, the last asked for first."""
        for start in range(KEYS, 0, -BATCH):
            self._write([f"key:{rank}" for rank in range(start - BATCH, start)])

    def remove(self, first: int) -> None:
        """Remove all keys from that one on."""
        for start in range(first, KEYS, BATCH):
            names = [f"key:{rank}" for rank in range(start, start + BATCH)]
            self._stub.DeleteMany(pb.DeleteManyRequest(cache=self._cache, keys=names))

    def _write(self, names: Sequence[str]) -> None:
        if names:
            entries = [pb.SetManyEntry(key=name, value=VALUE) for name in dict.fromkeys(names)]
            self._stub.SetMany(pb.SetManyRequest(cache=self._cache, entries=entries))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _settle(watch: StoreWatch, bound: str) -> None:
    """Wait until a cache is within its bound, which is set when it is full."""
    until = time.monotonic() + _SETTLE_SECONDS
    while (memory := watch.memory()).used > memory.most * int(bound.rstrip("%")) / 100:
        if time.monotonic() > until:
            raise Failure(f"the cache is not within {bound} of the store's memory after {_SETTLE_SECONDS:g} s")
        time.sleep(_WATCH_SECONDS)


def run(name: str, warm_up: int, keys: int) -> Outcome:
    """Return what one row comes to after `warm_up` keys, in so many more; raises `Failure`."""
    near = ROWS[name]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-zipf-")))
        port = start_redis(stack, folder, *_STORE)
        url = f"redis://127.0.0.1:{port}"
        options = SidecarOptions(
            engine="fast",
            redis=url,
            near=near,
            trace_ratio=0.0,
            otlp_endpoint="",
        )
        target = start_sidecar(stack, folder, options)
        asker = Asker(target, "default" if near is None else NEAR)
        stack.callback(asker.close)
        store: Any = redis.Redis.from_url(url)
        stack.callback(store.close)
        asker.fill()
        asker.remove(int(SHARE * KEYS))
        store.config_set("maxmemory", store.info("memory")["used_memory"])
        asker.fill()
        watch = StoreWatch(url)
        if near is not None and near.max_memory is not None:
            _settle(watch, near.max_memory)
        with Highest(url) as highest:
            asker.ask(warm_up)
            begun, cpu, store_cpu = time.monotonic(), target.server.cpu_seconds(), watch.cpu_seconds()
            asker.ask(keys)
            seconds = time.monotonic() - begun
        return Outcome(
            name=name,
            keys=asker.keys,
            seconds=seconds,
            hits=asker.hits,
            copies=asker.copies,
            entries=store.dbsize(),
            cpu_seconds=target.server.cpu_seconds() - cpu,
            store_seconds=watch.cpu_seconds() - store_cpu,
            highest=highest.share,
        )


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.zipf", description="Measure hit rates under Zipf's law.")
    parser.add_argument("--warm-up", type=int, default=800_000, help="keys before each measurement (default: 800000)")
    parser.add_argument("--keys", type=int, default=400_000, help="keys of each measurement (default: 400000)")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME",
        help=f"only these: {', '.join(map(repr, ROWS))}".replace("%", "%%"),
    )  # fmt: skip
    options = parser.parse_args()
    outcomes = [run(name, options.warm_up, options.keys) for name in options.rows]
    print(f"{KEYS:,} keys, Zipf s=1, memory for {SHARE:.0%} of them, allkeys-lfu, batches of {BATCH}")
    print(table(HEADINGS, [outcome.cells() for outcome in outcomes]))


if __name__ == "__main__":
    main()
