"""The scripts of the rate limits against their models: equal step by step, on real servers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.limit_models import (
    DAY_US,
    RANDOM_POLICY,
    SECOND_US,
    Act,
    log_uniform,
    model,
    most_cost,
    random_boundaries,
)
from support.timed_scripts import LUA, TIMED_NOW, TTLS_FROM_MS

from sidecar.ratelimit.model import Verdict
from sidecar.ratelimit.policy import (
    MAX_BURST,
    MAX_LIMIT,
    MAX_LOGGED,
    MIN_WINDOW_US,
    FixedWindowPolicy,
    GcraPolicy,
    Policy,
    SlidingLogPolicy,
    SlidingWindowPolicy,
    TokenBucketPolicy,
)
from sidecar.ratelimit.terms import SCRIPT_NAMES
from sidecar.store.scripts import Script, load, load_from

if TYPE_CHECKING:
    from support.wire import Wire, Words

NO_KEY = -2
# Some five thousand steps on their way at a time keep both ends busy.
BATCH_SEQUENCES = 500

TIMED = {kind: load_from(LUA, name, replaced={"now": TIMED_NOW}) for kind, name in SCRIPT_NAMES.items()}
PRODUCTION = {kind: load(name) for kind, name in SCRIPT_NAMES.items()}


class Expected(NamedTuple):
    """What the model says of a sequence of acts on one key."""

    acts: list[Act]
    replies: list[list[int]]
    ttl_ms: int | None
    """The TTL set by the last write; None: there was none, so there is no key."""


class Run:
    """A model in the middle of a sequence."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.replies: list[list[int]] = []
        self.state: Any = None
        self.ttl_ms: int | None = None

    def step(self, act: Act) -> Verdict:
        """Take one step and return the model's verdict."""
        done = model(act, self.state)
        self.acts.append(act)
        self.replies.append([*map(int, done.verdict), act.now_us])
        self.state = done.state
        if done.ttl_ms is not None:
            self.ttl_ms = done.ttl_ms
        return done.verdict


def words(script: Script, key: str, act: Act, *more: int) -> Words:
    """Return the command that runs a script as the limiter does; it must be loaded."""
    return ("EVALSHA", script.sha, 1, key, *act.constants, act.cost, int(act.commit), *more)


def random_sequence(rng: random.Random, kind: type[Policy]) -> Expected:
    """Walk a model at random, with a taste for the edges of what it promised last."""
    run = Run()
    policy: Policy = RANDOM_POLICY[kind](rng)
    at_us = rng.choice([0, rng.randrange(2**52), 1_700_000_000 * SECOND_US + rng.randrange(DAY_US)])
    verdict = Verdict(True, policy.limit, 0, 0)
    for _ in range(rng.randint(1, 20)):
        # Hundreds of years are more than a clock jumps, and enough of them pass 2^53.
        at_us = min(2**52 + 400 * DAY_US, max(0, at_us + random_time_step(rng, verdict)))
        cost = rng.choice(
            [0, 1, 1, policy.limit, verdict.remaining, verdict.remaining + 1, rng.randint(0, policy.limit)]
        )
        boundaries = random_boundaries(rng, policy, at_us)
        cost = min(cost, most_cost(policy))
        verdict = run.step(Act(policy, at_us, cost, rng.random() < 0.8, boundaries))
        if rng.random() < 0.03:
            policy = RANDOM_POLICY[kind](rng)
    return Expected(run.acts, run.replies, run.ttl_ms)


def random_time_step(rng: random.Random, last: Verdict) -> int:
    """Return 0 µs, or to just around what the last verdict spoke of, or up to days; now and then, backwards."""
    step = rng.choice(
        [
            0,
            rng.randint(0, 5),
            last.retry_after_us + rng.randint(-1, 1),
            last.reset_after_us + rng.randint(-1, 1),
            rng.randint(0, last.reset_after_us),
            log_uniform(rng, 1, 10 * DAY_US),
        ]
    )
    return -step if rng.random() < 0.1 else step


