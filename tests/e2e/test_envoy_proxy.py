"""A real Envoy in front of an HTTP service, limited by the sidecar."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.envoy_proxy import EnvoyProxy, binary, get
from support.programs import SidecarProgram, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import StoreServer

RULES = """
domain: shop
descriptors:
  - key: client
    rate_limit: {unit: year, requests_per_unit: 12}
    metadata: {plan: {name: usual, paid: true}}
  - key: path
    value: /pages/*
    share_threshold: true
    descriptors:
      - key: user
        rate_limit: {unit: year, requests_per_unit: 4, algorithm: sliding_window}
"""
CONFIG = """
listen: ["{address}"]
envoy:
  config_dir: RULES
  response_headers: {kind: KIND}
  dynamic_metadata: true
  cache_refusals: true
"""


@pytest.fixture(params=["fields", "ietf"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return each kind of headers."""
    return str(request.param)


@pytest.fixture
def proxy(tmp_path: Path, store: StoreServer, kind: str) -> Iterator[EnvoyProxy]:
    """Return an Envoy in front of a service, and a sidecar of two workers behind it."""
    binary()
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "shop.yaml").write_text(RULES)
    config = CONFIG.replace("RULES", str(tmp_path / "rules")).replace("KIND", kind)
    store.start()
    arguments = ["--redis", store.url, "--workers", "2"]
    with (
        SidecarProgram(tmp_path / "sidecar", config=config, arguments=arguments) as sidecar,
        EnvoyProxy(tmp_path, sidecar.address, "shop") as running,
    ):
        yield running


def test_exactly_the_limit_passes(proxy: EnvoyProxy, kind: str) -> None:
    """Of many requests at once exactly the limit passes; all others get 429, and each is told how it stands."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: get(proxy.open_port, x_client="ann"), range(40)))
    assert {200: 12, 429: 28} == Counter(status for status, _ in answers)
    for status, headers in answers:
        # Envoy's own, of what the answer says of each limit.
        assert "12, 12;w=31536000" == headers["x-ratelimit-limit"]
        if kind == "fields":
            assert "12" == headers["ratelimit-limit"]
            assert headers["ratelimit-remaining"] == headers["x-ratelimit-remaining"]
            assert int(headers["ratelimit-reset"]) > 0
        else:
            assert '"descriptor-1";q=12;w=31536000' == headers["ratelimit-policy"]
            assert f'"descriptor-1";r={headers["x-ratelimit-remaining"]};t=' in headers["ratelimit"]
            assert (status == 429) == ("retry-after" in headers)
    assert {200: 1} == Counter(status for status, _ in [get(proxy.open_port, x_client="bob")])


def test_nested_descriptors(proxy: EnvoyProxy) -> None:
    """What the filter makes of path and user is matched by wildcard and key, by another algorithm."""
    pages = [get(proxy.open_port, f"/pages/{number}", x_user="ann")[0] for number in range(6)]
    assert [200] * 4 + [429] * 2 == pages
    assert 200 == get(proxy.open_port, "/pages/7", x_user="bob")[0]
    assert 200 == get(proxy.open_port, "/other", x_user="ann")[0]


def test_metadata_in_the_access_log(proxy: EnvoyProxy) -> None:
    """Envoy's access log can tell what was asked, and the metadata of the limits that a request was within."""
    get(proxy.open_port, x_client="ann")
    get(proxy.open_port, "/pages/1", x_user="bob")
    wait_until(lambda: len(proxy.metadata) == 2, "both requests are in the log")
    first, second = proxy.metadata
    assert {
        "domain": "shop",
        "descriptors": [{"entries": ["client=ann"]}],
        "metadata": {"plan": {"name": "usual", "paid": True}},
    } == first
    assert {"domain": "shop", "descriptors": [{"entries": ["path=/pages/1", "user=bob"]}]} == second


def test_failure_modes(proxy: EnvoyProxy, store: StoreServer) -> None:
    """When the store is gone, Envoy does as it is configured: lets through, or denies with 500."""
    assert (200, 200) == (get(proxy.open_port, x_client="ann")[0], get(proxy.closed_port, x_client="ann")[0])
    store.kill()
    assert 200 == get(proxy.open_port, x_client="ann")[0]
    assert 500 == get(proxy.closed_port, x_client="ann")[0]
    store.start()
    wait_until(lambda: get(proxy.closed_port, x_client="ann")[0] == 200, "the store's return is noticed")
