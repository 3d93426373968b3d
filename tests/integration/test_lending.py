"""Leases over a real store: what is borrowed, spent without it, and given back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from sidecar.call import Call
from sidecar.clock import MICROS_PER_SECOND, StoreClock, after
from sidecar.errors import Reason, SidecarError, StoreError
from sidecar.ratelimit.decision import Decision, Enforcement
from sidecar.ratelimit.exceptions import Rules
from sidecar.ratelimit.lease import LeasePolicy
from sidecar.ratelimit.lease_book import LeaseBook
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.outage import OnFailure
from sidecar.ratelimit.overrides import Effect, Numbers, Override
from sidecar.ratelimit.policy import FixedWindowPolicy, GcraPolicy, TokenBucketPolicy
from sidecar.ratelimit.stand_in import StandIns
from sidecar.ratelimit.together import Asked
from sidecar.store.base import ScriptCall
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Counter, Gauge, Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from support.servers import StoreServer

    from sidecar.store.base import Command, Reply
    from sidecar.store.standalone import StandaloneStore

DAY_US = 86_400 * MICROS_PER_SECOND
LIMIT, MOST, LIVE = 100, 20, 3
POLICIES = (
    TokenBucketPolicy(name="bucket", tokens=1, period_us=DAY_US, burst=LIMIT),
    GcraPolicy(name="gcra", tokens=1, period_us=DAY_US, burst=LIMIT),
    FixedWindowPolicy(name="fixed", limit=LIMIT, window_us=366 * DAY_US),
)
NAMES = [policy.name for policy in POLICIES]
# So long that no test's own time ends a lease.
TTL_SECONDS = 10
LEASE = LeasePolicy(max_fraction=0.2, ttl_us=TTL_SECONDS * MICROS_PER_SECOND)


class ListeningStore:
    """A store that counts what passes, and can keep what comes back from it until a test lets it go."""

    def __init__(self, store: StandaloneStore) -> None:
        self._store = store
        self.names: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.failing: SidecarError | None = None

    async def run(self, script_call: ScriptCall, call: Call) -> Reply:
        """Note, pass on, and answer when the door is open."""
        self.names.append(script_call.script.name)
        if self.failing is not None:
            raise self.failing
        reply = await self._store.run(script_call, call)
        await self.open.wait()
        return reply

    def call(self, command: Command, call: Call) -> Awaitable[Reply]:
        """Pass on."""
        return self._store.call(command, call)

    def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Note and pass on."""
        self.names += [command.script.name for command in commands if isinstance(command, ScriptCall)]
        if self.failing is not None:
            raise self.failing
        return self._store.call_many(commands, call)

    def get_many(self, keys: Sequence[bytes], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Pass on."""
        return self._store.get_many(keys, call)


class Sidecar:
    """A limiter with leases, whose monotonic clock a test moves on."""

    def __init__(
        self,
        store: StandaloneStore,
        *,
        rules: Mapping[str, Rules] | None = None,
        modes: Mapping[str, OnFailure] | None = None,
        most: int = 10_000,
    ) -> None:
        self.store: Any = ListeningStore(store)
        self.ahead_ns = 0
        self.metrics = Metrics()
        self.clock = StoreClock()
        self.book = LeaseBook(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            policies=dict.fromkeys(NAMES, LEASE),
            live=lambda: LIVE,
            monotonic_ns=lambda: time.monotonic_ns() + self.ahead_ns,
            most=most,
        )
        self.limiter = RateLimiter(
            store=self.store,
            keys=KeySpace("default"),
            clock=self.clock,
            metrics=self.metrics,
            policies=POLICIES,
            rules=rules,
            max_key_bytes=512,
            stand_ins=StandIns(clock=self.clock, metrics=self.metrics, modes=modes or {}, live=lambda: LIVE),
            leases=self.book,
        )

    async def check(self, name: str, cost: int = 1, key: str = "k") -> Decision:
        """Check."""
        return await self.limiter.check(name, key, cost, a_call())

    async def checks(self, name: str, times: int, key: str = "k") -> int:
        """Check so often, one after another; return how many were allowed."""
        return sum([(await self.check(name, key=key)).allowed for _ in range(times)])

    async def left(self, name: str, key: str = "k") -> int:
        """Return what the store has left."""
        return (await self.limiter.peek(name, key, 1, a_call())).remaining

    def held(self, name: str) -> int:
        """Return what is borrowed and not spent."""
        gauge = self.metrics.families["sidecar_ratelimit_lease_size"]
        assert isinstance(gauge, Gauge)
        return int(gauge.read().get((name,), 0))

    def counted(self, name: str) -> tuple[int, int, int]:
        """Return what was lent, spent and returned, by the metric."""
        counter = self.metrics.families["sidecar_ratelimit_lease_tokens"]
        assert isinstance(counter, Counter)
        lent, spent, returned = (counter.cell(name, outcome).value for outcome in ("lent", "spent", "returned"))
        return lent, spent, returned

    async def settled(self) -> None:
        """Wait until no loan and no return is under way."""
        while self.book._tasks:
            await asyncio.wait(self.book._tasks)
        await self.book.returns.drain()

    async def pass_ttl(self) -> None:
        """Let the leases' time be over, and have what is left go back."""
        self.ahead_ns += (TTL_SECONDS + 1) * 10**9
        self.book.sweep()
        await self.settled()


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(5.0))


