"""Slots over a real store: what is leased, released, renewed, counted and repeated, and never too much of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sidecar.call import Call
from sidecar.clock import StoreClock, after
from sidecar.errors import Reason, SidecarError
from sidecar.ratelimit.decision import Decision
from sidecar.ratelimit.limiter import RateLimiter
from sidecar.ratelimit.slots_policy import ConcurrencyPolicy
from sidecar.store.keys import KeySpace
from sidecar.telemetry.metrics import Counter, Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from support.servers import StoreServer

    from sidecar.errors import StoreError
    from sidecar.ratelimit.slots import Acquired, Slots
    from sidecar.store.base import Command, Reply, ScriptCall, Store
    from sidecar.store.standalone import StandaloneStore

pytestmark = pytest.mark.alone

LIMIT = 4
MINUTE_US = 60 * 1_000_000
PROJECT = Path(__file__).parents[2]

PROCESSES, HOLDERS, ROUNDS, DEAD = 8, 50, 2, 1


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


def a_limiter(store: Store, metrics: Metrics | None = None) -> RateLimiter:
    """Return a limiter with four slots leased for a minute, and one leased for 400 ms."""
    return RateLimiter(
        store=store,
        keys=KeySpace("default"),
        clock=StoreClock(),
        metrics=metrics or Metrics(),
        policies=[
            ConcurrencyPolicy(name="reports", limit=LIMIT, lease_ms=60_000, max_lease_ms=600_000),
            ConcurrencyPolicy(name="brief", limit=1, lease_ms=400, max_lease_ms=400),
        ],
        max_key_bytes=512,
    )


@pytest.fixture
def reports(store: StandaloneStore) -> Slots:
    """Return the four slots."""
    return a_limiter(store).policies.slots("reports")


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(30.0))


async def acquire(slots: Slots, key: str = "k", /, **differing: Any) -> Acquired:
    """Acquire a slot."""
    usual: dict[str, Any] = {"slots": 1, "lease_ms": None, "holder": "", "call": a_call()}
    return await slots.acquire(key, **(usual | differing))


async def reason_of(asked: Awaitable[object]) -> Reason:
    """Return the reason why a call ends with an error."""
    with pytest.raises(SidecarError) as caught:
        await asked
    return caught.value.reason


async def test_acquire_says_what_is_left(reports: Slots) -> None:
    """The lease is the policy's own if none is named."""
    leased = await acquire(reports, slots=3)
    assert (True, LIMIT, 3, 1, MINUTE_US, 0) == (leased.acquired, *leased[2:])


async def test_refused_acquire_says_how_long_the_earliest_lease_lasts(reports: Slots) -> None:
    """Nothing was leased: there is no token, and a smaller wish still fits."""
    await acquire(reports, slots=3, lease_ms=30_000)
    refused = await acquire(reports, slots=2)
    leased = await acquire(reports)
    assert (False, "", LIMIT, 3, 1, 0) == refused[:6]
    assert (True, True) == (29_000_000 < refused.retry_after_us <= 30_000_000, leased.acquired)


async def test_a_dead_holders_slots_come_free(store: StandaloneStore) -> None:
    """When the lease ends, without anybody's help, another gets them."""
    brief = a_limiter(store).policies.slots("brief")
    await acquire(brief)
    refused = await acquire(brief)
    await asyncio.sleep(refused.retry_after_us / 1_000_000 + 0.001)
    assert (False, True) == (refused.acquired, (await acquire(brief)).acquired)


async def test_an_ended_lease_is_not_brought_back(store: StandaloneStore) -> None:
    """Neither renewed nor released, and the next holder keeps what it has."""
    brief = a_limiter(store).policies.slots("brief")
    dead = await acquire(brief)
    await asyncio.sleep(0.402)
    heir = await acquire(brief)
    reasons = [
        await reason_of(brief.renew("k", dead.token, lease_ms=None, call=a_call())),
        await reason_of(brief.release("k", dead.token, a_call())),
    ]
    released = await brief.release("k", heir.token, a_call())
    assert ([Reason.LEASE_UNKNOWN] * 2, 1) == (reasons, released.slots)


