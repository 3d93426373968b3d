"""Reservations under fire, and what only shows beside the API: what may be repeated, and what is counted."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.limit_takers import KEY, NAME, a_window_without_an_edge_now, policy_of
from support.many_processes import PATIENCE_SECONDS, outputs_of
from support.reservation_makers import RULES, TTL_MS, limiter_over

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import Reason, SidecarError
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.policy import SlidingLogPolicy
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Counter as MetricsCounter
from sidecar.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from support.servers import StoreServer

    from sidecar.errors import StoreError
    from sidecar.store.base import Command, Reply, ScriptCall, Store
    from sidecar.store.standalone import StandaloneStore

CALLERS, ROUNDS = 50, 4
# Less than half of what the callers ask for.
LIMIT = 2_000
DAY_US = 86_400 * 1_000_000
pytestmark = [pytest.mark.alone, pytest.mark.timeout(2 * PATIENCE_SECONDS)]


class Watch:
    """Looks again and again at what is charged and held, while others spend."""

    def __init__(self, server: StoreServer) -> None:
        self._oracle: Any = server.oracle()
        self.most_seen = 0
        self.looks = 0

    def look(self) -> None:
        """Add what is held to what the sliding log has, at one moment."""
        pipe = self._oracle.pipeline(transaction=True)
        pipe.get(f"sc:default:ll:{{{NAME}:{KEY}}}")
        pipe.zscore(f"sc:default:ll:{{{NAME}:{KEY}}}:h", "used")
        log, held = pipe.execute()
        # The last entry's sum of all costs (sidecar/store/lua/includes/sliding_log.lua): none has left the window.
        charged = int.from_bytes(log[-7:], "big") if log else 0
        self.most_seen = max(self.most_seen, charged - int(held or 0))
        self.looks += 1

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(0.002)


async def under_fire(port: int, algorithm: str, window_us: int) -> Counter[str]:
    """Let all callers of all processes begin at once, and return what came of it once they are done."""
    outputs = await outputs_of("support.reservation_makers", port, algorithm, LIMIT, window_us, CALLERS, ROUNDS)
    return sum((Counter(json.loads(output)) for output in outputs), Counter())


@pytest.mark.parametrize("algorithm", ["token_bucket", "gcra", "sliding_window", "sliding_log", "fixed_window"])
async def test_what_is_charged_is_never_above_the_limit(
    server: StoreServer, store: StandaloneStore, algorithm: str
) -> None:
    """Four hundred callers in eight processes reserve, commit, cancel, check and die.

    What they were charged is what the limit has taken, to the last one; and no commit of no more than was reserved
    falls short.
    """
    window_us = a_window_without_an_edge_now() if "window" in algorithm or "log" in algorithm else DAY_US
    told = await under_fire(server.port, algorithm, window_us)
    await asyncio.sleep(TTL_MS / 1_000)  # for the dead callers' holds
    limiter = limiter_over(store, policy_of(algorithm, LIMIT, window_us))
    left = await limiter.peek(NAME, KEY, 1, call())
    assert (LIMIT - told["charged"], 0) == (left.remaining, told["short"])
    assert told["refused"] > 0


async def test_charged_and_held_are_never_above_the_limit_together(server: StoreServer) -> None:
    """At no moment that an onlooker sees, while eight processes spend; and nearly all of it is given out."""
    watch = Watch(server)
    looking = asyncio.create_task(watch.run())
    told = await under_fire(server.port, "sliding_log", a_window_without_an_edge_now())
    looking.cancel()
    assert (True, True) == (LIMIT * 0.9 < watch.most_seen <= LIMIT, watch.looks > 10), told


class NotingStore:
    """A store that notes what may be repeated, and passes all on to the real one."""

    def __init__(self, store: StandaloneStore) -> None:
        self._store = store
        self.repeatable: list[bool] = []

    def call(self, command: Command, call: Call) -> Awaitable[Reply]:
        """Pass on."""
        return self._store.call(command, call)

    def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Pass on."""
        return self._store.call_many(commands, call)

    def get_many(self, keys: Sequence[bytes], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Pass on."""
        return self._store.get_many(keys, call)

    def run(self, script_call: ScriptCall, call: Call) -> Awaitable[Reply]:
        """Note and pass on."""
        self.repeatable.append(script_call.repeatable)
        return self._store.run(script_call, call)


def call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(30.0))


def a_limiter(store: Store, metrics: Metrics | None = None) -> RateLimiter:
    """Return a limiter whose policy has reservations."""
    return RateLimiter(
        store=store,
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=metrics or Metrics(),
        policies=[SlidingLogPolicy(name=NAME, limit=10, window_us=DAY_US)],
        rules=RULES,
        max_key_bytes=512,
    )


async def reserve(limiter: RateLimiter, cost: int, name: str = "") -> str:
    """Reserve; return the token."""
    held = await limiter.reservations.reserve(NAME, KEY, cost=cost, ttl_ms=60_000, reservation_id=name, call=call())
    return held.token


async def test_what_may_be_repeated(store: StandaloneStore) -> None:
    """A Reserve that the caller has named and a Cancel; never a Commit, nor a Reserve without a name."""
    noting = NotingStore(store)
    limiter = a_limiter(noting)
    named, unnamed = await reserve(limiter, 1, "export"), await reserve(limiter, 1)
    await limiter.reservations.cancel(NAME, KEY, named, call())
    await limiter.reservations.commit(NAME, KEY, unnamed, cost=None, call=call())
    assert [True, False, True, False] == noting.repeatable


async def test_what_became_of_reservations_is_counted(store: StandaloneStore) -> None:
    """By policy, with what commits fell short of; a Reserve is a decision as a Check is."""
    metrics = Metrics()
    limiter = a_limiter(store, metrics)
    tokens = [await reserve(limiter, 4) for _ in range(3)]
    await limiter.reservations.commit(NAME, KEY, tokens[0], cost=9, call=call())
    await limiter.reservations.cancel(NAME, KEY, tokens[1], call())
    with pytest.raises(SidecarError) as caught:
        await limiter.reservations.cancel(NAME, KEY, tokens[1], call())
    counted = {
        (family.name, *labels): cell.value
        for family in metrics.families.values()
        if isinstance(family, MetricsCounter)
        for labels, cell in family.cells.items()
        if cell.value
    }
    assert (Reason.RESERVATION_UNKNOWN, "") == (caught.value.reason, tokens[2])
    assert {
        ("sidecar_ratelimit_decisions", NAME, "allowed"): 2,
        ("sidecar_ratelimit_decisions", NAME, "denied"): 1,
        ("sidecar_ratelimit_reservations", NAME, "reserved"): 2,
        ("sidecar_ratelimit_reservations", NAME, "committed"): 1,
        ("sidecar_ratelimit_reservations", NAME, "cancelled"): 1,
        ("sidecar_ratelimit_reservation_shortfall", NAME): 3,
    } == counted