@pytest.fixture
async def sidecar(store: StandaloneStore) -> Any:
    """Return a sidecar that is stopped in the end."""
    made = Sidecar(store)
    yield made
    made.store.open.set()
    await made.book.close()


@pytest.mark.parametrize("name", NAMES)
async def test_a_hot_key_is_served_without_the_store(sidecar: Sidecar, name: str) -> None:
    """The first Check asks, the second borrows, and thirty-seven ask six times: for 1, 2, 4, 8 and 16 more."""
    assert 37 == await sidecar.checks(name, 37)
    asked = [script for script in sidecar.store.names if script != "lend_tokens"]
    assert (1, 5) == (len(asked), sidecar.store.names.count("lend_tokens"))


@pytest.mark.parametrize("name", NAMES)
async def test_what_a_leased_call_is_told(sidecar: Sidecar, name: str) -> None:
    """What the store had left and what is left of the lease; what all live sidecars may hold, of a window nothing."""
    told = [await sidecar.check(name) for _ in range(5)]
    assert [True] * 5 == [decision.allowed for decision in told]
    assert [LIMIT - number for number in range(1, 6)] == [decision.remaining for decision in told]
    by_store, by_lease = Enforcement.STORE, Enforcement.LEASE
    assert [by_store, by_store, by_lease, by_store, by_lease] == [decision.enforcement for decision in told]
    over = 0 if name == "fixed" else LIVE * MOST
    assert [0, 0, over, 0, over] == [decision.max_overshoot for decision in told]
    assert told[2].reset_after_us == pytest.approx(told[1].reset_after_us, abs=5 * MICROS_PER_SECOND)


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_lent_is_charged_and_what_was_not_spent_returns(sidecar: Sidecar, name: str) -> None:
    """While it is held the store counts it as taken; a ttl later it does not."""
    await sidecar.checks(name, 7)
    held = sidecar.held(name)
    assert (4, LIMIT - 7 - held) == (held, await sidecar.left(name))
    await sidecar.pass_ttl()
    assert (0, LIMIT - 7) == (sidecar.held(name), await sidecar.left(name))
    assert (7, 3, 4) == sidecar.counted(name)


async def test_a_lease_ends_by_itself(store: StandaloneStore) -> None:
    """A timer sees to that: nobody need ask again."""
    sidecar = Sidecar(store)
    sidecar.book.replace({"bucket": LeasePolicy(max_fraction=0.2, ttl_us=20_000)})
    sidecar.limiter.policies.replace(POLICIES)
    await sidecar.checks("bucket", 2)
    async with asyncio.timeout(5):
        while sidecar.held("bucket") or len(sidecar.book._used) or sidecar.counted("bucket")[2] < 1:
            await asyncio.sleep(0.001)
    assert LIMIT - 2 == await sidecar.left("bucket")
    await sidecar.book.close()


@pytest.mark.parametrize("name", NAMES)
async def test_exactly_the_limit_is_allowed_however_many_ask_at_once(sidecar: Sidecar, name: str) -> None:
    """One process lends and spends no more than there is, and all of it."""
    decisions = await asyncio.gather(*(sidecar.checks(name, 10) for _ in range(50)))
    assert (LIMIT, 0) == (sum(decisions) + sidecar.held(name), await sidecar.left(name))
    assert LIMIT == sum(decisions) + await sidecar.checks(name, MOST)


