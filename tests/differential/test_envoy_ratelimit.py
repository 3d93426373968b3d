"""The sidecar against a real envoyproxy/ratelimit: the same files, the same requests, the same answers.

Both count in windows since the epoch by clocks of this machine, so they agree in all but the moments about a window's
edge. A request is sent to both within one second; where that did not work out, both start anew from empty stores. Each
limit that a request brings along has a unit of its own for each descriptor: envoyproxy/ratelimit has one counter for a
descriptor's windows that begin at the same time, whatever their unit, and the sidecar one for each unit. And where both
remember refusals, such a limit stays the same for its descriptor: envoyproxy/ratelimit remembers the verdict, whatever
the limit was, and the sidecar the count. Where both stop counting when a request is over, there are no shadows and no
quotas: with envoyproxy/ratelimit, what these let through does not count.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from support.envoy import EnvoyClient, Reply, descriptor
from support.envoy_ratelimit import EnvoyRatelimit
from support.servers import StoreServer
from support.sidecars import RunningSidecar

from sidecar.config.envoy.folder import read_folder
from sidecar.config.envoy.reader import read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from sidecar.config.envoy.model import EnvoyDescriptor

# A checkout of envoyproxy/ratelimit, and where it has examples.
SOURCE_VARIABLE = "ENVOY_RATELIMIT_SOURCE"
EXAMPLE_FOLDERS = ("examples/ratelimit/config", "test/integration/runtime/current/ratelimit/config")

REQUESTS = 10_000
# A pair of calls takes a few milliseconds; less than this much of a second left is too little.
EDGE_SECONDS = 0.05

STOP = {"STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT": "true"}

RULES = """
domain: shop
descriptors:
  - key: client
    rate_limit: {unit: minute, requests_per_unit: 30, name: usual}
    metadata: {plan: usual, parts: [1, 2.5, yes, ~, "x", {z: 2026-11-25}], whole: {a: {b: -1_000}}}
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
    metadata: {plan: partner, 7: 0x10}
  - key: tried
    shadow_mode: true
    rate_limit: {unit: day, requests_per_unit: 20}
    metadata: {tried: true, plan: {name: none}}
  - key: quota
    quota_mode: true
    rate_limit: {unit: minute, requests_per_unit: 10}
    metadata: {quota: [], parts: {}}
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


def random_descriptor(rng: random.Random, *, settled: bool = False) -> dict[str, Any]:
    """Return a descriptor of any kind that the rules know, and of some that they do not.

    With `settled`, a limit that it brings along is always the same for its entries.
    """
    hits = rng.choice([None, None, None, 0, 1, 2, 7])
    kind = rng.random()
    if kind < 0.1:
        unit = rng.choice(list(UNITS))
        number = rng.randrange(4)
        requests = (0, 1, 5, 40)[number if settled else rng.randrange(4)]
        return descriptor(("own", f"{unit}{number}"), hits=hits, limit=(requests, UNITS[unit]))
    if kind < 0.6:
        return descriptor((rng.choice(KEYS), rng.choice(VALUES)), hits=hits)
    if kind < 0.75:
        return descriptor(("outer", rng.choice(VALUES)), ("inner", rng.choice(VALUES)), hits=hits)
    entries = [("path", rng.choice(PATHS)), ("method", rng.choice(VALUES)), ("user", rng.choice(VALUES))]
    return descriptor(*entries[: rng.randint(0, 3)], hits=hits)


