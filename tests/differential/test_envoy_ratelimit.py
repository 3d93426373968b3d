"""The sidecar against a real envoyproxy/ratelimit: the same files, the same requests, the same answers.

Both count in windows since the epoch by clocks of this machine, so they agree in all but the moments about a window's
edge. A request is sent to both within one second; where that did not work out, both start anew from empty stores. Each
limit that a request brings along has a unit of its own for each descriptor: envoyproxy/ratelimit has one counter for a
descriptor's windows that begin at the same time, whatever their unit, and the sidecar one for each unit.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.envoy import EnvoyClient, descriptor
from support.envoy_ratelimit import EnvoyRatelimit
from support.servers import StoreServer
from support.sidecars import RunningSidecar

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS = 10_000
# A pair of calls takes a few milliseconds; less than this much of a second left is too little.
EDGE_SECONDS = 0.05

RULES = """
domain: shop
descriptors:
  - key: client
    rate_limit: {unit: minute, requests_per_unit: 30, name: usual}
  - key: client
    value: b1
    rate_limit: {unit: second, requests_per_unit: 2}
  - key: client
    value: b2
  - key: client
    value: b3
    rate_limit: {unlimited: true}
  - key: partner
    rate_limit: {unit: hour, requests_per_unit: 25, replaces: [{name: usual}, {name: nested}]}
  - key: tried
    shadow_mode: true
    rate_limit: {unit: day, requests_per_unit: 20}
  - key: quota
    quota_mode: true
    rate_limit: {unit: minute, requests_per_unit: 10}
  - key: path
    value: /a/*/z
    rate_limit: {unit: week, requests_per_unit: 15}
  - key: path
    value: /a/*
    share_threshold: true
    value_to_metric: true
    rate_limit: {unit: month, requests_per_unit: 60}
    descriptors:
      - key: method
        rate_limit: {unit: year, requests_per_unit: 12, name: nested}
      - key: method
        value: b1
        detailed_metric: true
        rate_limit: {unit: second, requests_per_unit: 1}
      - key: method
        value: "*2"
        share_threshold: true
        quota_mode: true
        rate_limit: {unit: minute, requests_per_unit: 8}
        descriptors:
          - key: user
            rate_limit: {unit: hour, requests_per_unit: 4}
  - key: nobody
    rate_limit: {unit: minute, requests_per_unit: 0}
  - key: outer
    value_to_metric: true
    descriptors:
      - key: inner
        rate_limit: {unit: minute, requests_per_unit: 9}
"""

KEYS = ("client", "client", "partner", "tried", "quota", "nobody", "unheard")
VALUES = ("", "b1", "b2", "b3", "c1", "c2", "c3", "d1", "d2", "d3")
PATHS = ("/a/1", "/a/2", "/a/1/z", "/a/2/z", "/a/", "/b", "/a/b/c/z")
UNITS = {"second": 1, "minute": 2, "hour": 3, "day": 4, "month": 5, "year": 6}


def random_descriptor(rng: random.Random) -> dict[str, Any]:
    """Return a descriptor of any kind that the rules know, and of some that they do not."""
    hits = rng.choice([None, None, None, 0, 1, 2, 7])
    kind = rng.random()
    if kind < 0.1:
        unit = rng.choice(list(UNITS))
        requests = rng.choice([0, 1, 5, 40])
        return descriptor(("own", f"{unit}{rng.randrange(4)}"), hits=hits, limit=(requests, UNITS[unit]))
    if kind < 0.6:
        return descriptor((rng.choice(KEYS), rng.choice(VALUES)), hits=hits)
    if kind < 0.75:
        return descriptor(("outer", rng.choice(VALUES)), ("inner", rng.choice(VALUES)), hits=hits)
    entries = [("path", rng.choice(PATHS)), ("method", rng.choice(VALUES)), ("user", rng.choice(VALUES))]
    return descriptor(*entries[: rng.randint(0, 3)], hits=hits)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("requests", "settings", "overrides"),
    [
        (REQUESTS, {}, {}),
        (REQUESTS // 4, {"QUOTA_MODE": "true"}, {"envoy.quota_mode": True}),
        (REQUESTS // 4, {"SHADOW_MODE": "true"}, {"envoy.shadow_mode": True}),
    ],
    ids=["plain", "quota", "shadow"],
)
def test_same_answers(tmp_path: Path, requests: int, settings: dict[str, str], overrides: dict[str, object]) -> None:
    """For random requests: the same codes, limits, remaining counts, resets and headers."""
    stores = [StoreServer("valkey", tmp_path) for _ in range(2)]
    for store in stores:
        store.start()
    oracles = [store.oracle() for store in stores]
    compared = over = 0
    try:
        headers = {"LIMIT_RESPONSE_HEADERS_ENABLED": "true"}
        with EnvoyRatelimit(tmp_path / "peer", stores[0].port, RULES, headers | settings) as peer:
            made = {"envoy.config_dir": str(peer.files), "envoy.response_headers.kind": "fields"}
            sidecar = RunningSidecar(stores[1].url, engine="fast", overrides=made | overrides)
            sidecar.start()
            try:
                clients = [EnvoyClient(peer.channel), EnvoyClient(sidecar.channel())]
                rng = random.Random(f"envoy: {sorted(settings)}")
                for _ in range(requests):
                    domain = rng.choice(["shop", "shop", "shop", "shop", "unheard"])
                    asked = [random_descriptor(rng) for _ in range(rng.randint(1, 4))]
                    hits = rng.choice([0, 0, 1, 3])
                    left = 1 - time.time() % 1
                    if left < EDGE_SECONDS:
                        time.sleep(left)
                    second = int(time.time())
                    theirs, ours = (client.ask(domain, *asked, hits=hits) for client in clients)
                    if int(time.time()) != second:
                        for oracle in oracles:
                            oracle.flushall()
                        continue
                    assert theirs == ours, (domain, asked, hits)
                    compared += 1
                    over += ours.over
            finally:
                sidecar.stop()
    finally:
        for store in stores:
            store.stop()
    print(f"{compared} of {requests} requests compared, {over} of them over a limit")  # noqa: T201 (pytest -s shows it)
    assert compared > requests * 0.9
