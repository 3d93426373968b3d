"""Judging the entries of a batch together: what `policy.judge` says of each, at half of its cost. Pure.

Most entries of most batches are fresh. Those are read here, in one loop that calls no function of the sidecar's: 0.4 µs
an entry in place of 0.8, where all that a batch costs is some 4 µs an entry. On anything else the general functions
decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.cache.entry import HEADER, HEADER_BYTES, MAGIC, decode_entry
from sidecar.cache.policy import MISS, Outcome, judge
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.cache.policy import Found
    from sidecar.store.base import Reply

_HIT = Outcome.HIT


def judge_all(
    replies: Sequence[Reply], now_us: int, stale_for_ms: int, unpack: Callable[[bytes], bytes]
) -> list[Found | SidecarError]:
    """Decide what each entry is worth that GET returned; an error among them, or in what is stored, is in its place.

    `unpack` gives back what a compressed value was, or raises what is to stand in its place.
    """
    found: list[Found | SidecarError] = []
    add, header_of = found.append, HEADER.unpack_from
    for reply in replies:
        if reply is None:
            add(MISS)
            continue
        if type(reply) is bytes and len(reply) >= HEADER_BYTES:
            magic, version, written_us, fresh_until_us = header_of(reply)
            if magic == MAGIC and written_us <= now_us < fresh_until_us:
                ttl_ms, age_ms = -((now_us - fresh_until_us) // 1000), (now_us - written_us) // 1000
                add((_HIT, reply[HEADER_BYTES:], version, ttl_ms, age_ms))
                continue
        add(_judge_one(reply, now_us, stale_for_ms, unpack))
    return found


def _judge_one(reply: Reply, now_us: int, stale_for_ms: int, unpack: Callable[[bytes], bytes]) -> Found | SidecarError:
    if isinstance(reply, SidecarError):
        return reply
    try:
        return judge(decode_entry(reply, unpack), now_us, stale_for_ms)
    except SidecarError as error:
        return error