class Both:
    """The two programs with the same files, each over a store of its own."""

    def __init__(
        self, folder: Path, texts: Mapping[str, str], settings: Mapping[str, str], overrides: Mapping[str, object]
    ) -> None:
        self._stores = [StoreServer("valkey", folder) for _ in range(2)]
        ports = [store.port for store in self._stores]
        headers = {"LIMIT_RESPONSE_HEADERS_ENABLED": "true"}
        self._peer = EnvoyRatelimit(folder / "peer", ports[0], texts, headers | dict(settings))
        made = {"envoy.config_dir": str(self._peer.files), "envoy.response_headers.kind": "fields"}
        self._sidecar = RunningSidecar(self._stores[1].url, engine="fast", overrides=made | dict(overrides))
        self._stack = ExitStack()
        self.compared = 0
        self.over = 0

    def __enter__(self) -> Self:
        """Start them."""
        with ExitStack() as stack:
            for store in self._stores:
                stack.callback(store.stop)
                store.start()
            self._oracles = [store.oracle() for store in self._stores]
            stack.enter_context(self._peer)
            self._sidecar.start()
            stack.callback(self._sidecar.stop)
            self._clients = [EnvoyClient(self._peer.channel), EnvoyClient(self._sidecar.channel())]
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them."""
        self._stack.close()

    def compare(self, domain: str, asked: list[dict[str, Any]], hits: int) -> None:
        """Send a request to both, within one second, and hold the answers against each other."""
        left = 1 - time.time() % 1
        if left < EDGE_SECONDS:
            time.sleep(left)
        second = int(time.time())
        theirs, ours = (_plain(client.ask(domain, *asked, hits=hits)) for client in self._clients)
        if int(time.time()) != second:
            for oracle in self._oracles:
                oracle.flushall()
            return
        assert theirs == ours, (domain, asked, hits)
        self.compared += 1
        self.over += ours.over


def _plain(reply: Reply) -> Reply:
    """Return a reply with single spaces in its metadata: between the parts of a limit Go writes one or two."""
    metadata = reply.metadata and json.loads(re.sub(" +", " ", json.dumps(reply.metadata)))
    return reply._replace(metadata=metadata)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("requests", "settings", "overrides"),
    [
        (REQUESTS, {}, {}),
        (REQUESTS // 4, {"QUOTA_MODE": "true"}, {"envoy.quota_mode": True}),
        (REQUESTS // 4, {"SHADOW_MODE": "true"}, {"envoy.shadow_mode": True}),
        (REQUESTS, {"LOCAL_CACHE_SIZE_IN_BYTES": "1048576"}, {"envoy.cache_refusals": True}),
        (REQUESTS // 4, {"RESPONSE_DYNAMIC_METADATA": "true"}, {"envoy.dynamic_metadata": True}),
        (REQUESTS // 2, STOP, {"envoy.stop_counting_when_over": True}),
        (
            REQUESTS // 2,
            STOP | {"LOCAL_CACHE_SIZE_IN_BYTES": "1048576"},
            {"envoy.stop_counting_when_over": True, "envoy.cache_refusals": True},
        ),
    ],
    ids=["plain", "quota", "shadow", "local cache", "metadata", "stop", "stop and local cache"],
)
def test_same_answers(tmp_path: Path, requests: int, settings: dict[str, str], overrides: dict[str, object]) -> None:
    """For random requests: the same codes, limits, remaining counts, resets and headers."""
    rng = random.Random(f"envoy: {sorted(settings)}")
    rules = re.sub("(shadow|quota)_mode: true", "", RULES) if "envoy.stop_counting_when_over" in overrides else RULES
    with Both(tmp_path, {"rules.yaml": rules}, settings, overrides) as both:
        for _ in range(requests):
            domain = rng.choice(["shop", "shop", "shop", "shop", "unheard"])
            asked = [
                random_descriptor(rng, settled="envoy.cache_refusals" in overrides) for _ in range(rng.randint(1, 4))
            ]
            both.compare(domain, asked, rng.choice([0, 0, 1, 3]))
    print(f"{both.compared} of {requests} requests compared, {both.over} of them over a limit")  # noqa: T201 (for -s)
    assert both.compared > requests * 0.9


def random_walk(rng: random.Random, descriptors: Sequence[EnvoyDescriptor]) -> list[tuple[str, str]]:
    """Return entries that lead down a configuration, most of the time as far as a limit."""
    if not descriptors:
        return []
    chosen = rng.choice(descriptors)
    others = rng.choice(["x", "y", ""])
    value = chosen.value.replace("*", others) if chosen.value and rng.random() < 0.8 else others
    entry = (chosen.key, value)
    if chosen.limit is not None and rng.random() < 0.6:
        return [entry]
    return [entry, *random_walk(rng, chosen.descriptors)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_same_answers_by_its_own_examples(tmp_path: Path) -> None:
    """With the example configurations of envoyproxy/ratelimit's sources, too."""
    source = os.environ.get(SOURCE_VARIABLE)
    if source is None:
        pytest.skip(f"{SOURCE_VARIABLE} names no checkout of envoyproxy/ratelimit")
    files = [file for folder in EXAMPLE_FOLDERS for file in read_folder(Path(source) / folder)]
    domains = {domain.name: domain.descriptors for domain in read(files, merge_domains=False).domains}
    rng = random.Random("examples")
    with Both(tmp_path, {Path(file.source).name: file.text for file in files}, {}, {}) as both:
        for _ in range(REQUESTS // 2):
            domain = rng.choice(list(domains))
            asked = [descriptor(*random_walk(rng, domains[domain])) for _ in range(rng.randint(1, 3))]
            both.compare(domain, asked, 0)
    print(f"{both.compared} requests compared, {both.over} of them over a limit")  # noqa: T201 (for -s)
    assert both.over > 100
