"""The scripts of the rate limits against their models: equal step by step, on real servers.

Time is injected: the include `now` is replaced by one that takes it from one more argument. The server's own clock goes
on meanwhile and would end a TTL of a millisecond between two steps at the same injected time, so the replacement also
makes every TTL count from a fixed point in the next century: no key is lost, and `PEXPIRETIME` gives the TTL back.
"""

from __future__ import annotations

import random
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sidecar.store
from sidecar.ratelimit.model import Bucket, Step, Verdict, Window, check_sliding_window, check_token_bucket
from sidecar.ratelimit.policy import MAX_BURST, MAX_LIMIT, Policy, SlidingWindowPolicy, TokenBucketPolicy
from sidecar.store.scripts import Script, load, load_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.wire import Wire, Words

SEQUENCES = 10_000
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
TTLS_FROM_MS = 4_102_444_800_000  # the year 2100
NO_KEY = -2
# Some five thousand steps on their way at a time keep both ends busy.
BATCH_SEQUENCES = 500

INJECTED_NOW = f"""
local function now_us() return tonumber(ARGV[#ARGV]) end
local server = redis
local redis = {{error_reply = server.error_reply}}
function redis.call(command, key, value, px, ttl_ms)
  if command == 'GET' then return server.call('GET', key) end
  assert(command == 'SET' and px == 'PX' and ttl_ms >= 1)
  return server.call('SET', key, value, 'PXAT', {TTLS_FROM_MS} + ttl_ms)
end
"""

SCRIPT_NAMES: dict[type[Policy], str] = {
    TokenBucketPolicy: "check_token_bucket",
    SlidingWindowPolicy: "check_sliding_window",
}
LUA = resources.files(sidecar.store) / "lua"
TIMED = {kind: load_from(LUA, name, replaced={"now": INJECTED_NOW}) for kind, name in SCRIPT_NAMES.items()}
PRODUCTION = {kind: load(name) for kind, name in SCRIPT_NAMES.items()}

State = Bucket | Window


class Act(NamedTuple):
    """One call of a sequence."""

    policy: Policy
    now_us: int
    cost: int
    commit: bool


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
        self.state: State | None = None
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


def model(act: Act, state: Any) -> Step[Any]:
    """Return what the model of the policy's algorithm does."""
    if isinstance(act.policy, TokenBucketPolicy):
        return check_token_bucket(act.policy, state, act.now_us, act.cost, commit=act.commit)
    return check_sliding_window(act.policy, state, act.now_us, act.cost, commit=act.commit)


def words(script: Script, key: str, act: Act, *more: int) -> Words:
    """Return the command that runs a script as the limiter does; it must be loaded."""
    return ("EVALSHA", script.sha, 1, key, *act.policy.constants, act.cost, int(act.commit), *more)


