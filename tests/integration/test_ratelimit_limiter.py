"""The limiter over a real store."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import Reason, StoreError
from sidecar.ratelimit.calendar_windows import Calendar, CalendarUnit
from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.policy import (
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.terms import LETTERS
from sidecar.ratelimit.together import Asked
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Counter, Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from support.servers import StoreServer

    from sidecar.store.base import Command, Reply, ScriptCall, Store
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
NAMES = [policy.name for policy in POLICIES]


def state_key(name: str) -> str:
    """Return where the state of a policy's key `k` is."""
    (letter,) = [LETTERS[type(policy)].decode() for policy in POLICIES if policy.name == name]
    return f"sc:default:l{letter}:{{{name}:k}}"


class NotingStore:
    """A store that notes what may be repeated, and passes all on to the real one."""

    def __init__(self, store: StandaloneStore) -> None:
        self._store = store
        self.repeatable: list[bool] = []

    def call(self, command: Command, call: Call) -> Awaitable[Reply]:
        """Note and pass on."""
        self.repeatable.append(command.repeatable)
        return self._store.call(command, call)

    def call_many(self, commands: Sequence[Command | ScriptCall], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Note and pass on."""
        self.repeatable += [command.repeatable for command in commands]
        return self._store.call_many(commands, call)

    def get_many(self, keys: Sequence[bytes], call: Call) -> Awaitable[list[Reply | StoreError]]:
        """Pass on what may always be repeated."""
        return self._store.get_many(keys, call)

    def run(self, script_call: ScriptCall, call: Call) -> Awaitable[Reply]:
        """Note and pass on."""
        self.repeatable.append(script_call.repeatable)
        return self._store.run(script_call, call)


def a_limiter(store: Store, metrics: Metrics | None = None, clock: StoreClock | None = None) -> RateLimiter:
    """Return a limiter with a policy of each kind; none gives anything back for hours."""
    return RateLimiter(
        store=store,
        keys=KeySpace("default"),
        clock=clock or StoreClock(),
        metrics=metrics or Metrics(),
        policies=POLICIES,
        max_key_bytes=512,
    )


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(30.0))


@pytest.mark.parametrize("name", NAMES)
async def test_exactly_the_limit_is_allowed_however_many_ask_at_once(store: StandaloneStore, name: str) -> None:
    """Of fifty calls at once on a limit of ten, ten are allowed."""
    limiter = a_limiter(store)
    decisions = await asyncio.gather(*(limiter.check(name, "k", 1, a_call()) for _ in range(50)))
    assert 10 == sum(decision.allowed for decision in decisions)


@pytest.mark.parametrize("name", NAMES)
async def test_check_says_what_is_left(store: StandaloneStore, name: str) -> None:
    """An allowed call takes its cost and hears the limit and the rest."""
    decision = await a_limiter(store).check(name, "k", 3, a_call())
    assert (True, 10, 7, 0, True) == (*decision[:4], decision.reset_after_us > 0)


@pytest.mark.parametrize("name", NAMES)
async def test_refused_check_says_when_to_retry_and_costs_nothing(store: StandaloneStore, name: str) -> None:
    """What was refused is not counted: a smaller cost still fits."""
    limiter = a_limiter(store)
    await limiter.check(name, "k", 8, a_call())
    refused = await limiter.check(name, "k", 3, a_call())
    allowed = await limiter.check(name, "k", 2, a_call())
    assert (False, 2, True, True) == (refused.allowed, refused.remaining, refused.retry_after_us > 0, allowed.allowed)


@pytest.mark.parametrize("name", NAMES)
async def test_peek_takes_nothing(store: StandaloneStore, server: StoreServer, name: str) -> None:
    """A Peek answers for a fresh key, and makes none."""
    decision = await a_limiter(store).peek(name, "k", 10, a_call())
    assert (Decision(True, 10, 10, 0, 0), []) == (decision, server.oracle().keys("*"))


@pytest.mark.parametrize("name", NAMES)
async def test_reset_gives_everything_back(store: StandaloneStore, name: str) -> None:
    """After a Reset the whole limit can be taken again; only the first Reset finds something."""
    limiter = a_limiter(store)
    await limiter.check(name, "k", 10, a_call())
    existed = [await limiter.reset(name, "k", a_call()) for _ in range(2)]
    again = await limiter.check(name, "k", 10, a_call())
    assert ([True, False], True) == (existed, again.allowed)


@pytest.mark.parametrize("name", NAMES)
async def test_keys_are_limited_apart(store: StandaloneStore, name: str) -> None:
    """What one key has used is no concern of another's."""
    limiter = a_limiter(store)
    await limiter.check(name, "one", 10, a_call())
    assert (await limiter.check(name, "other", 10, a_call())).allowed


async def test_a_policy_of_another_algorithm_begins_anew(store: StandaloneStore) -> None:
    """It cannot read the other's state, which stays for the time that it would have, should the change be undone."""
    limiter = a_limiter(store)
    for policy in POLICIES:
        limiter.policies.replace([policy])
        await limiter.check(policy.name, "k", 10, a_call())
        for other in POLICIES:
            if type(other) is not type(policy):
                limiter.policies.replace([replace(other, name=policy.name)])
                assert other.limit == (await limiter.peek(policy.name, "k", 1, a_call())).remaining
        limiter.policies.replace([policy])
        assert policy.limit - 10 == (await limiter.peek(policy.name, "k", 1, a_call())).remaining


async def test_policies_are_limited_apart(store: StandaloneStore, server: StoreServer) -> None:
    """The same key under several policies is as many states, in the limiter's part of the key space."""
    limiter = a_limiter(store)
    for name in NAMES:
        await limiter.check(name, "k", 1, a_call())
    expected = {state_key(name).encode() for name in NAMES}
    assert expected == set(server.oracle().keys("*"))


async def test_only_a_peek_may_be_repeated(store: StandaloneStore) -> None:
    """A Check would cost twice, and a late copy of a Reset would wipe out later counts."""
    noting = NotingStore(store)
    limiter = a_limiter(noting)
    await limiter.check("window", "k", 1, a_call())
    await limiter.peek("window", "k", 1, a_call())
    await limiter.reset("window", "k", a_call())
    assert [False, True, False] == noting.repeatable


async def test_checks_are_counted_by_policy_and_outcome(store: StandaloneStore) -> None:
    """The metric counts Checks, and no Peeks, from zero for every policy."""
    metrics = Metrics()
    limiter = a_limiter(store, metrics)
    for cost in (6, 6, 4):
        await limiter.check("bucket", "k", cost, a_call())
    await limiter.peek("bucket", "k", 1, a_call())
    counter = metrics.families["sidecar_ratelimit_decisions"]
    assert isinstance(counter, Counter)
    assert {
        **{(name, outcome): 0 for name in NAMES for outcome in ("allowed", "denied")},
        ("bucket", "allowed"): 2,
        ("bucket", "denied"): 1,
    } == {labels: cell.value for labels, cell in counter.cells.items()}


async def test_wrong_estimate_of_the_stores_time_is_no_decision(store: StandaloneStore, server: StoreServer) -> None:
    """With a clock that is years out, a calendar's windows are not those of the store's time: nothing is counted."""
    clock = StoreClock()
    clock.observe(clock.micros() - 4 * 366 * DAY_US, time.monotonic(), time.monotonic())
    with pytest.raises(StoreError) as caught:
        await a_limiter(store, clock=clock).check("yearly", "k", 1, a_call())
    assert (Reason.STORE_UNAVAILABLE, []) == (caught.value.reason, server.oracle().keys("*"))


async def test_estimate_within_a_window_is_good_enough(store: StandaloneStore) -> None:
    """With a clock that is a year out the store still finds the window of its own time."""
    clock = StoreClock()
    right = await a_limiter(store).check("yearly", "k", 1, a_call())
    clock.observe(clock.micros() - 365 * DAY_US, time.monotonic(), time.monotonic())
    late = await a_limiter(store, clock=clock).check("yearly", "k", 1, a_call())
    assert (9, 8, True) == (right.remaining, late.remaining, late.reset_after_us <= right.reset_after_us)


@pytest.mark.parametrize("name", NAMES)
async def test_foreign_value_under_the_key_ends_the_call(
    store: StandaloneStore, server: StoreServer, name: str
) -> None:
    """A value that no sidecar wrote is neither read as a state nor replaced; a Reset removes it."""
    server.oracle().set(state_key(name), "17")
    limiter = a_limiter(store)
    with pytest.raises(StoreError) as caught:
        await limiter.check(name, "k", 1, a_call())
    assert (Reason.ENTRY_MALFORMED, True) == (caught.value.reason, await limiter.reset(name, "k", a_call()))


@pytest.mark.parametrize("name", NAMES)
async def test_key_of_another_type_ends_the_call(store: StandaloneStore, server: StoreServer, name: str) -> None:
    """A list where the state should be is a wrong type."""
    server.oracle().rpush(state_key(name), "17")
    with pytest.raises(StoreError) as caught:
        await a_limiter(store).check(name, "k", 1, a_call())
    assert Reason.WRONG_TYPE is caught.value.reason


async def test_check_many_counts_what_was_taken_and_what_refused(store: StandaloneStore) -> None:
    """All or nothing, a check that another's refusal kept from its cost counts as neither."""
    metrics = Metrics()
    limiter = a_limiter(store, metrics)
    asked = [Asked("bucket", "k", 6), Asked("log", "k", 2)]
    for _ in range(2):
        await limiter.check_many(asked, a_call(), together=True)
    await limiter.check_many(asked, a_call(), together=False)
    counter = metrics.families["sidecar_ratelimit_decisions"]
    assert isinstance(counter, Counter)
    counted = {labels: cell.value for labels, cell in counter.cells.items() if labels[0] in {"bucket", "log"}}
    assert {
        ("bucket", "allowed"): 1,
        ("bucket", "denied"): 2,
        ("log", "allowed"): 2,
        ("log", "denied"): 0,
    } == counted


async def test_no_check_of_many_may_be_repeated(store: StandaloneStore) -> None:
    """Apart or together, a second run would cost twice."""
    noting = NotingStore(store)
    asked = [Asked("bucket", "k", 1), Asked("log", "k", 1)]
    for together in (True, False):
        await a_limiter(noting).check_many(asked, a_call(), together=together)
    assert [False, False, False] == noting.repeatable
