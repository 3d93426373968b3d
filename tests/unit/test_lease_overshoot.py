"""What many processes with leases let through: never more than the bound that the documentation gives.

Each process has a clock of its own, off by any time and by as much as kernels let clocks drift. Loans travel for a
while, and are lost now and then, as returns are; processes die. The store is the model of the limit's algorithm.
"""

from __future__ import annotations

import os
import random
from typing import Any, NamedTuple

import pytest

from sidecar.ratelimit.lease import Lease
from sidecar.ratelimit.model import check_token_bucket
from sidecar.ratelimit.models.lending import Lendable, give_back, lend
from sidecar.ratelimit.policy import FixedWindowPolicy, GcraPolicy, TokenBucketPolicy

# The first 170 show each bound that is too low, were it by one token.
SEQUENCES = 1_500 if "SIDECAR_LONG" in os.environ else 300
STEPS = 60
SECOND_US = 1_000_000
START_US = 1_750_000_000 * SECOND_US
MOST_DRIFT_PPM = 1_000


class Flight(NamedTuple):
    """A loan on its way back."""

    arrives_us: int
    sent_ns: int
    wanted: int
    lent: int
    until_us: int
    reset_after_us: int


class World:
    """One limit, the processes that lend from it, and what they let through."""

    def __init__(self, rng: random.Random, policy: Lendable, most: int, processes: int) -> None:
        self.rng = rng
        self.policy: Any = policy
        self.now_us = START_US + rng.randrange(SECOND_US)
        self.state: Any = None
        self.expires_us = 0
        self.admitted: list[tuple[int, int]] = []
        self.ttl_us = rng.choice([10_000, 200_000, 2 * SECOND_US])
        self.processes = [Process(self, most) for _ in range(processes)]

    def lend(self, cost: int, most: int) -> tuple[bool, int, int, int]:
        """Have the store lend; say whether the call passed, how much was lent, and when its window ends."""
        if self.now_us >= self.expires_us:
            self.state = None
        step, lent = lend(self.policy, self.state, self.now_us, cost, most)
        self.state = step.state
        if step.ttl_ms is not None:
            # A key lives for as long as the store says at least.
            self.expires_us = self.now_us + step.ttl_ms * 1_000
        reset_us = step.verdict.reset_after_us
        until_us = self.now_us + reset_us if isinstance(self.policy, FixedWindowPolicy) and reset_us else 0
        if step.verdict.allowed and cost:
            self.admitted.append((self.now_us, cost))
        return step.verdict.allowed, lent, until_us, reset_us

    def give_back(self, amount: int, until_us: int) -> None:
        """Have the store take back, unless that is lost."""
        if self.rng.random() < 0.9:
            self.state, _ = give_back(self.policy, self.state, amount, until_us)


class Process:
    """A process with a lease of the limit's one key, as `PolicyLeases` keeps it."""

    def __init__(self, world: World, most: int) -> None:
        self.world = world
        self.most = most
        self.offset_ns = world.rng.randrange(10**15)
        self.ppm = world.rng.choice([0, -MOST_DRIFT_PPM, MOST_DRIFT_PPM, world.rng.randint(-500, 500)])
        self.flight: Flight | None = None
        self.lease = Lease("k", b"k", most, 0)

    @property
    def now_ns(self) -> int:
        """The time by this process's clock."""
        passed_us = self.world.now_us - START_US
        return self.offset_ns + passed_us * 1_000 + passed_us * self.ppm // 1_000

    def check(self, cost: int) -> None:
        """Decide on a call: by the lease, or by the store, and then borrow if nobody does."""
        self.land()
        lease, world = self.lease, self.world
        if cost <= lease.left and self.now_ns < lease.ends_ns:
            lease.left -= cost
            world.admitted.append((world.now_us, cost))
            return
        self.end()
        if self.flight is not None or lease.left >= lease.most:
            world.lend(cost, 0)
            return
        if lease.is_cold:
            lease = self.lease = Lease("k", b"k", self.most, 0)
        wanted, sent_ns = lease.wanted(), self.now_ns
        world.now_us += world.rng.choice([0, 0, 50, 5_000])
        _, lent, until_us, reset_us = world.lend(cost, wanted)
        arrives_us = world.now_us + world.rng.choice([0, 100, 20_000, SECOND_US])
        if world.rng.random() < 0.95:
            self.flight = Flight(arrives_us, sent_ns, wanted, lent, until_us, reset_us)

    def land(self) -> None:
        """Take in a loan that has come."""
        flight = self.flight
        if flight is not None and flight.arrives_us <= self.world.now_us:
            self.flight = None
            self.lease.take_in(
                flight.lent,
                flight.wanted,
                flight.sent_ns,
                self.world.ttl_us,
                until_us=flight.until_us,
                reset_after_us=flight.reset_after_us,
            )

    def end(self) -> None:
        """Give back what is left, if it is time."""
        self.land()
        if self.now_ns >= self.lease.ends_ns:
            left = self.lease.end()
            if left:
                self.world.give_back(left, self.lease.until_us)

    def die(self) -> None:
        """Begin again with nothing."""
        self.flight, self.lease = None, Lease("k", b"k", self.most, 0)