@pytest.mark.parametrize("name", NAMES)
async def test_a_refused_call_borrows_nothing(sidecar: Sidecar, name: str) -> None:
    """And for a while nothing is tried: those at their limit ask as ever."""
    await sidecar.checks(name, LIMIT + 2)
    sidecar.store.names.clear()
    decision = await sidecar.check(name)
    assert (False, 0, Enforcement.STORE) == (decision.allowed, decision.remaining, decision.enforcement)
    await sidecar.checks(name, 9)
    assert 0 == sidecar.store.names.count("lend_tokens")


async def test_a_cancelled_caller_loses_no_loan(sidecar: Sidecar) -> None:
    """The answer comes after it has gone, and what was lent is there for others; nothing was lent twice."""
    await sidecar.check("bucket")
    sidecar.store.open.clear()
    caller = asyncio.create_task(sidecar.check("bucket"))
    while "lend_tokens" not in sidecar.store.names:
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    sidecar.store.open.set()
    await sidecar.settled()
    assert 1 == sidecar.held("bucket")
    assert Enforcement.LEASE is (await sidecar.check("bucket")).enforcement


async def test_cancelled_at_random_nothing_is_lost_or_made(sidecar: Sidecar) -> None:
    """What was lent was spent or went back, and the store agrees, whoever gave up when."""
    allowed = 0
    for number in range(300):
        callers = [asyncio.create_task(sidecar.check("gcra", key=f"k{number}")) for _ in range(6)]
        for _ in range(number % 7):
            await asyncio.sleep(0)
        for caller in callers[number % 3 :: 3]:
            caller.cancel()
        done = await asyncio.gather(*callers, return_exceptions=True)
        allowed += sum(isinstance(each, Decision) and each.enforcement is Enforcement.LEASE for each in done)
    await sidecar.settled()
    await sidecar.pass_ttl()
    lent, spent, returned = sidecar.counted("gcra")
    assert (lent, 0) == (spent + returned, sidecar.held("gcra"))
    assert allowed <= spent


async def test_while_one_borrows_others_ask(sidecar: Sidecar) -> None:
    """Never two at a time, and nobody waits for another."""
    await sidecar.check("bucket")
    await asyncio.gather(*(sidecar.check("bucket") for _ in range(10)))
    assert 1 == sidecar.store.names.count("lend_tokens")
    assert 10 == sidecar.store.names.count("check_token_bucket")


@pytest.mark.parametrize("name", NAMES)
async def test_a_reset_drops_the_lease(sidecar: Sidecar, name: str) -> None:
    """Its whole allowance is back, and no return makes it more."""
    await sidecar.checks(name, 7)
    await sidecar.limiter.reset(name, "k", a_call())
    assert (0, LIMIT) == (sidecar.held(name), await sidecar.left(name))
    await sidecar.check(name, 50)
    await sidecar.pass_ttl()
    assert (LIMIT - 50, 0) == (await sidecar.left(name), sidecar.counted(name)[2])


async def test_a_loan_that_a_reset_overtakes_is_worth_nothing(sidecar: Sidecar) -> None:
    """It was of the allowance before."""
    await sidecar.check("bucket")
    sidecar.store.open.clear()
    caller = asyncio.create_task(sidecar.check("bucket"))
    while "lend_tokens" not in sidecar.store.names:
        await asyncio.sleep(0)
    await sidecar.limiter.reset("bucket", "k", a_call())
    sidecar.store.open.set()
    assert (await caller).allowed
    await sidecar.settled()
    assert 0 == sidecar.held("bucket")


async def test_an_override_ends_the_lease(sidecar: Sidecar) -> None:
    """What is left goes back, and the key is not lent from while it holds."""
    await sidecar.checks("bucket", 7)
    override = Override(
        policy="bucket",
        key="k",
        effect=Effect.NUMBERS,
        numbers=(Numbers(name="", limit=200),),
        ends_us=sidecar.clock.micros() + DAY_US,
    )
    sidecar.limiter.policies.override([override])
    await sidecar.settled()
    sidecar.store.names.clear()
    decision = await sidecar.check("bucket")
    assert (200, LIMIT - 8) == (decision.limit, decision.remaining)
    await sidecar.checks("bucket", 5)
    assert (0, 0) == (sidecar.held("bucket"), sidecar.store.names.count("lend_tokens"))


