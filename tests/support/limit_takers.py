"""Many callers in a process of their own, who all take from one key of one rate limit, as fast as it answers.

Run with the store's port, an algorithm, the limit, its window in µs, the number of callers, the ms for which each goes
on calling, and the share of the limit that the process may hold in a lease, 0 for none; each calls twice at least. What
is held goes back in the end. The process prepares, says so with a line, and begins when a line comes in.
What it prints then is JSON: how many calls were refused, and for each that was allowed when it was asked and when
answered, in nanoseconds of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.ratelimit.lease import LeasePolicy
from sidecar.ratelimit.lease_book import LeaseBook
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.policy import (
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.store.address import StoreAddress
from sidecar.store.keys import KeySpace
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from sidecar.ratelimit.policy import Policy

NAME = "fire"
KEY = "everybody"

LEAST_CALLS = 2

# Short beside the time for which a test has callers call.
LEASE_TTL_US = 100_000

_NANOS_PER_MILLI = 1_000_000
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US


def a_window_without_an_edge_now() -> int:
    """Return the length in µs of a window, counted from the epoch on, that neither begins nor ends within the hour."""
    now_us = time.time_ns() // 1_000
    lengths_us = (366 * _DAY_US, 365 * _DAY_US)
    return next(length for length in lengths_us if _HOUR_US < now_us % length < length - _HOUR_US)


def policy_of(algorithm: str, limit: int, window_us: int) -> Policy:
    """Return the policy that allows `limit` at once: where there is a rate, one token comes back in a window."""
    match algorithm:
        case "token_bucket":
            return TokenBucketPolicy(name=NAME, tokens=1, period_us=window_us, burst=limit)
        case "gcra":
            return GcraPolicy(name=NAME, tokens=1, period_us=window_us, burst=limit)
        case "sliding_window":
            return SlidingWindowPolicy(name=NAME, limit=limit, window_us=window_us)
        case "sliding_log":
            return SlidingLogPolicy(name=NAME, limit=limit, window_us=window_us)
        case "fixed_window":
            return FixedWindowPolicy(name=NAME, limit=limit, window_us=window_us)
        case _:
            raise ValueError(f"no algorithm is named {algorithm}")


async def take(limiter: RateLimiter, until_ns: int) -> tuple[int, list[tuple[int, int]]]:
    """Call again and again; return how many calls were refused, and between when and when each other was allowed."""
    refused = 0
    allowed: list[tuple[int, int]] = []
    while refused + len(allowed) < LEAST_CALLS or time.monotonic_ns() < until_ns:
        asked_ns = time.monotonic_ns()
        if (await limiter.check(NAME, KEY, 1, _call())).allowed:
            allowed.append((asked_ns, time.monotonic_ns()))
        else:
            refused += 1
    return refused, allowed


async def main(port: int, policy: Policy, callers: int, lasting_ms: int, lease: float) -> None:
    """Let all call, and print what they got."""
    # Processes that all begin at once take their time to connect.
    patient = PoolPolicy(connections=2, connect_timeout=30, reply_timeout=30, unavailable_grace=30)
    pool = Pool(StoreAddress(host="127.0.0.1", port=port), patient, PoolCounters(Metrics()))
    pool.start()
    store, clock, metrics = StandaloneStore(pool), StoreClock(), Metrics()
    leases = {NAME: LeasePolicy(max_fraction=lease, ttl_us=LEASE_TTL_US)} if lease else {}
    book = LeaseBook(store=store, clock=clock, metrics=metrics, policies=leases, live=lambda: 1)
    limiter = RateLimiter(
        store=store,
        keys=KeySpace("default"),
        clock=clock,
        metrics=metrics,
        policies=[policy],
        max_key_bytes=512,
        leases=book,
    )
    # Then a connection stands, and the store has the script.
    await limiter.peek(NAME, KEY, 1, _call())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    until_ns = time.monotonic_ns() + lasting_ms * _NANOS_PER_MILLI
    taken = await asyncio.gather(*(take(limiter, until_ns) for _ in range(callers)))
    await book.close()
    await pool.close()
    told = {"refused": sum(refused for refused, _ in taken), "allowed": [span for _, spans in taken for span in spans]}
    sys.stdout.write(json.dumps(told))


def _call() -> Call:
    return Call("/test", deadline=after(30.0))


if __name__ == "__main__":
    _, at, algorithm_name, most, length_us, many, long_ms, fraction = sys.argv
    limit_policy = policy_of(algorithm_name, int(most), int(length_us))
    asyncio.run(main(int(at), limit_policy, int(many), int(long_ms), float(fraction)))
