"""The scripts that lend tokens and take them back, against their models: equal step by step, on real servers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.limit_models import DAY_US, RANDOM_POLICY, SECOND_US, log_uniform, random_boundaries
from support.timed_scripts import LUA, TIMED_NOW, TTLS_FROM_MS

from sidecar.ratelimit.model import Verdict
from sidecar.ratelimit.models.lending import Lendable, give_back, lend
from sidecar.ratelimit.policy import (
    MAX_BURST,
    MAX_LIMIT,
    MIN_WINDOW_US,
    FixedWindowPolicy,
    GcraPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.terms import NUMBERS
from sidecar.store.scripts import Script, load, load_from

if TYPE_CHECKING:
    from support.wire import Wire, Words

    from sidecar.ratelimit.calendar_windows import Boundaries

BATCH_SEQUENCES = 500
NO_KEY = -2

KINDS: list[type[Lendable]] = [TokenBucketPolicy, GcraPolicy, FixedWindowPolicy]
TIMED_LEND = load_from(LUA, "lend_tokens", replaced={"now": TIMED_NOW})
LEND, RETURN = load("lend_tokens"), load("return_tokens")


class Borrow(NamedTuple):
    """A call, and what it would borrow."""

    policy: Lendable
    now_us: int
    cost: int
    most: int
    boundaries: Boundaries | None = None

    def words(self, script: Script, key: str, *more: int) -> Words:
        """Return the command that runs the script as the sidecar does; it must be loaded."""
        number, constants = NUMBERS[type(self.policy)], (*self.policy.constants, *(self.boundaries or ()))
        # The time stands behind all arguments, of which a bucket has fewer than a window.
        padding = () if len(constants) == 7 or not more else (0,) * (7 - len(constants))
        return ("EVALSHA", script.sha, 1, key, number, self.cost, self.most, *constants, *padding, *more)


class Back(NamedTuple):
    """What is given back."""

    policy: Lendable
    amount: int
    until_us: int

    def words(self, key: str) -> Words:
        """Return the command that gives it back as the sidecar does."""
        constants = (0, 0, 0, 0) if isinstance(self.policy, FixedWindowPolicy) else self.policy.constants
        return ("EVALSHA", RETURN.sha, 1, key, NUMBERS[type(self.policy)], self.amount, self.until_us, *constants)


class Run:
    """The models in the middle of a sequence."""

    def __init__(self) -> None:
        self.acts: list[Borrow | Back] = []
        self.replies: list[list[int] | int] = []
        self.state: Any = None
        self.ttl_ms: int | None = None

    def lend(self, act: Borrow) -> tuple[Verdict, int]:
        """Lend, and return the verdict and how much was lent."""
        policy, now_us, cost, most, boundaries = act
        step, lent = lend(policy, self.state, now_us, cost, most, boundaries=boundaries)
        self.acts.append(act)
        self.replies.append([*map(int, step.verdict), now_us, lent])
        self.state = step.state
        if step.ttl_ms is not None:
            self.ttl_ms = step.ttl_ms
        return step.verdict, lent

    def give_back(self, act: Back) -> None:
        """Give back."""
        self.state, given = give_back(act.policy, self.state, act.amount, act.until_us)
        self.acts.append(act)
        self.replies.append(given)

    def commands(self, key: str) -> list[Words]:
        """Return what makes a server do the same."""
        return [
            act.words(TIMED_LEND, key, act.now_us) if isinstance(act, Borrow) else act.words(key) for act in self.acts
        ]


def random_sequence(rng: random.Random, kind: type[Lendable]) -> Run:
    """Lend and take back at random: right after, late, after others, too much, to another window, another policy."""
    run = Run()
    policy: Any = RANDOM_POLICY[kind](rng)
    at_us = rng.choice([0, rng.randrange(2**52), 1_700_000_000 * SECOND_US + rng.randrange(DAY_US)])
    verdict, lent, until_us = Verdict(True, policy.limit, 0, 0), 0, 0
    for _ in range(rng.randint(1, 20)):
        step_us = rng.choice([0, 0, rng.randint(0, verdict.reset_after_us), log_uniform(rng, 1, 10 * DAY_US)])
        at_us = min(2**52 + 400 * DAY_US, max(0, at_us + (-step_us if rng.random() < 0.1 else step_us)))
        if rng.random() < 0.4:
            amount = rng.choice([lent, lent, rng.randint(0, lent), rng.randint(0, max(1, policy.limit // 2))])
            run.give_back(Back(policy, amount, rng.choice([until_us, until_us, until_us + 1])))
        else:
            cost = min(policy.limit, rng.choice([0, 1, 1, verdict.remaining, rng.randint(0, policy.limit)]))
            most = rng.choice([0, 1, 2, 64, verdict.remaining, policy.limit // 2, rng.randint(0, policy.limit)])
            verdict, lent = run.lend(Borrow(policy, at_us, cost, most, random_boundaries(rng, policy, at_us)))
            until_us = at_us + verdict.reset_after_us
        if rng.random() < 0.03:
            policy = RANDOM_POLICY[kind](rng)
    return run


def compare(wire: Wire, runs: list[Run]) -> None:
    """Have the server do the same, each on its own key, and hold replies and TTLs against the models'."""
    batch: list[Words] = []
    for number, run in enumerate(runs):
        key = f"lent:{number}"
        batch += [*run.commands(key), ("PEXPIRETIME", key), ("DEL", key)]
    replies = iter(wire.send(*batch))
    for run in runs:
        actual = [next(replies) for _ in run.acts]
        assert run.replies == actual, f"after {run.acts}"
        expires_ms, existed = next(replies), next(replies)
        assert int(run.ttl_ms is not None) == existed
        assert (NO_KEY if run.ttl_ms is None else TTLS_FROM_MS + run.ttl_ms) == expires_ms