async def test_a_renewed_lease_lasts_longer(reports: Slots) -> None:
    """And a renewal for less leaves it as long as it was."""
    leased = await acquire(reports)
    longer_us = await reports.renew("k", leased.token, lease_ms=600_000, call=a_call())
    still_us = await reports.renew("k", leased.token, lease_ms=10, call=a_call())
    assert (600_000_000, True) == (longer_us, 599_000_000 < still_us <= 600_000_000)


async def test_a_named_holder_gets_the_same_lease_again(reports: Slots) -> None:
    """The token is the same and the slots are counted once."""
    first, second = [await acquire(reports, slots=2, holder="job-17") for _ in range(2)]
    assert (first.token, 2, True) == (second.token, second.in_use, second.acquired)


async def test_a_named_holder_with_another_wish_is_told(reports: Slots) -> None:
    """To go on with fewer or more than are leased would break the limit."""
    await acquire(reports, slots=2, holder="job-17")
    assert Reason.HOLDER_REUSED is await reason_of(acquire(reports, slots=3, holder="job-17"))


async def test_a_holders_name_does_not_stand_in_the_store(reports: Slots, server: StoreServer) -> None:
    """It may be a person's; only its digest is kept."""
    await acquire(reports, holder="ada.lovelace")
    assert b"ada" not in repr(server.oracle().zrange("sc:default:ls:{reports:k}", 0, -1)).encode()


async def test_everything_of_a_key_is_one_key_with_a_ttl(reports: Slots, server: StoreServer) -> None:
    """So that nothing of it can be evicted or outlive the rest."""
    await acquire(reports)
    await acquire(reports, slots=2, holder="h", lease_ms=90_000)
    keys = server.oracle().keys("*")
    assert ([b"sc:default:ls:{reports:k}"], True) == (keys, 89_000 < server.oracle().pttl(keys[0]) <= 90_000)


async def test_the_last_release_leaves_nothing(reports: Slots, server: StoreServer) -> None:
    """No key stays behind."""
    tokens = [(await acquire(reports, holder=holder)).token for holder in ("", "h")]
    for token in tokens:
        await reports.release("k", token, a_call())
    assert [] == server.oracle().keys("*")


async def test_peek_says_what_is_free_and_makes_no_key(store: StandaloneStore, server: StoreServer) -> None:
    """As of any other policy."""
    limiter = a_limiter(store)
    fresh = await limiter.peek("reports", "k", LIMIT, a_call())
    keys = server.oracle().keys("*")
    await acquire(limiter.policies.slots("reports"), slots=3)
    taken = await limiter.peek("reports", "k", 2, a_call())
    assert (Decision(True, LIMIT, LIMIT, 0, 0), []) == (fresh, keys)
    assert (False, LIMIT, 1, True) == (*taken[:3], 0 < taken.retry_after_us == taken.reset_after_us)


async def test_reset_ends_all_leases(store: StandaloneStore) -> None:
    """Who renews hears so; only the first Reset finds something."""
    limiter = a_limiter(store)
    reports = limiter.policies.slots("reports")
    leased = await acquire(reports, slots=LIMIT)
    existed = [await limiter.reset("reports", "k", a_call()) for _ in range(2)]
    reason = await reason_of(reports.renew("k", leased.token, lease_ms=None, call=a_call()))
    again = await acquire(reports, slots=LIMIT)
    assert ([True, False], Reason.LEASE_UNKNOWN, True) == (existed, reason, again.acquired)


