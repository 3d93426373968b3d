"""The entries of a batch are judged as each of them would be alone."""

from __future__ import annotations

import struct
from typing import Any

import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.cache.entry import decode_entry
from sidecar.cache.lookups import judge_all
from sidecar.cache.packing import unpack
from sidecar.cache.policy import judge
from sidecar.errors import Reason, SidecarError, StoreError

NOW = 1_700_000_000_000_000
NEAR_NOW = st.integers(NOW - 5_000_000, NOW + 5_000_000) | st.sampled_from([NOW - 1, NOW, NOW + 1, 0, 2**64 - 1])


def entry(version: int, written_us: int, fresh_until_us: int, value: bytes) -> bytes:
    """Return an entry as it lies in the store."""
    return struct.pack(">2sQQQ", b"S\x01", version, written_us, fresh_until_us) + value


def compressed(stored: bytes) -> bytes:
    """Return the same entry with its value compressed."""
    return b"S\x03" + stored[2:26] + zstandard.compress(stored[26:])


def read(packed: bytes) -> bytes:
    """Return what a value was before it was compressed."""
    return unpack(packed, 1000)


ENTRIES = st.builds(entry, st.integers(0, 2**64 - 1), NEAR_NOW, NEAR_NOW, st.binary(max_size=40))
REPLIES = st.lists(
    st.one_of(
        ENTRIES,
        st.none(),
        st.binary(max_size=60),
        ENTRIES.map(lambda stored: b"T" + stored[1:]),
        ENTRIES.map(compressed),
        ENTRIES.map(lambda stored: b"S\x03" + stored[2:]),
        st.sampled_from(Reason).map(lambda reason: StoreError(reason, "failed")),
    ),
    max_size=20,
)


def one_by_one(replies: list[Any], now_us: int, stale_for_ms: int) -> list[Any]:
    """Return what the general functions say of each reply."""
    results: list[Any] = []
    for reply in replies:
        try:
            if isinstance(reply, SidecarError):
                raise reply
            results.append(judge(decode_entry(reply, read), now_us, stale_for_ms))
        except SidecarError as error:
            results.append(error)
    return results


def comparable(results: list[Any]) -> list[Any]:
    """Return results that are equal if they say the same; errors are told apart by what they say."""
    return [
        (result.reason, result.message, result.field) if isinstance(result, SidecarError) else tuple(result)
        for result in results
    ]


@given(REPLIES, st.sampled_from([0, 1, 2000]))
@example([entry(1, NOW, NOW + 1, b""), entry(1, NOW, NOW, b""), entry(1, NOW + 1, NOW + 2, b"ahead")], 0)
@example([entry(1, NOW, NOW + 1, b"")[:-1], b""], 0)
def test_each_is_judged_as_it_would_be_alone(replies: list[Any], stale_for_ms: int) -> None:
    """Fresh, stale, gone, malformed, from a clock that is ahead, or failed before."""
    expected = comparable(one_by_one(replies, NOW, stale_for_ms))
    assert expected == comparable(judge_all(replies, NOW, stale_for_ms, read))
