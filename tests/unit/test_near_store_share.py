"""A process's part of what near caches ask of their store."""

from __future__ import annotations

import sys

import pytest

from sidecar.cache.near.store_share import Part, part_of
from sidecar.errors import Reason, StoreError

CLIENTS = b"# Clients\r\nconnected_clients:9\r\ntracking_clients:%d\r\n"
MEMORY = b"# Memory\r\nused_memory:7\r\nmaxmemory:%d\r\nmaxmemory_policy:allkeys-lfu\r\n"
STATS = b"# Stats\r\ntracking_total_keys:%d\r\ntracking_total_items:%d\r\ntracking_total_prefixes:0\r\n"


@pytest.mark.parametrize(
    ("processes", "most_bytes", "part"),
    [
        pytest.param(1, 1 << 30, Part(165_191, touches=16_384), id="alone"),
        pytest.param(16, 1 << 30, Part(10_324, touches=1_024), id="one of many"),
        pytest.param(10_000, 1 << 30, Part(1_024, touches=64), id="never nothing"),
        pytest.param(1, 1 << 20, Part(1_024, touches=16_384), id="a tiny store"),
        pytest.param(2, 0, Part(sys.maxsize, touches=8_192), id="a store without bound"),
        pytest.param(0, 0, Part(sys.maxsize, touches=1_024), id="none that is known"),
    ],
)
def test_each_takes_its_part(processes: int, most_bytes: int, part: Part) -> None:
    """Of the memory and of the keys that are named."""
    assert part == part_of(CLIENTS % processes, MEMORY % most_bytes, STATS % (7, 9))


@pytest.mark.parametrize(
    ("most_bytes", "remembered", "held", "cold"),
    [
        pytest.param(1_000_000, 153, 153, True, id="little"),
        pytest.param(1_000_000, 154, 154, False, id="a fiftieth"),
        pytest.param(1_000_000, 100, 217, False, id="of many processes"),
        pytest.param(0, 1_000_000, 1_000_000, True, id="a store without bound"),
    ],
)
def test_a_store_that_remembers_too_much_is_given_no_more_to(
    most_bytes: int, remembered: int, held: int, *, cold: bool
) -> None:
    """Whoever holds it."""
    assert cold == part_of(CLIENTS % 1, MEMORY % most_bytes, STATS % (remembered, held)).cold


@pytest.mark.parametrize("answer", [StoreError(Reason.STORE_DENIED, "no"), b"", b"tracking_clients\r\nmaxmemory:x", 7])
def test_a_store_that_does_not_say_bounds_little(answer: object) -> None:
    """It is taken for one without bound, that sixteen share."""
    assert Part() == part_of(answer, answer, answer)