def compare(wire: Wire, sequences: list[Expected]) -> None:
    """Run all sequences, each on its own key, and hold replies and TTLs against the models'."""
    batch: list[Words] = []
    for number, (acts, _, _) in enumerate(sequences):
        key = f"key:{number}"
        batch += [words(TIMED[type(act.policy)], key, act, act.now_us) for act in acts]
        batch += [("PEXPIRETIME", key), ("DEL", key)]
    replies = iter(wire.send(*batch))
    for acts, expected, ttl_ms in sequences:
        actual = [next(replies) for _ in acts]
        assert expected == actual, f"after {acts}"
        expires_ms, existed = next(replies), next(replies)
        assert int(ttl_ms is not None) == existed
        assert (NO_KEY if ttl_ms is None else TTLS_FROM_MS + ttl_ms) == expires_ms


def load_all(wire: Wire) -> None:
    """Load the scripts that the commands name."""
    wire.send(*(("SCRIPT", "LOAD", script.source) for script in (*TIMED.values(), *PRODUCTION.values())))


@pytest.mark.parametrize("kind", SCRIPT_NAMES)
def test_random_sequences_equal_the_model(wire: Wire, kind: type[Policy], sequences: int) -> None:
    """Ten thousand random sequences give the model's answers step by step, and leave its TTL."""
    load_all(wire)
    rng = random.Random(f"rate limits: {SCRIPT_NAMES[kind]}")
    for _ in range(sequences // BATCH_SEQUENCES):
        compare(wire, [random_sequence(rng, kind) for _ in range(BATCH_SEQUENCES)])


@pytest.mark.parametrize("limit", [50, 64, 65, 500])
def test_long_log_equals_the_model(wire: Wire, limit: int) -> None:
    """Thousands of calls on one key: entries leave and are dropped, whether a log is written whole or not."""
    load_all(wire)
    rng = random.Random(f"long log: {limit}")
    policy = SlidingLogPolicy(name="log", limit=limit, window_us=SECOND_US)
    run, at_us = Run(), 1_700_000_000 * SECOND_US
    for _ in range(3_000):
        at_us += rng.choice([0, rng.randint(0, 4 * SECOND_US // limit), rng.randint(0, SECOND_US // 8)])
        run.step(Act(policy, at_us, min(limit, rng.choice([1, 1, 1, rng.randint(0, 20)])), rng.random() < 0.9))
    compare(wire, [Expected(run.acts, run.replies, run.ttl_ms)])


buckets = st.builds(
    TokenBucketPolicy,
    name=st.just("bucket"),
    tokens=st.integers(1, 1_000),
    period_us=st.sampled_from([1, 7, 1_000, SECOND_US, DAY_US]),
    burst=st.integers(1, MAX_BURST),
)
windows = st.builds(
    SlidingWindowPolicy,
    name=st.just("window"),
    limit=st.integers(1, MAX_LIMIT),
    window_us=st.integers(20, DAY_US),
    sub_windows=st.integers(1, 20),
)
gcras = st.builds(
    GcraPolicy,
    name=st.just("gcra"),
    tokens=st.integers(1, 1_000),
    period_us=st.sampled_from([1, 7, 1_000, SECOND_US, DAY_US]),
    burst=st.integers(1, 3_000),
)
logs = st.builds(
    SlidingLogPolicy,
    name=st.just("log"),
    limit=st.integers(1, MAX_LOGGED),
    window_us=st.integers(MIN_WINDOW_US, DAY_US),
)
fixed_windows = st.builds(
    FixedWindowPolicy,
    name=st.just("fixed"),
    limit=st.integers(0, MAX_LIMIT),
    window_us=st.integers(MIN_WINDOW_US, DAY_US),
    charge_refused=st.booleans(),
)
strides = st.lists(st.tuples(st.integers(-DAY_US, DAY_US), st.integers(0, MAX_LIMIT), st.booleans()), max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=buckets | gcras | windows | logs | fixed_windows, start_us=st.integers(DAY_US * 8, 2**52), taken=strides)
def test_any_sequence_equals_the_model(
    wire: Wire, policy: Policy, start_us: int, taken: list[tuple[int, int, bool]]
) -> None:
    """Whatever hypothesis thinks of, too; what it finds it shrinks."""
    load_all(wire)
    run, at_us = Run(), start_us
    for step_us, cost, commit in taken:
        at_us += step_us
        run.step(Act(policy, at_us, cost % (policy.limit + 1), commit))
    compare(wire, [Expected(run.acts, run.replies, run.ttl_ms)])


@pytest.mark.parametrize("kind", SCRIPT_NAMES)
def test_production_script_equals_the_model_at_the_servers_times(wire: Wire, kind: type[Policy]) -> None:
    """The script as it ships, TTLs included, gives what the model says for the times that it returns."""
    load_all(wire)
    rng = random.Random(f"production: {SCRIPT_NAMES[kind]}")
    for number in range(500):
        policy = RANDOM_POLICY[kind](rng)
        windows = random_boundaries(rng, policy, wire.now_us())
        acts = [Act(policy, 0, rng.randint(0, min(policy.limit, 5)), rng.random() < 0.8, windows) for _ in range(20)]
        key = f"production:{number}"
        replies = wire.send(*(words(PRODUCTION[kind], key, act) for act in acts), ("DEL", key))
        run = Run()
        for act, reply in zip(acts, replies, strict=False):
            run.step(act._replace(now_us=reply[-1]))
        assert run.replies == replies[:-1]


@pytest.mark.parametrize("kind", SCRIPT_NAMES)
def test_key_lives_until_its_state_means_nothing(wire: Wire, kind: type[Policy]) -> None:
    """The key expires by the server's clock no earlier than the limit is whole again, and hardly later."""
    load_all(wire)
    rng = random.Random(f"ttl: {SCRIPT_NAMES[kind]}")
    compared = 0
    while compared < 1_000:
        policy = RANDOM_POLICY[kind](rng)
        act = Act(policy, 0, 1, True, random_boundaries(rng, policy, wire.now_us()))
        key = f"ttl:{compared}"
        (*_, reset_after_us, then_us), expires_ms, _ = wire.send(
            words(PRODUCTION[kind], key, act), ("PEXPIRETIME", key), ("DEL", key)
        )
        if reset_after_us < SECOND_US:
            continue  # it could expire before it is looked at
        # A key lives through the millisecond that it expires in.
        assert then_us + reset_after_us <= (expires_ms + 1) * 1_000
        # The server counts a TTL from when it gets to the command, for which a busy machine may let it wait.
        assert expires_ms * 1_000 < then_us + reset_after_us + 250_000
        compared += 1


@pytest.mark.parametrize("kind", SCRIPT_NAMES)
@pytest.mark.parametrize("stored", ["", "7", "x" * 17, "x" * 21, "x" * 22, "x" * 25])
def test_foreign_value_is_refused_and_kept(wire: Wire, kind: type[Policy], stored: str) -> None:
    """A string that no script wrote ends the call with an error of its own, and stays."""
    load_all(wire)
    rng = random.Random(1)
    policy = RANDOM_POLICY[kind](rng)
    act = Act(policy, 0, 1, True, random_boundaries(rng, policy, wire.now_us()))
    _, reply, value, _ = wire.send_raw(
        [("SET", "foreign", stored), words(PRODUCTION[kind], "foreign", act), ("GET", "foreign"), ("DEL", "foreign")]
    )
    assert isinstance(reply, hiredis.ReplyError)
    assert str(reply).startswith("SCFORMAT ")
    assert stored.encode() == value
