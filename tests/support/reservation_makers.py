"""Many callers in a process of their own, who all reserve, commit, cancel and check on one key, as fast as it answers.

Run with the store's port, an algorithm, the limit, its window in µs, the number of callers, and how many rounds each
goes through. The process prepares, says so with a line, and begins when a line comes in. What it prints then is JSON:
what was charged, what commits fell short of though no more was asked than reserved, and how many were refused.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.ratelimit.exceptions import Rules
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.reservations_policy import ReservationsPolicy
from sidecar.store.address import StoreAddress
from sidecar.store.keys import KeySpace
from sidecar.store.pool import Pool, PoolCounters, PoolPolicy
from sidecar.store.standalone import StandaloneStore
from sidecar.telemetry.metrics import Metrics
from support.limit_takers import KEY, NAME, policy_of

if TYPE_CHECKING:
    from sidecar.ratelimit.policy import Policy

MOST_COST = 5
# Some callers die with a reservation: it is not committed, and has ended before the test does.
DEAD_SHARE = 0.05
TTL_MS = 1_000
# Others are in time, however busy the machine is.
LONG_MS = 60_000

RULES = {NAME: Rules(reservations=ReservationsPolicy(ttl_ms=TTL_MS, max_ttl_ms=LONG_MS, max_held=1_000))}


def limiter_over(store: StandaloneStore, policy: Policy) -> RateLimiter:
    """Return a limiter whose only policy has reservations."""
    return RateLimiter(
        store=store,
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=Metrics(),
        policies=[policy],
        rules=RULES,
        max_key_bytes=512,
    )


async def spend(limiter: RateLimiter, rounds: int) -> Counter[str]:
    """Go through so many rounds: check, or reserve and then commit less, as much or more, or cancel, or forget."""
    told: Counter[str] = Counter()
    reservations = limiter.reservations
    for _ in range(rounds):
        cost = random.randint(1, MOST_COST)
        if random.random() < 0.3:
            allowed = (await limiter.check(NAME, KEY, cost, _call())).allowed
            told["charged" if allowed else "refused"] += cost
            continue
        dies = random.random() < DEAD_SHARE
        ttl_ms = None if dies else LONG_MS
        held = await reservations.reserve(NAME, KEY, cost=cost, ttl_ms=ttl_ms, reservation_id="", call=_call())
        if not held.decision.allowed:
            told["refused"] += cost
        elif dies:
            told["forgotten"] += cost
        elif random.random() < 0.2:
            await reservations.cancel(NAME, KEY, held.token, _call())
        else:
            actual = random.randint(0, 2 * MOST_COST)
            done = await reservations.commit(NAME, KEY, held.token, cost=actual, call=_call())
            told["charged"] += done.charged
            told["short"] += max(0, min(actual, cost) - done.charged)
    return told


async def main(port: int, policy: Policy, callers: int, rounds: int) -> None:
    """Let all spend, and print what came of it."""
    # Processes that all begin at once take their time to connect.
    patient = PoolPolicy(connections=2, connect_timeout=30, reply_timeout=30, unavailable_grace=30)
    pool = Pool(StoreAddress(host="127.0.0.1", port=port), patient, PoolCounters(Metrics()))
    pool.start()
    limiter = limiter_over(StandaloneStore(pool), policy)
    # Then a connection stands, and the store has the script.
    await limiter.peek(NAME, KEY, 1, _call())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    told = sum(await asyncio.gather(*(spend(limiter, rounds) for _ in range(callers))), Counter())
    await pool.close()
    sys.stdout.write(json.dumps(told))


def _call() -> Call:
    return Call("/test", deadline=after(30.0))


if __name__ == "__main__":
    _, at, algorithm_name, most, length_us, many, times = sys.argv
    asyncio.run(main(int(at), policy_of(algorithm_name, int(most), int(length_us)), int(many), int(times)))