async def test_a_lowered_limit_keeps_what_is_leased(store: StandaloneStore) -> None:
    """As when the configuration changes: none is given until enough have come free."""
    limiter = a_limiter(store)
    token = (await acquire(limiter.policies.slots("reports"), slots=2)).token
    await acquire(limiter.policies.slots("reports"))
    limiter.policies.replace([ConcurrencyPolicy(name="reports", limit=2, lease_ms=60_000, max_lease_ms=60_000)])
    reports = limiter.policies.slots("reports")
    refused = await acquire(reports)
    await reports.renew("k", token, lease_ms=None, call=a_call())
    released = await reports.release("k", token, a_call())
    assert (False, 2, 3, 0) == (refused.acquired, refused.limit, refused.in_use, refused.remaining)
    assert (2, 1, 1, True) == (*released, (await acquire(reports)).acquired)


async def test_all_but_a_nameless_acquire_may_be_repeated(store: StandaloneStore) -> None:
    """That would lease twice."""
    noting = NotingStore(store)
    limiter = a_limiter(noting)
    reports = limiter.policies.slots("reports")
    token = (await acquire(reports)).token
    await acquire(reports, holder="h")
    await reports.renew("k", token, lease_ms=None, call=a_call())
    await reports.release("k", token, a_call())
    await limiter.peek("reports", "k", 1, a_call())
    assert [False, True, True, True, True] == noting.repeatable


async def test_acquires_are_counted_by_policy_and_outcome(store: StandaloneStore) -> None:
    """In the family of the other policies, from zero; Peeks, renewals and errors are none."""
    metrics = Metrics()
    limiter = a_limiter(store, metrics)
    reports = limiter.policies.slots("reports")
    for slots in (3, 3, 1):
        leased = await acquire(reports, slots=slots, holder=f"holder-{slots}" if slots == 1 else "")
    await reports.renew("k", leased.token, lease_ms=None, call=a_call())
    await limiter.peek("reports", "k", 1, a_call())
    await reason_of(acquire(reports, slots=2, holder="holder-1"))
    counter = metrics.families["sidecar_ratelimit_decisions"]
    assert isinstance(counter, Counter)
    expected = {
        ("reports", "allowed"): 2,
        ("reports", "denied"): 1,
        ("brief", "allowed"): 0,
        ("brief", "denied"): 0,
    }
    assert expected == {labels: cell.value for labels, cell in counter.cells.items()}


async def test_foreign_value_under_the_key_ends_the_call(reports: Slots, server: StoreServer) -> None:
    """Neither a sorted set of somebody else nor another type is taken for leases."""
    oracle = server.oracle()
    oracle.zadd("sc:default:ls:{reports:set}", {"seven": 7})
    oracle.set("sc:default:ls:{reports:string}", "7")
    reasons = [await reason_of(acquire(reports, key)) for key in ("set", "string")]
    assert [Reason.ENTRY_MALFORMED, Reason.WRONG_TYPE] == reasons


async def test_exactly_the_limit_is_leased_however_many_ask_at_once(reports: Slots) -> None:
    """Of two hundred calls at once on four slots, four get one."""
    leased = await asyncio.gather(*(acquire(reports) for _ in range(200)))
    assert LIMIT == sum(one.acquired for one in leased)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_holders_in_many_processes_never_have_more_than_the_limit(server: StoreServer) -> None:
    """Four hundred callers in eight processes take turns, some die with their slots; never are there five holders.

    And at some time there are four: nobody waits longer than necessary.
    """
    arguments = [str(number) for number in (server.port, LIMIT, HOLDERS, ROUNDS, DEAD)]
    outputs = await asyncio.gather(*(_held_by_a_process(*arguments) for _ in range(PROCESSES)))
    spans = [tuple(map(int, line.split())) for output in outputs for line in output.splitlines()]
    assert PROCESSES * ((HOLDERS - DEAD) * ROUNDS + DEAD) == len(spans)
    # Where one ends as another begins, the end comes first.
    changes = sorted(
        change for since_ns, until_ns in spans if since_ns < until_ns for change in ((since_ns, 1), (until_ns, -1))
    )
    at_once = most = 0
    for _, change in changes:
        at_once += change
        most = max(most, at_once)
    assert LIMIT == most


async def _held_by_a_process(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.slot_holders",
        *arguments,
        cwd=PROJECT / "tests",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
