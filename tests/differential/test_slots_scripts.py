"""The scripts of the concurrency limit against their model: equal step by step, and in what they store.

Time is injected as in test_ratelimit_scripts.py, and here, too, every TTL counts from a fixed point in the next
century.
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
from sidecar.ratelimit import slots_model
from sidecar.ratelimit.slots_model import ID_CHARS, NAMED, RANDOM, Leases, token_of
from sidecar.ratelimit.slots_policy import MAX_LEASE_MS, MAX_SLOTS
from sidecar.store.scripts import Script, load, load_from

if TYPE_CHECKING:
    from support.wire import Wire, Words

BATCH_SEQUENCES = 500
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
MAX_LEASE_US = MAX_LEASE_MS * 1_000
TTLS_FROM_MS = 4_102_444_800_000  # the year 2100
NO_KEY = -2

INJECTED_NOW = f"""
local function now_us() return tonumber(ARGV[#ARGV]) end
local server = redis
local redis = {{error_reply = server.error_reply}}
function redis.call(command, ...)
  if command ~= 'PEXPIRE' then return server.call(command, ...) end
  local key, ttl_ms = ...
  assert(ttl_ms >= 1)
  return server.call('PEXPIREAT', key, {TTLS_FROM_MS} + ttl_ms)
end
"""

KINDS = ("acquire", "renew", "release", "peek")
LUA = resources.files(sidecar.store) / "lua"
TIMED = {kind: load_from(LUA, f"{kind}_slots", replaced={"now": INJECTED_NOW}) for kind in KINDS}
PRODUCTION = {kind: load(f"{kind}_slots") for kind in KINDS}


class Act(NamedTuple):
    """One call of a sequence; each kind takes what it needs of it."""

    kind: str
    now_us: int
    limit: int
    lease_id: str
    slots: int
    lease_us: int

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """What the kind's script takes."""
        return {
            "acquire": (self.limit, self.slots, self.lease_us, self.lease_id),
            "renew": (token_of(self.lease_id, self.slots), self.lease_us),
            "release": (token_of(self.lease_id, self.slots),),
            "peek": (self.limit, self.slots),
        }[self.kind]

    def by_model(self, state: Leases | None) -> slots_model.Step[Any]:
        """Return what the model says."""
        if self.kind == "acquire":
            return slots_model.acquire(
                self.limit, state, self.now_us, self.lease_id, slots=self.slots, lease_us=self.lease_us
            )
        if self.kind == "renew":
            return slots_model.renew(state, self.now_us, self.lease_id, slots=self.slots, lease_us=self.lease_us)
        if self.kind == "release":
            return slots_model.release(state, self.now_us, self.lease_id, slots=self.slots)
        return slots_model.peek(self.limit, state, self.now_us, slots=self.slots)


class Run:
    """A model in the middle of a sequence."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.replies: list[list[int]] = []
        self.state: Leases | None = None
        self.ttl_ms: int | None = None

    def step(self, act: Act) -> None:
        """Take one step."""
        done = act.by_model(self.state)
        self.acts.append(act)
        self.replies.append([*map(int, done.answer), act.now_us])
        self.state = done.state
        if done.ttl_ms is not None:
            self.ttl_ms = done.ttl_ms

    def expires_ms(self) -> int:
        """Return what PEXPIRETIME says of the key afterwards."""
        return NO_KEY if self.state is None or self.ttl_ms is None else TTLS_FROM_MS + self.ttl_ms

    def stored(self) -> dict[bytes, float]:
        """Return the members of the key afterwards, with their scores."""
        if self.state is None:
            return {}
        members = {"used": -self.state.used, "longest": -self.state.longest_us}
        for lease_id, (slots, ends_us) in self.state.by_id.items():
            members[token_of(lease_id, slots)] = ends_us
            if lease_id.startswith(NAMED):
                members[lease_id] = -slots
        return {member.encode(): float(score) for member, score in members.items()}


def words(script: Script, key: str, act: Act, *more: int) -> Words:
    """Return the command that runs a script as the domain does; it must be loaded."""
    return ("EVALSHA", script.sha, 1, key, *act.arguments, *more)


def an_id(kind: str, number: int) -> str:
    """Return an id of that kind."""
    return kind + str(number).rjust(ID_CHARS - 1, "0")


def log_uniform(rng: random.Random, least: int, most: int) -> int:
    """Return an integer whose order of magnitude is as random as itself."""
    return min(most, max(least, int(least * (most / least) ** rng.random())))


def random_limit(rng: random.Random) -> int:
    """Return any limit, small ones most of the time, so that they are reached."""
    return rng.choice([1, 2, 3, rng.randint(1, 8), rng.randint(1, 30), log_uniform(rng, 1, MAX_SLOTS), MAX_SLOTS])


def random_sequence(rng: random.Random) -> Run:
    """Walk the model at random, with a taste for the moments when leases end."""
    run = Run()
    limit = random_limit(rng)
    usual_us = rng.choice([10_000, SECOND_US, 30 * SECOND_US, log_uniform(rng, 10_000, MAX_LEASE_US), MAX_LEASE_US])
    now_us = rng.choice([1, rng.randrange(1, 2**52), 1_700_000_000 * SECOND_US + rng.randrange(DAY_US)])
    for number in range(rng.randint(1, 20)):
        now_us = min(2**52 + 400 * DAY_US, max(1, now_us + random_time_step(rng, run.state, now_us)))
        lease_us = rng.choice([usual_us, usual_us, log_uniform(rng, 10_000, MAX_LEASE_US)])
        run.step(random_act(rng, run.state, limit, number)._replace(now_us=now_us, lease_us=lease_us))
        if rng.random() < 0.05:
            limit = random_limit(rng)
    return run


def random_act(rng: random.Random, state: Leases | None, limit: int, number: int) -> Act:
    """Return a call about a lease that is there, one beside it, a named caller's or a fresh one."""
    kind = rng.choices(KINDS, (6, 2, 2, 1))[0]
    slots = min(limit, rng.choice([0, 1, 1, 1, 2, rng.randint(1, limit), limit]))
    lease_id = an_id(NAMED, rng.randint(0, 2)) if rng.random() < 0.4 else an_id(RANDOM, number)
    if state is not None and rng.random() < 0.5:
        held_id, held = rng.choice(list(state.by_id.items()))
        if kind != "acquire" or held_id.startswith(NAMED):  # a random id is drawn once
            lease_id = held_id
            slots = min(limit, held.slots) if rng.random() < 0.9 else slots
    return Act(kind, 0, limit, lease_id, max(slots, 0 if kind == "peek" else 1), SECOND_US)


def random_time_step(rng: random.Random, state: Leases | None, now_us: int) -> int:
    """Return 0 µs, or to just around when a lease ends, or up to days; now and then, backwards."""
    ends_us = [lease.ends_us for lease in state.by_id.values()] if state else [now_us]
    step = rng.choice(
        [
            0,
            rng.randint(0, 5),
            rng.randint(0, max(0, min(ends_us) - now_us)),
            rng.choice(ends_us) - now_us + rng.randint(-1, 1),
            log_uniform(rng, 1, 2 * DAY_US),
        ]
    )
    return -abs(step) if rng.random() < 0.1 else step


def compare(wire: Wire, runs: list[Run]) -> None:
    """Run all sequences, each on its own key, and hold replies, TTLs and what is stored against the models'."""
    batch: list[Words] = []
    for number, run in enumerate(runs):
        key = f"key:{number}"
        batch += [words(TIMED[act.kind], key, act, act.now_us) for act in run.acts]
        batch += [("PEXPIRETIME", key), ("ZRANGE", key, 0, -1, "WITHSCORES"), ("DEL", key)]
    replies = iter(wire.send(*batch))
    for run in runs:
        actual = [next(replies) for _ in run.acts]
        assert run.replies == actual, f"after {run.acts}"
        expires_ms, flat = next(replies), next(replies)
        stored = {member: float(score) for member, score in zip(flat[::2], flat[1::2], strict=True)}
        assert (run.expires_ms(), run.stored()) == (expires_ms, stored), f"after {run.acts}"
        assert int(run.state is not None) == next(replies)


def load_all(wire: Wire) -> None:
    """Load the scripts that the commands name."""
    wire.send(*(("SCRIPT", "LOAD", script.source) for script in (*TIMED.values(), *PRODUCTION.values())))


def test_random_sequences_equal_the_model(wire: Wire, sequences: int) -> None:
    """Ten thousand random sequences give the model's answers step by step, and leave its state and TTL."""
    load_all(wire)
    rng = random.Random("concurrency")
    for _ in range(sequences // BATCH_SEQUENCES):
        compare(wire, [random_sequence(rng) for _ in range(BATCH_SEQUENCES)])


acts = st.lists(
    st.builds(
        Act,
        kind=st.sampled_from(KINDS),
        now_us=st.integers(-2 * DAY_US, 2 * DAY_US) | st.integers(0, 20_000),
        limit=st.integers(1, 5),
        lease_id=st.builds(an_id, st.sampled_from([NAMED, RANDOM]), st.integers(0, 3)),
        slots=st.integers(1, 5),
        lease_us=st.integers(1, 20_000) | st.integers(10_000, MAX_LEASE_US),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start_us=st.integers(DAY_US * 30, 2**52), strides=acts)
def test_any_sequence_equals_the_model(wire: Wire, start_us: int, strides: list[Act]) -> None:
    """Whatever hypothesis thinks of, too; what it finds it shrinks. Each act's time is a step from the one before."""
    load_all(wire)
    run, now_us = Run(), start_us
    for act in strides:
        now_us += act.now_us
        held = run.state.by_id.get(act.lease_id) if run.state else None
        if act.kind == "acquire" and held is not None and act.lease_id.startswith(RANDOM):
            continue  # an id is drawn once
        run.step(act._replace(now_us=now_us, slots=min(act.slots, act.limit)))
    compare(wire, [run])


def test_production_scripts_equal_the_model_at_the_servers_times(wire: Wire) -> None:
    """The scripts as they ship, TTLs included, give what the model says for the times that they return."""
    load_all(wire)
    rng = random.Random("production: concurrency")
    for number in range(300):
        key, limit = f"production:{number}", rng.randint(1, 6)
        run = Run()
        for place in range(15):
            act = random_act(rng, run.state, limit, place)._replace(lease_us=rng.choice([10_000, SECOND_US]))
            (reply,) = wire.send(words(PRODUCTION[act.kind], key, act))
            run.step(act._replace(now_us=reply[-1]))
            assert run.replies[-1] == reply, f"after {run.acts}"
        wire.send(("DEL", key))


def test_key_lives_until_its_last_lease_ends(wire: Wire) -> None:
    """The key expires by the server's clock no earlier than the last lease ends, and hardly later."""
    load_all(wire)
    rng = random.Random("ttl: concurrency")
    for number in range(500):
        key = f"ttl:{number}"
        ends_us = 0
        for place in range(3):
            act = Act("acquire", 0, 10, an_id(RANDOM, place), 1, log_uniform(rng, SECOND_US, MAX_LEASE_US))
            (reply,) = wire.send(words(PRODUCTION["acquire"], key, act))
            ends_us = max(ends_us, reply[-1] + reply[2])
        expires_ms, _ = wire.send(("PEXPIRETIME", key), ("DEL", key))
        # A key lives through the millisecond that it expires in.
        assert ends_us <= (expires_ms + 1) * 1_000
        assert expires_ms * 1_000 < ends_us + 250_000  # a busy machine may let the command wait


def test_one_call_drops_all_leases_that_end_at_once(wire: Wire) -> None:
    """As many named leases as a policy can have are dropped by one call, which answers rightly."""
    load_all(wire)
    key, now_us = "full", 1_700_000_000 * SECOND_US
    taken = [Act("acquire", now_us, MAX_SLOTS, an_id(NAMED, number), 1, 10_000) for number in range(MAX_SLOTS)]
    last = Act("acquire", now_us + 10_000, MAX_SLOTS, an_id(RANDOM, 0), MAX_SLOTS, 10_000)
    *replies, reply, _ = wire.send(
        *(words(TIMED["acquire"], key, act, act.now_us) for act in (*taken, last)), ("DEL", key)
    )
    assert ([1] * MAX_SLOTS, [1, MAX_SLOTS, 10_000, 0, last.now_us]) == ([taken[0] for taken in replies], reply)


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_set_is_refused_and_kept(wire: Wire, kind: str) -> None:
    """A sorted set that no script wrote ends the call with an error of its own, and stays."""
    load_all(wire)
    act = Act(kind, 0, 5, an_id(RANDOM, 0), 1, SECOND_US)
    _, reply, members, _ = wire.send_raw(
        [
            ("ZADD", "foreign", 7, "seven"),
            words(PRODUCTION[kind], "foreign", act),
            ("ZRANGE", "foreign", 0, -1),
            ("DEL", "foreign"),
        ]
    )
    assert isinstance(reply, hiredis.ReplyError)
    assert str(reply).startswith("SCFORMAT ")
    assert [b"seven"] == members


@pytest.mark.parametrize("kind", KINDS)
def test_value_of_another_type_is_refused_and_kept(wire: Wire, kind: str) -> None:
    """What another algorithm stored, before the policy was changed, is no leases."""
    load_all(wire)
    act = Act(kind, 0, 5, an_id(RANDOM, 0), 1, SECOND_US)
    _, reply, value, _ = wire.send_raw(
        [("SET", "foreign", "x"), words(PRODUCTION[kind], "foreign", act), ("GET", "foreign"), ("DEL", "foreign")]
    )
    assert isinstance(reply, hiredis.ReplyError)
    assert (True, b"x") == (str(reply).startswith("WRONGTYPE "), value)
