"""A cache that holds a quarter of what is asked for: `python -m bench.zipf`, two minutes.

Requests for 100,000 keys by Zipf's law (s = 1: the second is asked for half as often as the first, and so on), a store
with memory for a quarter of the keys and `maxmemory-policy allkeys-lfu`. Whoever misses a key writes it. An ideal LFU
keeps the quarter that is asked for most, and finds 88.5 %. Each row is one sidecar over a store of its own: without a
near cache, with copies of hot keys, and with copies of all that is read.
"""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import redis
from sidecar_client.gen.sidecar.v1 import cache_pb2 as pb
from sidecar_client.gen.sidecar.v1 import common_pb2
from sidecar_client.gen.sidecar.v1.cache_pb2_grpc import CacheServiceStub

from bench.profiles import NEAR, VALUE
from bench.report import table
from bench.servers import SidecarOptions, start_redis, start_sidecar
from bench.targets import StoreWatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.targets import Target

KEYS = 100_000
SHARE = 0.25
BATCH = 100
CACHES = {"without": "default", "hot keys": NEAR, "all keys": NEAR}
HEADINGS = ("near cache", "keys/s", "hit rate", "of them L1", "sidecar CPU µs/key", "store CPU µs/key")
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
    cpu_seconds: float
    store_seconds: float

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
            f"{self.cpu_seconds / self.keys * 1e6:.1f}",
            f"{self.store_seconds / self.keys * 1e6:.1f}",
        ]


class Asker:
    """Asks for keys by Zipf's law, and writes what is missed."""

    def __init__(self, target: Target, cache: str) -> None:
        self._channel = grpc.insecure_channel(target.address)
        self._stub: Any = CacheServiceStub(self._channel)
        self._cache = cache
        self._draw = random.Random(1)
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, KEYS + 1)))
        self.keys = self.hits = self.copies = 0

    def ask(self, seconds: float) -> None:
        """Ask for that long, and count."""
        self.keys = self.hits = self.copies = 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
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


def run(name: str, warm_up: float, seconds: float) -> Outcome:
    """Return what one kind of cache comes to."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-zipf-")))
        port = start_redis(stack, folder, *_STORE)
        url = f"redis://127.0.0.1:{port}"
        options = SidecarOptions(
            engine="fast",
            redis=url,
            near=None if name == "without" else name.partition(" ")[0],
            trace_ratio=0.0,
            otlp_endpoint="",
        )
        target = start_sidecar(stack, folder, options)
        asker = Asker(target, CACHES[name])
        stack.callback(asker.close)
        store: Any = redis.Redis.from_url(url)
        stack.callback(store.close)
        asker.fill()
        asker.remove(int(SHARE * KEYS))
        store.config_set("maxmemory", store.info("memory")["used_memory"])
        asker.fill()
        asker.ask(warm_up)
        watch = StoreWatch(url)
        cpu, store_cpu = target.server.cpu_seconds(), watch.cpu_seconds()
        asker.ask(seconds)
        return Outcome(
            name=name,
            keys=asker.keys,
            seconds=seconds,
            hits=asker.hits,
            copies=asker.copies,
            cpu_seconds=target.server.cpu_seconds() - cpu,
            store_seconds=watch.cpu_seconds() - store_cpu,
        )


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.zipf", description="Measure hit rates under Zipf's law.")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds before each measurement (default: 20)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement (default: 10)")
    options = parser.parse_args()
    outcomes = [run(name, options.warm_up, options.seconds) for name in CACHES]
    print(f"{KEYS:,} keys, Zipf s=1, memory for {SHARE:.0%} of them, allkeys-lfu, batches of {BATCH}")
    print(table(HEADINGS, [outcome.cells() for outcome in outcomes]))


if __name__ == "__main__":
    main()