def a_run(rng: random.Random, policy: Any, most: int, processes: int) -> World:
    """Let processes call at random: in bursts, alone, and with pauses in which the limit comes back."""
    world = World(rng, policy, most, processes)
    for _ in range(STEPS):
        world.now_us += rng.choice(
            [0, 0, 0, rng.randrange(5_000), rng.randrange(world.ttl_us), rng.randrange(SECOND_US)]
        )
        process = rng.choice(world.processes)
        what = rng.random()
        if what < 0.02:
            process.die()
        elif what < 0.1:
            process.end()
        else:
            for _ in range(rng.choice([1, 1, 3, most, 2 * most])):
                process.check(rng.choice([1, 1, 1, rng.randint(1, min(4, policy.limit))]))
    return world


@pytest.mark.parametrize("kind", [TokenBucketPolicy, GcraPolicy])
def test_a_rate_is_exceeded_by_what_processes_may_hold_and_no_more(kind: type[Any]) -> None:
    """In any interval: a bucket that is larger by that much would have let all of it through."""
    rng = random.Random(f"overshoot: {kind.__name__}")
    beyond = 0
    for _ in range(SEQUENCES):
        burst = rng.randint(2, 60)
        policy = kind(name="p", tokens=rng.randint(1, 200), period_us=SECOND_US, burst=burst)
        most, processes = rng.randint(1, max(1, burst // 2)), rng.randint(1, 5)
        world = a_run(rng, policy, most, processes)
        wide = TokenBucketPolicy(name="p", tokens=policy.tokens, period_us=SECOND_US, burst=burst + processes * most)
        exact = TokenBucketPolicy(name="p", tokens=policy.tokens, period_us=SECOND_US, burst=burst)
        state: Any = None
        narrow: Any = None
        for at_us, cost in sorted(world.admitted):
            step = check_token_bucket(wide, state, at_us, cost, commit=True)
            assert step.verdict.allowed, f"{policy}, {most} * {processes}: {world.admitted}"
            state = step.state
            held = check_token_bucket(exact, narrow, at_us, cost, commit=True)
            beyond += not held.verdict.allowed
            narrow = held.state
    # The sequences come near the bound, or they would prove little.
    assert beyond > 0


def test_a_fixed_window_is_not_exceeded() -> None:
    """Whatever the processes' clocks say, as long as they run nearly as fast as the store's."""
    rng = random.Random("overshoot: fixed window")
    for _ in range(SEQUENCES):
        limit = rng.randint(2, 60)
        policy = FixedWindowPolicy(name="p", limit=limit, window_us=rng.choice([50_000, 300_000, SECOND_US]))
        world = a_run(rng, policy, rng.randint(1, limit // 2), rng.randint(1, 5))
        windows: dict[int, int] = {}
        for at_us, cost in world.admitted:
            number = at_us // (policy.window_us or 1)
            windows[number] = windows.get(number, 0) + cost
        assert max(windows.values(), default=0) <= limit


@pytest.mark.parametrize("ppm", [-MOST_DRIFT_PPM, -1, 0, MOST_DRIFT_PPM])
@pytest.mark.parametrize("window_us", [10_000, 333_333, 10 * SECOND_US])
def test_a_lease_has_ended_when_its_window_has(ppm: int, window_us: int) -> None:
    """Also by a clock that is as slow as any."""
    rng = random.Random(f"{ppm} {window_us}")
    for _ in range(200):
        world = World(rng, FixedWindowPolicy(name="p", limit=10, window_us=window_us), 5, 1)
        process = world.processes[0]
        process.ppm = ppm
        sent_ns = process.now_ns
        world.now_us += rng.choice([0, 1, 50])
        _, lent, until_us, reset_us = world.lend(1, 5)
        process.lease.take_in(lent, 5, sent_ns, 10 * SECOND_US, until_us=until_us, reset_after_us=reset_us)
        world.now_us = until_us
        assert process.lease.ends_ns <= process.now_ns


def test_the_bound_is_reached() -> None:
    """Where every process holds the most, the bucket fills, and all is then taken in one moment."""
    processes, most, burst = 3, 5, 10
    policy = TokenBucketPolicy(name="p", tokens=1, period_us=SECOND_US // 1_000, burst=burst)
    world = World(random.Random(1), policy, most, processes)
    for process in world.processes:
        world.now_us += burst * SECOND_US // 1_000
        _, lent, _, reset_us = world.lend(0, most)
        process.lease.take_in(lent, most, process.now_ns, SECOND_US, until_us=0, reset_after_us=reset_us)
    world.now_us += burst * SECOND_US // 1_000
    for process in world.processes:
        for _ in range(most):
            process.check(1)
    _, rest, _, _ = world.lend(0, burst)
    assert processes * most + burst == len(world.admitted) + rest