def random_bucket(rng: random.Random) -> TokenBucketPolicy:
    """Return any policy from one token a day to a million a second, with bursts of 1 to 10^9."""
    while True:
        period_us = rng.choice([1, 1_000, SECOND_US, 60 * SECOND_US, DAY_US, log_uniform(rng, 1, DAY_US)])
        most = max(1, period_us * 1_000_000 // SECOND_US)
        try:
            return TokenBucketPolicy(
                name="bucket",
                tokens=rng.choice([1, log_uniform(rng, 1, most), most]),
                period_us=period_us,
                burst=rng.choice([1, MAX_BURST, log_uniform(rng, 1, MAX_BURST)]),
            )
        except ValueError:
            continue  # not exact in 53 bits: the policy's own test holds that it is refused


def random_window(rng: random.Random) -> SlidingWindowPolicy:
    """Return any policy from one call a day to a million a second, of 1 to 20 sub-windows."""
    sub_windows = rng.choice([1, 2, 10, 10, 20])
    return SlidingWindowPolicy(
        name="window",
        limit=rng.choice([1, MAX_LIMIT, log_uniform(rng, 1, 50), log_uniform(rng, 1, MAX_LIMIT)]),
        window_us=rng.choice([SECOND_US, 60 * SECOND_US, DAY_US, log_uniform(rng, sub_windows, DAY_US)]),
        sub_windows=sub_windows,
    )


RANDOM_POLICY: dict[type[Policy], Callable[[random.Random], Policy]] = {
    TokenBucketPolicy: random_bucket,
    SlidingWindowPolicy: random_window,
}


def log_uniform(rng: random.Random, least: int, most: int) -> int:
    """Return an integer whose order of magnitude is as random as itself."""
    return min(most, max(least, int(least * (most / least) ** rng.random())))


def random_sequence(rng: random.Random, kind: type[Policy]) -> Expected:
    """Walk a model at random, with a taste for the edges of what it promised last."""
    run = Run()
    policy: Policy = RANDOM_POLICY[kind](rng)
    now_us = rng.choice([0, rng.randrange(2**52), 1_700_000_000 * SECOND_US + rng.randrange(DAY_US)])
    verdict = Verdict(True, policy.limit, 0, 0)
    for _ in range(rng.randint(1, 20)):
        # Hundreds of years are more than a clock jumps, and enough of them pass 2^53.
        now_us = min(2**52 + 400 * DAY_US, max(0, now_us + random_time_step(rng, verdict)))
        cost = rng.choice(
            [0, 1, 1, policy.limit, verdict.remaining, verdict.remaining + 1, rng.randint(0, policy.limit)]
        )
        verdict = run.step(Act(policy, now_us, min(cost, policy.limit), commit=rng.random() < 0.8))
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
def test_random_sequences_equal_the_model(wire: Wire, kind: type[Policy]) -> None:
    """Ten thousand random sequences give the model's answers step by step, and leave its TTL."""
    load_all(wire)
    rng = random.Random(f"rate limits: {SCRIPT_NAMES[kind]}")
    for _ in range(SEQUENCES // BATCH_SEQUENCES):
        compare(wire, [random_sequence(rng, kind) for _ in range(BATCH_SEQUENCES)])


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
strides = st.lists(st.tuples(st.integers(-DAY_US, DAY_US), st.integers(0, MAX_LIMIT), st.booleans()), max_size=8)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policy=buckets | windows, start_us=st.integers(DAY_US * 8, 2**52), taken=strides)
def test_any_sequence_equals_the_model(
    wire: Wire, policy: Policy, start_us: int, taken: list[tuple[int, int, bool]]
) -> None:
    """Whatever hypothesis thinks of, too; what it finds it shrinks."""
    load_all(wire)
    run, now_us = Run(), start_us
    for step_us, cost, commit in taken:
        now_us += step_us
        run.step(Act(policy, now_us, cost % (policy.limit + 1), commit))
    compare(wire, [Expected(run.acts, run.replies, run.ttl_ms)])


@pytest.mark.parametrize("kind", SCRIPT_NAMES)
def test_production_script_equals_the_model_at_the_servers_times(wire: Wire, kind: type[Policy]) -> None:
    """The script as it ships, TTLs included, gives what the model says for the times that it returns."""
    load_all(wire)
    rng = random.Random(f"production: {SCRIPT_NAMES[kind]}")
    for number in range(500):
        policy = RANDOM_POLICY[kind](rng)
        acts = [Act(policy, 0, rng.randint(0, min(policy.limit, 5)), rng.random() < 0.8) for _ in range(20)]
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
        act = Act(RANDOM_POLICY[kind](rng), 0, 1, commit=True)
        if model(act, None).verdict.reset_after_us < SECOND_US:
            continue  # it could expire before it is looked at
        key = f"ttl:{compared}"
        (*_, reset_after_us, now_us), expires_ms, _ = wire.send(
            words(PRODUCTION[kind], key, act), ("PEXPIRETIME", key), ("DEL", key)
        )
        # A key lives through the millisecond that it expires in.
        assert now_us + reset_after_us <= (expires_ms + 1) * 1_000
        assert expires_ms * 1_000 < now_us + reset_after_us + 2_000
        compared += 1


@pytest.mark.parametrize("kind", SCRIPT_NAMES)
@pytest.mark.parametrize("stored", ["", "7", "x" * 21, "x" * 25])
def test_foreign_value_is_refused_and_kept(wire: Wire, kind: type[Policy], stored: str) -> None:
    """A string that no script wrote ends the call with an error of its own, and stays."""
    load_all(wire)
    act = Act(RANDOM_POLICY[kind](random.Random(1)), 0, 1, commit=True)
    _, reply, value, _ = wire.send_raw(
        [("SET", "foreign", stored), words(PRODUCTION[kind], "foreign", act), ("GET", "foreign"), ("DEL", "foreign")]
    )
    assert isinstance(reply, hiredis.ReplyError)
    assert str(reply).startswith("SCFORMAT ")
    assert stored.encode() == value