async def test_keys_of_the_lists_are_not_lent_from(store: StandaloneStore) -> None:
    """They are decided without the store as ever."""
    sidecar = Sidecar(store, rules={"bucket": Rules(denied_keys=("k",), near_limit=0.5)})
    assert 0 == await sidecar.checks("bucket", 5)
    assert 60 == await sidecar.checks("bucket", 60, key="other")
    near = sidecar.metrics.families["sidecar_ratelimit_near_limit"]
    assert isinstance(near, Counter)
    assert 11 == near.cell("bucket").value
    await sidecar.book.close()


async def test_other_policies_end_all_leases(sidecar: Sidecar) -> None:
    """What they held goes back by the policies that it was borrowed of; a loan that comes late goes back too."""
    await sidecar.checks("bucket", 7)
    await sidecar.check("bucket", key="late")
    sidecar.store.open.clear()
    caller = asyncio.create_task(sidecar.check("bucket", key="late"))
    while sidecar.store.names[-1] != "lend_tokens":
        await asyncio.sleep(0)
    sidecar.book.replace({})
    sidecar.limiter.policies.replace(POLICIES)
    sidecar.store.open.set()
    assert (await caller).allowed
    await sidecar.settled()
    assert (LIMIT - 7, LIMIT - 2) == (await sidecar.left("bucket"), await sidecar.left("bucket", "late"))
    sidecar.store.names.clear()
    await sidecar.checks("bucket", 5)
    assert {"check_token_bucket"} == set(sidecar.store.names)


async def test_who_stops_gives_back(store: StandaloneStore) -> None:
    """Also what is being lent just then."""
    sidecar = Sidecar(store)
    await sidecar.checks("gcra", 7)
    await sidecar.check("gcra", key="late")
    sidecar.store.open.clear()
    caller = asyncio.create_task(sidecar.check("gcra", key="late"))
    while sidecar.store.names[-1] != "lend_tokens":
        await asyncio.sleep(0)
    closing = asyncio.create_task(sidecar.book.close())
    await asyncio.sleep(0)
    sidecar.store.open.set()
    await closing
    assert (await caller).allowed
    assert (LIMIT - 7, LIMIT - 2) == (await sidecar.left("gcra"), await sidecar.left("gcra", "late"))


async def test_so_many_keys_are_held_and_no_more(store: StandaloneStore) -> None:
    """The one that borrowed longest ago gives way, and gives back."""
    sidecar = Sidecar(store, most=3)
    for key in "abcd":
        await sidecar.checks("bucket", 2, key)
    await sidecar.settled()
    sidecar.book.returns.send()
    await sidecar.settled()
    assert [98, 97, 97, 97] == [await sidecar.left("bucket", key) for key in "abcd"]
    assert 3 == sidecar.held("bucket")
    await sidecar.book.close()


async def test_what_was_given_up_early_takes_no_room(store: StandaloneStore) -> None:
    """A lease that is dropped before its end is not remembered until then."""
    sidecar = Sidecar(store, most=3)
    for _ in range(20):
        await sidecar.checks("bucket", 2)
        await sidecar.limiter.reset("bucket", "k", a_call())
    assert len(sidecar.book._due) <= 2 * 3
    await sidecar.book.close()


async def test_keys_that_come_once_push_nobody_out(store: StandaloneStore) -> None:
    """They are not leased, and of them only the last are remembered."""
    sidecar = Sidecar(store, most=3)
    await sidecar.checks("bucket", 2)
    for number in range(10):
        await sidecar.check("bucket", key=f"once{number}")
    assert (1, 3) == (sidecar.held("bucket"), len(sidecar.book._seen))
    await sidecar.book.close()


async def test_a_cold_key_is_asked_for(sidecar: Sidecar) -> None:
    """Who comes once in a longer time than the ttl never borrows."""
    for _ in range(4):
        await sidecar.check("bucket")
        await sidecar.pass_ttl()
    assert 0 == sidecar.store.names.count("lend_tokens")


async def test_a_call_that_costs_nothing_borrows_nothing(sidecar: Sidecar) -> None:
    """It is answered all the same."""
    assert [True] * 3 == [(await sidecar.check("bucket", 0)).allowed for _ in range(3)]
    assert 0 == sidecar.store.names.count("lend_tokens")


