"""Charges of policies that are not configured, over a real store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from support.charging import decide

from sidecar.errors import Reason, StoreError
from sidecar.ratelimit.calendar_windows import Calendar, CalendarUnit
from sidecar.ratelimit.charges import Charge
from sidecar.ratelimit.policy import (
    FixedWindowPolicy,
    GcraPolicy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)

if TYPE_CHECKING:
    from support.servers import StoreServer

    from sidecar.ratelimit.policy import Policy
    from sidecar.store.standalone import StandaloneStore

DAY_US = 86_400 * 1_000_000
POLICIES: list[Policy] = [
    TokenBucketPolicy(name="bucket", tokens=1, period_us=DAY_US, burst=10),
    GcraPolicy(name="gcra", tokens=1, period_us=DAY_US, burst=10),
    SlidingWindowPolicy(name="window", limit=10, window_us=DAY_US),
    SlidingLogPolicy(name="log", limit=10, window_us=DAY_US),
    FixedWindowPolicy(name="fixed", limit=10, window_us=366 * DAY_US),
    FixedWindowPolicy(name="yearly", limit=10, calendar=Calendar(CalendarUnit.YEAR, ZoneInfo("Asia/Tokyo"))),
]
KEYS = [b"{state}" + policy.name.encode() for policy in POLICIES]


def charges(*costs: int) -> list[Charge]:
    """Return a charge of each policy."""
    return [Charge(policy, key, cost) for policy, key, cost in zip(POLICIES, KEYS, costs, strict=False)]


@pytest.mark.parametrize("together", [False, True])
async def test_every_algorithm_can_be_charged(store: StandaloneStore, together: bool) -> None:  # noqa: FBT001
    """Each answers for itself, in order, and takes its own cost."""
    decided = await decide(store, charges(1, 2, 3, 4, 5, 6), together=together)
    assert [(True, 10, 9), (True, 10, 8), (True, 10, 7), (True, 10, 6), (True, 10, 5), (True, 10, 4)] == [
        decision[:3] for decision in decided
    ]


@pytest.mark.parametrize("together", [False, True])
async def test_look_takes_nothing(store: StandaloneStore, server: StoreServer, together: bool) -> None:  # noqa: FBT001
    """Without `take` no key is made."""
    decided = await decide(store, charges(*[10] * 6), take=False, together=together)
    assert ([10] * 6, []) == ([decision.remaining for decision in decided], server.oracle().keys("*"))


@pytest.mark.parametrize("refusing", range(len(POLICIES)))
async def test_together_one_refusal_charges_none(store: StandaloneStore, refusing: int) -> None:
    """Whichever limit refuses, the others keep what they had."""
    await decide(store, [charges(*[10] * 6)[refusing]], together=False)
    decided = await decide(store, charges(*[1] * 6), together=True)
    expected = [(False, 0) if place == refusing else (True, 10) for place in range(len(POLICIES))]
    assert expected == [(decision.allowed, decision.remaining) for decision in decided]


async def test_apart_a_refusal_concerns_nobody_else(store: StandaloneStore) -> None:
    """The others are charged."""
    await decide(store, charges(10), together=False)
    decided = await decide(store, charges(*[1] * 6), together=False)
    assert [(False, 0), *[(True, 9)] * 5] == [(decision.allowed, decision.remaining) for decision in decided]


async def test_same_key_twice_together_takes_the_sum(store: StandaloneStore) -> None:
    """Both hear what is left after both."""
    twice = [*charges(3), *charges(4)]
    decided = await decide(store, twice, together=True)
    assert [(True, 3), (True, 3)] == [(decision.allowed, decision.remaining) for decision in decided]


@pytest.mark.parametrize("together", [False, True])
async def test_refused_cost_is_charged_where_the_policy_says_so(store: StandaloneStore, together: bool) -> None:  # noqa: FBT001
    """Even one above the limit."""
    counting = FixedWindowPolicy(name="f", limit=10, window_us=366 * DAY_US, charge_refused=True)
    asked = [Charge(counting, b"{c}1", 11), Charge(counting, b"{c}2", 1)]
    first = await decide(store, asked, together=together)
    after_it = await decide(store, [Charge(counting, b"{c}1", 1)], together=together)
    assert [(False, 0), (False, 0)] == [first[0][:1] + first[0][2:3], after_it[0][:1] + after_it[0][2:3]]


async def test_all_or_nothing_is_exact_however_many_ask_at_once(store: StandaloneStore) -> None:
    """Of fifty calls on limits of ten, ten are allowed, and no limit is charged for the others."""
    decided = await asyncio.gather(*(decide(store, charges(*[1] * 6), together=True) for _ in range(50)))
    allowed = sum(all(decision.allowed for decision in decisions) for decisions in decided)
    looked = await decide(store, charges(*[1] * 6), take=False, together=True)
    assert (10, [0] * 6) == (allowed, [decision.remaining for decision in looked])


async def test_foreign_value_under_one_key_charges_none(store: StandaloneStore, server: StoreServer) -> None:
    """The call ends with an error, and the limits before it keep what they had."""
    server.oracle().set(KEYS[2], "17")
    with pytest.raises(StoreError) as caught:
        await decide(store, charges(*[1] * 6), together=True)
    assert (Reason.ENTRY_MALFORMED, [KEYS[2]]) == (caught.value.reason, server.oracle().keys("*"))
