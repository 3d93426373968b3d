"""The scripts of overrides against their model: equal step by step, and in what they store."""

from __future__ import annotations

import random
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import KINDS, StoreServer

import sidecar.store
from sidecar.ratelimit.overrides_model import Stored, delete_override, set_override
from sidecar.store.scripts import load_from

if TYPE_CHECKING:
    from collections.abc import Iterator

SEQUENCES = 1_000
STEPS = 8
SECOND_US = 1_000_000
EPOCH_US = 1_800_000_000 * SECOND_US
TTLS_FROM_MS = 4_102_444_800_000  # the year 2100

INJECTED_NOW = f"""
local function now_us() return tonumber(ARGV[#ARGV]) end
local server = redis
local redis = {{}}
function redis.call(command, ...)
  if command ~= 'PEXPIRE' then return server.call(command, ...) end
  local key, ttl_ms = ...
  assert(ttl_ms >= 1)
  return server.call('PEXPIREAT', key, {TTLS_FROM_MS} + ttl_ms)
end
"""

LUA = resources.files(sidecar.store) / "lua"
SET, DELETE = (load_from(LUA, f"{kind}_override", replaced={"now": INJECTED_NOW}) for kind in ("set", "delete"))
FIELDS = ("api:a", "api:b", "auth:a", "api:version")


def stored(oracle: Any, key: str) -> Stored | None:
    """Return what the store holds."""
    fields: dict[bytes, bytes] = oracle.hgetall(key)
    if not fields:
        return None
    overrides = {}
    for field, value in fields.items():
        if field != b"version":
            ends_us, _, text = value.decode().partition(":")
            overrides[field.decode()] = (int(ends_us), text)
    return Stored(overrides, int(fields[b"version"]), oracle.pexpiretime(key) - TTLS_FROM_MS)


@pytest.fixture(scope="module", params=KINDS)
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a client of a server of either kind."""
    server = StoreServer(request.param, tmp_path_factory.mktemp("store"))
    server.start()
    with server.oracle() as client:
        yield client
    server.stop()


def test_scripts_do_what_the_model_says(oracle: Any) -> None:
    """Over random sequences, with times that jump, overrides that end, and more than there may be."""
    draw = random.Random(20)
    set_sha, delete_sha = oracle.script_load(SET.source), oracle.script_load(DELETE.source)
    for sequence in range(SEQUENCES):
        key, state, now_us = f"overrides-{sequence}", None, EPOCH_US
        most = draw.randint(1, 3)
        for _ in range(STEPS):
            now_us += draw.choice((0, 1, SECOND_US, 5 * SECOND_US, -SECOND_US))
            field = draw.choice(FIELDS)
            if draw.random() < 0.7:
                lasts_us = draw.choice((1, 1_000, 2 * SECOND_US, 10 * SECOND_US))
                expected: object
                expected, state = set_override(state, now_us, field=field, text="{}:", lasts_us=lasts_us, most=most)
                answer = oracle.evalsha(set_sha, 1, key, field, "{}:", lasts_us, most, now_us)
            else:
                expected, state = delete_override(state, now_us, field=field)
                answer = oracle.evalsha(delete_sha, 1, key, field, now_us)
            assert (expected, state) == (answer, stored(oracle, key))