@pytest.mark.parametrize("name", NAMES)
async def test_what_can_never_be_allowed_is_an_error(sidecar: Sidecar, name: str) -> None:
    """Also of a hot key."""
    await sidecar.checks(name, 3)
    with pytest.raises(SidecarError) as caught:
        await sidecar.check(name, LIMIT + 1)
    assert Reason.COST_ABOVE_LIMIT is caught.value.reason


@pytest.mark.parametrize(("key", "reason"), [("", Reason.KEY_EMPTY), ("k" * 513, Reason.KEY_TOO_LONG)])
async def test_what_no_key_can_be_is_an_error(sidecar: Sidecar, key: str, reason: Reason) -> None:
    """As without leases."""
    with pytest.raises(SidecarError) as caught:
        await sidecar.check("bucket", key=key)
    assert reason is caught.value.reason


async def test_a_cost_above_what_is_left_of_a_lease_asks(sidecar: Sidecar) -> None:
    """What is left stays, and no more than the most is ever held."""
    await sidecar.checks("bucket", 20)
    assert (await sidecar.check("bucket", 30)).allowed
    assert 0 < sidecar.held("bucket") <= MOST
    assert LIMIT - 50 == sidecar.held("bucket") + await sidecar.left("bucket")


async def test_each_of_several_checks_spends(sidecar: Sidecar) -> None:
    """A batch spends what is held, asks beyond it, and has the lease refilled beside."""
    asked = [Asked("bucket", "k", 1)] * 3
    for _ in range(6):
        await sidecar.limiter.check_many(asked, a_call(), together=False)
        await sidecar.settled()
    sidecar.store.names.clear()
    decisions = await sidecar.limiter.check_many(asked, a_call(), together=False)
    assert [Enforcement.LEASE] * 3 == [one.enforcement for one in decisions if isinstance(one, Decision)]
    assert [] == sidecar.store.names
    await sidecar.pass_ttl()
    assert LIMIT - 21 == await sidecar.left("bucket")


async def test_all_or_nothing_asks_the_store(sidecar: Sidecar) -> None:
    """Which knows of the lease as of any other taking."""
    await sidecar.checks("bucket", 7)
    (decision,) = await sidecar.limiter.check_many([Asked("bucket", "k", 1)], a_call(), together=True)
    assert isinstance(decision, Decision)
    assert (Enforcement.STORE, LIMIT - 7 - 4 - 1) == (decision.enforcement, decision.remaining)


async def test_a_loan_that_fails_is_the_calls_own_failure(sidecar: Sidecar) -> None:
    """What is held serves on meanwhile, and when the store is back it lends again."""
    await sidecar.checks("bucket", 2)
    sidecar.store.failing = StoreError(Reason.STORE_UNAVAILABLE, "gone")
    assert Enforcement.LEASE is (await sidecar.check("bucket")).enforcement
    with pytest.raises(StoreError):
        await sidecar.check("bucket")
    sidecar.store.failing = None
    assert 5 == await sidecar.checks("bucket", 5)
    assert 0 < sidecar.held("bucket")


async def test_what_stands_in_for_the_store_decides_where_a_loan_fails(store: StandaloneStore) -> None:
    """As the policy's `on_failure` says."""
    sidecar = Sidecar(store, modes={"bucket": OnFailure.OPEN})
    await sidecar.checks("bucket", 3)
    sidecar.store.failing = StoreError(Reason.OUTCOME_UNKNOWN, "lost")
    assert Enforcement.FAILED_OPEN is (await sidecar.check("bucket")).enforcement
    await sidecar.book.close()


async def test_a_return_is_not_repeated(server: StoreServer, store: StandaloneStore) -> None:
    """What a store that is gone was not told of is not told it later: it is not used."""
    sidecar = Sidecar(store)
    await sidecar.checks("bucket", 7)
    server.kill()
    await sidecar.book.close()
    assert (0, 0) == (sidecar.held("bucket"), len(sidecar.book.returns))


async def test_who_stops_does_not_wait_for_a_store_that_is_gone(store: StandaloneStore) -> None:
    """It is told of one batch of returns, and when that fails of no other."""
    sidecar = Sidecar(store)
    for number in range(100):
        await sidecar.checks("bucket", 2, key=f"k{number}")
    sidecar.store.failing = StoreError(Reason.STORE_UNAVAILABLE, "gone")
    await sidecar.book.close()
    assert (64, 0) == (sidecar.store.names.count("return_tokens"), len(sidecar.book.returns))
