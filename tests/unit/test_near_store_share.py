"""A process's part of what near caches ask of their store."""

from __future__ import annotations

import sys

import pytest

from sidecar.cache.near.store_share import Part, part_of
from sidecar.errors import Reason, StoreError

CLIENTS = b"# Clients\r\nconnected_clients:9\r\ntracking_clients:%d\r\n"
MEMORY = b"# Memory\r\nused_memory:7\r\nmaxmemory:%d\r\nmaxmemory_policy:allkeys-lfu\r\n"


@pytest.mark.parametrize(
    ("processes", "most_bytes", "part"),
    [
        pytest.param(1, 1 << 30, Part(167_772, 16_384), id="alone"),
        pytest.param(16, 1 << 30, Part(10_485, 1_024), id="one of many"),
        pytest.param(10_000, 1 << 30, Part(1_024, 64), id="never nothing"),
        pytest.param(1, 1 << 20, Part(1_024, 16_384), id="a tiny store"),
        pytest.param(2, 0, Part(sys.maxsize, 8_192), id="a store without bound"),
        pytest.param(0, 0, Part(sys.maxsize, 1_024), id="none that is known"),
    ],
)
def test_each_takes_its_part(processes: int, most_bytes: int, part: Part) -> None:
    """Of the memory and of the keys that are named."""
    assert part == part_of(CLIENTS % processes, MEMORY % most_bytes)


@pytest.mark.parametrize("answer", [StoreError(Reason.STORE_DENIED, "no"), b"", b"tracking_clients\r\nmaxmemory:x", 7])
def test_a_store_that_does_not_say_bounds_little(answer: object) -> None:
    """It is taken for one without bound, that sixteen share."""
    assert Part() == part_of(answer, answer)
