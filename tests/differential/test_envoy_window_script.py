"""The script of Envoy's fixed window against its model: equal step by step, on real servers, by an injected clock."""

from __future__ import annotations

import random
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import hiredis
import pytest

import sidecar.store
from sidecar.ratelimit.envoy.rules import Unit
from sidecar.ratelimit.envoy.window import MOST_COUNTED, MOST_HITS, Counted, count_window
from sidecar.store.scripts import load, load_from

if TYPE_CHECKING:
    from support.wire import Wire, Words

BATCH_SEQUENCES = 500
SECOND_US = 1_000_000
TTLS_FROM_MS = 4_102_444_800_000  # the year 2100
NO_KEY = -2

# As for the other limits' scripts: TTLs count from a point in the next century, so that no key is lost meanwhile.
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
TIMED = load_from(resources.files(sidecar.store) / "lua", "count_window", replaced={"now": INJECTED_NOW})
PRODUCTION = load("count_window")


class Act(NamedTuple):
    """One call."""

    length_us: int
    now_us: int
    hits: int


class Run:
    """The model's walk through the acts of one key."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.replies: list[list[int]] = []
        self.state: Counted | None = None
        self.ttl_ms: int | None = None

    def step(self, act: Act) -> None:
        """Take one step."""
        done = count_window(act.length_us, self.state, act.now_us, act.hits)
        self.acts.append(act)
        self.replies.append([done.hits, done.reset_after_us, act.now_us])
        self.state = done.state
        self.ttl_ms = self.ttl_ms if done.ttl_ms is None else done.ttl_ms


def random_run(rng: random.Random) -> Run:
    """Walk at random, with a taste for the windows' edges; now and then the clock goes back."""
    run = Run()
    length_us = rng.choice(list(Unit)).length_us
    now_us = rng.choice([0, rng.randrange(2**50), 1_700_000_000 * SECOND_US])
    for _ in range(rng.randint(1, 20)):
        edge = length_us - now_us % length_us
        step = rng.choice([0, rng.randint(0, 5), edge - 1, edge, edge + 1, rng.randint(0, 3 * length_us)])
        now_us = max(0, now_us - step if rng.random() < 0.2 else now_us + step)
        hits = rng.choice([0, 1, 1, rng.randint(0, 100), MOST_HITS])
        run.step(Act(length_us, now_us, hits))
        if rng.random() < 0.03:
            length_us = rng.choice(list(Unit)).length_us
    return run


def test_random_sequences_equal_the_model(wire: Wire, sequences: int) -> None:
    """Ten thousand random sequences give the model's answers step by step, and leave its TTL."""
    wire.send(("SCRIPT", "LOAD", TIMED.source))
    rng = random.Random("envoy's window")
    for _ in range(sequences // BATCH_SEQUENCES):
        runs = [random_run(rng) for _ in range(BATCH_SEQUENCES)]
        batch: list[Words] = []
        for number, run in enumerate(runs):
            key = f"window:{number}"
            batch += [("EVALSHA", TIMED.sha, 1, key, act.length_us, act.hits, act.now_us) for act in run.acts]
            batch += [("PEXPIRETIME", key), ("DEL", key)]
        replies = iter(wire.send(*batch))
        for run in runs:
            assert run.replies == [next(replies) for _ in run.acts], run.acts
            expires_ms, existed = next(replies), next(replies)
            assert int(run.ttl_ms is not None) == existed
            assert (NO_KEY if run.ttl_ms is None else TTLS_FROM_MS + run.ttl_ms) == expires_ms


def test_production_script_equals_the_model_at_the_servers_times(wire: Wire) -> None:
    """The script as it ships gives what the model says for the times that it returns."""
    wire.send(("SCRIPT", "LOAD", PRODUCTION.source))
    rng = random.Random("production")
    for number in range(200):
        length_us = rng.choice([unit for unit in Unit if unit is not Unit.SECOND]).length_us
        hits = [rng.randint(0, 3) for _ in range(20)]
        key = f"production:{number}"
        *replies, _ = wire.send(*(("EVALSHA", PRODUCTION.sha, 1, key, length_us, each) for each in hits), ("DEL", key))
        run = Run()
        for each, reply in zip(hits, replies, strict=True):
            run.step(Act(length_us, reply[-1], each))
        assert run.replies == replies


def test_count_stays_where_integers_end(wire: Wire) -> None:
    """A count does not pass 2^53 - 1, in the script as in the model."""
    wire.send(("SCRIPT", "LOAD", TIMED.source))
    length_us = Unit.YEAR.length_us
    state = Counted(0, MOST_COUNTED - 5)
    # Tag, number and count, as the script packs them.
    stored = bytes([2]) + (0).to_bytes(8, "big") + state.hits.to_bytes(8, "big")
    _, reply, _ = wire.send(
        ("SET", "most", stored), ("EVALSHA", TIMED.sha, 1, "most", length_us, MOST_HITS, 7), ("DEL", "most")
    )
    assert [MOST_COUNTED, length_us - 7, 7] == reply
    assert MOST_COUNTED == count_window(length_us, state, 7, MOST_HITS).hits


@pytest.mark.parametrize("stored", ["", "7", "x" * 17, "x" * 21])
def test_foreign_value_is_refused_and_kept(wire: Wire, stored: str) -> None:
    """A string that no script wrote ends the call with an error of its own, and stays."""
    wire.send(("SCRIPT", "LOAD", PRODUCTION.source))
    call = ("EVALSHA", PRODUCTION.sha, 1, "foreign", SECOND_US, 1)
    _, reply, value, _ = wire.send_raw([("SET", "foreign", stored), call, ("GET", "foreign"), ("DEL", "foreign")])
    assert isinstance(reply, hiredis.ReplyError)
    assert str(reply).startswith("SCFORMAT ")
    assert stored.encode() == value