def load_all(wire: Wire) -> None:
    """Load the scripts that the commands name."""
    wire.send(*(("SCRIPT", "LOAD", script.source) for script in (TIMED_LEND, LEND, RETURN)))


@pytest.mark.parametrize("kind", KINDS)
def test_random_sequences_equal_the_model(wire: Wire, kind: type[Lendable], sequences: int) -> None:
    """Ten thousand random sequences give the models' answers step by step, and leave their TTL."""
    load_all(wire)
    rng = random.Random(f"lending: {kind.__name__}")
    for _ in range(sequences // BATCH_SEQUENCES):
        compare(wire, [random_sequence(rng, kind) for _ in range(BATCH_SEQUENCES)])


buckets = st.builds(
    TokenBucketPolicy,
    name=st.just("bucket"),
    tokens=st.integers(1, 1_000),
    period_us=st.sampled_from([1, 7, 1_000, SECOND_US, DAY_US]),
    burst=st.integers(1, MAX_BURST),
)
gcras = st.builds(
    GcraPolicy,
    name=st.just("gcra"),
    tokens=st.integers(1, 1_000),
    period_us=st.sampled_from([1, 7, 1_000, SECOND_US, DAY_US]),
    burst=st.integers(1, 3_000),
)
fixed_windows = st.builds(
    FixedWindowPolicy,
    name=st.just("fixed"),
    limit=st.integers(0, MAX_LIMIT),
    window_us=st.integers(MIN_WINDOW_US, DAY_US),
)
strides = st.lists(
    st.tuples(st.integers(-DAY_US, DAY_US), st.integers(0, MAX_LIMIT), st.integers(0, MAX_LIMIT), st.booleans()),
    max_size=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=buckets | gcras | fixed_windows, start_us=st.integers(DAY_US * 8, 2**52), taken=strides)
def test_any_sequence_equals_the_model(
    wire: Wire, policy: Lendable, start_us: int, taken: list[tuple[int, int, int, bool]]
) -> None:
    """Whatever hypothesis thinks of, too; what it finds it shrinks."""
    load_all(wire)
    run, at_us, until_us = Run(), start_us, 0
    for step_us, cost, most, returns in taken:
        at_us += step_us
        if returns:
            run.give_back(Back(policy, most % (policy.limit + 1), until_us))
        else:
            verdict, _ = run.lend(Borrow(policy, at_us, cost % (policy.limit + 1), most % (policy.limit + 1)))
            until_us = at_us + verdict.reset_after_us
    compare(wire, [run])


@pytest.mark.parametrize("kind", KINDS)
def test_production_script_equals_the_model_at_the_servers_times(wire: Wire, kind: type[Lendable]) -> None:
    """The script as it ships, TTLs included, gives what the models say for the times that it returns."""
    load_all(wire)
    rng = random.Random(f"production lending: {kind.__name__}")
    for number in range(300):
        policy: Any = RANDOM_POLICY[kind](rng)
        windows = random_boundaries(rng, policy, wire.now_us())
        run, key = Run(), f"production-lent:{number}"
        for _ in range(10):
            borrow = Borrow(policy, 0, rng.randint(0, min(policy.limit, 5)), rng.randint(0, 9), windows)
            back = Back(policy, rng.randint(0, 9), rng.choice([0, wire.now_us()]))
            lent, given = wire.send(borrow.words(LEND, key), back.words(key))
            if lent[3] < SECOND_US:
                break  # the key could have expired before something went back
            run.lend(borrow._replace(now_us=lent[4]))
            run.give_back(back)
            assert run.replies[-2:] == [lent, given]
        wire.send(("DEL", key))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", ["7", "x" * 17, "x" * 21, "x" * 25])
def test_foreign_value_is_refused_and_kept(wire: Wire, kind: type[Lendable], stored: str) -> None:
    """A string that no script wrote ends either with an error of its own, and stays."""
    load_all(wire)
    policy: Any = RANDOM_POLICY[kind](random.Random(1))
    windows = random_boundaries(random.Random(1), policy, wire.now_us())
    key = "foreign-lent"
    _, lent, given, value, _ = wire.send_raw(
        [
            ("SET", key, stored),
            Borrow(policy, 0, 1, 1, windows).words(LEND, key),
            Back(policy, 1, 0).words(key),
            ("GET", key),
            ("DEL", key),
        ]
    )
    for reply in (lent, given):
        assert isinstance(reply, hiredis.ReplyError)
        assert str(reply).startswith("SCFORMAT ")
    assert stored.encode() == value
