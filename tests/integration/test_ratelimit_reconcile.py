"""What local shares let through is charged to a real store once it is back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import Reason, StoreError
from sidecar.ratelimit.calendar_windows import Calendar, CalendarUnit
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.outage import OnFailure
from sidecar.ratelimit.policy import (
    CombinedPolicy,
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.reconcile import Reconciler
from sidecar.ratelimit.stand_in import StandIns
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Counter, Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from support.servers import StoreServer

    from sidecar.ratelimit.policy_book import AnyPolicy
    from sidecar.store.base import Command, Reply, ScriptCall
    from sidecar.store.standalone import StandaloneStore

DAY_US = 86_400 * 1_000_000
POLICIES = (
    SlidingWindowPolicy(name="window", limit=10, window_us=DAY_US),
    TokenBucketPolicy(name="bucket", tokens=1, period_us=DAY_US, burst=10),
    GcraPolicy(name="gcra", tokens=1, period_us=DAY_US, burst=10),
    SlidingLogPolicy(name="log", limit=10, window_us=DAY_US),
    FixedWindowPolicy(name="fixed", limit=10, window_us=366 * DAY_US),
    FixedWindowPolicy(name="yearly", limit=10, calendar=Calendar(CalendarUnit.YEAR, ZoneInfo("Asia/Tokyo"))),
)
BOTH = CombinedPolicy(name="both", limits=(POLICIES[1], SlidingWindowPolicy(name="hour", limit=8, window_us=DAY_US)))
NAMES = [policy.name for policy in POLICIES]


class Outage:
    """A store that can be out, with the real one behind it, and a limiter over both."""

    def __init__(self, store: StandaloneStore) -> None:
        self._store = store
        self.out: Reason | None = None
        self.clock = StoreClock()
        self.metrics = Metrics()
        policies: list[AnyPolicy] = [*POLICIES, BOTH]
        stand_ins = StandIns(
            clock=self.clock,
            metrics=self.metrics,
            modes={policy.name: OnFailure.LOCAL_SHARE for policy in policies},
            live=lambda: 1,
        )
        self.states = stand_ins.states
        self.reconciler = Reconciler(store=self, states=stand_ins.states, metrics=self.metrics)
        self.limiter = RateLimiter(
            store=self,
            keys=KeySpace("default"),
            clock=self.clock,
            metrics=self.metrics,
            policies=policies,
            max_key_bytes=512,
            stand_ins=stand_ins,
        )

    async def take(self, name: str, cost: int, *, out: bool) -> None:
        """Take from a policy's one key, with or without the store."""
        self.out = Reason.STORE_UNAVAILABLE if out else None
        decision = await self.limiter.check(name, "k", cost, a_call())
        assert decision.allowed
        self.out = None

    async def remaining(self, name: str) -> int:
        """Return what the store says is left."""
        return (await self.limiter.peek(name, "k", 1, a_call())).remaining

    def amounts(self, name: str) -> list[int]:
        """Return what was charged and what was lost of a policy."""
        counter = self.metrics.families["sidecar_ratelimit_reconciled"]
        assert isinstance(counter, Counter)
        return [counter.cell(name, outcome).value for outcome in ("charged", "lost")]

    # --- the store ---

    def _check(self) -> None:
        if self.out is not None:
            raise StoreError(self.out, "it is out")

    async def call(self, command: Command, call: Call) -> Reply:
        """Pass on, or fail."""
        self._check()
        return await self._store.call(command, call)

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Pass on, or fail."""
        self._check()
        return await self._store.run(script_call, call)

    async def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> list[Reply | StoreError]:
        """Pass on, or fail each."""
        if self.out is not None:
            return [StoreError(self.out, "it is out") for _ in commands]
        return await self._store.call_many(commands, call)

    def get_many(self, keys: Sequence[bytes], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Pass on."""
        return self._store.get_many(keys, call)


@pytest.fixture
def outage(store: StandaloneStore) -> Outage:
    """Return a store that can be out."""
    return Outage(store)


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(30.0))


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_let_through_is_charged(outage: Outage, name: str) -> None:
    """By every algorithm; then nothing is counted here any more, and nothing is charged twice."""
    await outage.take(name, 3, out=False)
    await outage.take(name, 4, out=True)
    for _ in range(2):
        await outage.reconciler.reconcile()
    assert (3, 0, [4, 0]) == (await outage.remaining(name), len(outage.states), outage.amounts(name))


@pytest.mark.parametrize("name", NAMES)
async def test_what_the_store_has_not_left_is_lost(outage: Outage, name: str) -> None:
    """It is charged with all it has."""
    await outage.take(name, 7, out=False)
    await outage.take(name, 8, out=True)
    await outage.reconciler.reconcile()
    assert (0, [3, 5]) == (await outage.remaining(name), outage.amounts(name))


async def test_each_limit_is_charged_with_what_counts_of_it(outage: Outage) -> None:
    """One that is full does not keep the other from it."""
    await outage.take("both", 6, out=False)
    await outage.take("both", 3, out=True)
    await outage.reconciler.reconcile()
    decision = await outage.limiter.peek("both", "k", 1, a_call())
    assert [("bucket", 1), ("hour", 0)] == [(part.name, part.remaining) for part in decision.limits]
    assert [5, 1] == outage.amounts("both")


async def test_what_counts_no_more_is_not_charged(outage: Outage, server: StoreServer) -> None:
    """A key's window may have passed since."""
    await outage.take("window", 4, out=True)
    now = time.monotonic()
    outage.clock.observe(outage.clock.micros() + 2 * DAY_US, now, now)
    await outage.reconciler.reconcile()
    assert (0, []) == (len(outage.states), server.oracle().keys("*"))


async def test_a_store_that_goes_again_loses_nothing(outage: Outage) -> None:
    """What was not sent stays counted here, for all keys, and is charged the next time."""
    for number in range(100):
        outage.out = Reason.STORE_UNAVAILABLE
        await outage.limiter.check("window", f"k{number}", 1, a_call())
    await outage.reconciler.reconcile()
    assert 100 == len(outage.states)
    outage.out = None
    await outage.reconciler.reconcile()
    assert (0, [100, 0]) == (len(outage.states), outage.amounts("window"))


async def test_a_charge_that_may_have_been_made_is_not_repeated(outage: Outage) -> None:
    """It counts as lost."""
    await outage.take("window", 4, out=True)
    outage.out = Reason.OUTCOME_UNKNOWN
    await outage.reconciler.reconcile()
    assert (0, [0, 4]) == (len(outage.states), outage.amounts("window"))


async def test_a_reset_forgets_what_was_counted_here(outage: Outage) -> None:
    """Or it would come back as a charge."""
    await outage.take("window", 4, out=True)
    await outage.limiter.reset("window", "k", a_call())
    await outage.reconciler.reconcile()
    assert 10 == await outage.remaining("window")


async def test_it_waits_for_the_store(outage: Outage) -> None:
    """It charges when it hears that the store serves, and until then not."""
    await outage.take("window", 4, out=True)
    outage.reconciler.start()
    outage.reconciler.on_serving(False)
    outage.reconciler.on_serving(True)
    until = time.monotonic() + 30
    while await outage.remaining("window") == 10:
        assert time.monotonic() < until
    await outage.reconciler.stop()
    assert 6 == await outage.remaining("window")
