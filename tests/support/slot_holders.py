"""Many holders in a process of their own: each acquires a slot, holds it a moment, releases it, again and again.

Run with the store's port, a policy's limit, the number of holders and of rounds, and how many holders die: these
acquire as the others do and never release. It prints a line for each lease: when its holder had it, and when it no
longer did, in nanoseconds of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from contextlib import suppress

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import SidecarError
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy
from sidecar.store.address import StoreAddress
from sidecar.store.keys import KeySpace
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics

POLICY = "fire"
KEY = "everybody"
LEASE_MS = 1_000

_HOLD_SECONDS = 0.004
_POLL_SECONDS = 0.05


async def hold(limiter: RateLimiter, rounds: int, *, dies: bool) -> list[tuple[int, int]]:
    """Take a slot so many times; return from when until when each was this holder's for sure."""
    slots = limiter.policies.slots(POLICY)
    held: list[tuple[int, int]] = []
    while len(held) < rounds:
        asked_ns = time.monotonic_ns()
        leased = await slots.acquire(KEY, slots=1, lease_ms=None, holder="", call=_call())
        if not leased.acquired:
            await asyncio.sleep(_POLL_SECONDS * random.random())
            continue
        since_ns = time.monotonic_ns()
        # The store counts from a little later. On a busy machine a lease may end before its holder goes on.
        ends_ns = asked_ns + leased.expires_after_us * 1_000
        if dies:
            return [(since_ns, ends_ns)]
        await asyncio.sleep(_HOLD_SECONDS * random.random())
        held.append((since_ns, min(time.monotonic_ns(), ends_ns)))
        with suppress(SidecarError):
            await slots.release(KEY, leased.token, _call())
    return held


async def main(port: int, limit: int, holders: int, rounds: int, dead: int) -> None:
    """Let all hold, and print what they had."""
    # Processes that all begin at once take their time to connect.
    policy = PoolPolicy(connections=2, connect_timeout=30, reply_timeout=30, unavailable_grace=30)
    pool = Pool(StoreAddress(host="127.0.0.1", port=port), policy, PoolCounters(Metrics()))
    pool.start()
    limiter = RateLimiter(
        store=StandaloneStore(pool),
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=Metrics(),
        policies=[ConcurrencyPolicy(name=POLICY, limit=limit, lease_ms=LEASE_MS, max_lease_ms=LEASE_MS)],
        max_key_bytes=512,
    )
    all_held = await asyncio.gather(*(hold(limiter, rounds, dies=number < dead) for number in range(holders)))
    await pool.close()
    sys.stdout.writelines(f"{since_ns} {until_ns}\n" for held in all_held for since_ns, until_ns in held)


def _call() -> Call:
    return Call("/test", deadline=after(30.0))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
