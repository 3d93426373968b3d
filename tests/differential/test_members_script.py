"""The script that counts the live sidecars against its model: equal step by step, and in what it stores."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from support.timed_scripts import LUA

from sidecar.ratelimit.members import count_members
from sidecar.store.scripts import load_from

if TYPE_CHECKING:
    from support.servers import StoreServer

SEQUENCES, STEPS, BATCH = 10_000, 8, 500
START_US = 1_750_000_000_000_000
NAMES = ("one", "other", "third", "fourth")
# Longer than this test takes, so that no key is gone before it is looked at.
EXPIRIES_US = (120_000_000, 600_000_001)

TIMED = load_from(
    LUA, "count_members", replaced={"now": "local function now_us() return tonumber(ARGV[#ARGV]) end"}
)  # fmt: skip


def test_it_equals_its_model(server: StoreServer) -> None:
    """Over random beats, with a clock that jumps to and fro, about the expiry too."""
    rng = random.Random(2026)
    oracle = server.oracle()
    script = oracle.script_load(TIMED.source)
    for first in range(0, SEQUENCES, BATCH):
        expected: list[object] = []
        pipeline = oracle.pipeline(transaction=False)
        for number in range(first, first + BATCH):
            key, expiry_us = f"members:{number}", rng.choice(EXPIRIES_US)
            members: dict[str, int] | None = None
            now_us = START_US
            for _ in range(STEPS):
                now_us += rng.choice([0, 1, 5_000_000, expiry_us - 1, expiry_us, expiry_us + 1])
                now_us -= rng.choice([0, 0, 0, 1, expiry_us, expiry_us + 1, 3 * expiry_us])
                name = rng.choice(NAMES)
                live, members, ttl_ms = count_members(members, now_us, name, expiry_us)
                pipeline.evalsha(script, 1, key, name, expiry_us, now_us)
                pipeline.zrange(key, 0, -1, withscores=True)
                expected += [live, {name.encode(): float(at_us) for name, at_us in members.items()}, ttl_ms]
            pipeline.pttl(key)
        told = iter(pipeline.execute())
        found: list[object] = []
        for place in range(0, len(expected), 3):
            found += [next(told), dict(next(told)), expected[place + 2]]
            if place // 3 % STEPS == STEPS - 1:
                left_ms, last = next(told), expected[place + 2]
                assert isinstance(last, int)
                assert last - 60_000 < left_ms <= last
        assert expected == found
