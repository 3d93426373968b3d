"""How an entry lies in Redis: a header of 26 bytes, then the value.

    0   2  "S", 1             the format
    2   8  version            grows with each write of the key
    10  8  written            microseconds of the store's clock
    18  8  fresh until        microseconds of the store's clock; the key's own TTL may be longer, for stale reads

An entry of a cache with tags or generations has "S", 2 in its place, and between header and value

    0   8  position           of the cache's generations, when it was written
    8   2  size               of its tags together; then each tag, behind one byte that says how long it is

"S", 3 and "S", 4 stand in place of "S", 1 and "S", 2 where the value is compressed (see `packing`). A reader goes by
that alone, whatever its cache's policy says by now; one that is too old to know them refuses the entry.

All integers are big-endian. The scripts write it (`lua/includes/header.lua`); it is read here, so that a read is one
GET. A record has the same header as the value of its field "".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from sidecar.errors import Reason, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HEADER = struct.Struct(">2sQQQ")
HEADER_BYTES = HEADER.size
MAGIC = b"S\x01"
DATED_MAGIC = b"S\x02"
PACKED_MAGIC = b"S\x03"
DATED_PACKED_MAGIC = b"S\x04"
_BLOCK = struct.Struct(">QH")
_VALUE_AFTER = HEADER_BYTES + _BLOCK.size


Entry = tuple[int, int, int, bytes]
"""An entry as stored: version, written, fresh until, and the value, which is empty for a record's header.

A plain tuple, since one is made with every read.
"""


def decode_entry(stored: bytes | None, unpack: Callable[[bytes], bytes] | None = None) -> Entry | None:
    """Read what GET returned; raises `StoreError` (ENTRY_MALFORMED) if no sidecar wrote it.

    `unpack` gives back what a compressed value was; without it, there can be none.
    """
    if stored is None:
        return None
    if len(stored) >= HEADER_BYTES:
        magic, version, written_us, fresh_until_us = HEADER.unpack_from(stored)
        if magic == MAGIC:
            return version, written_us, fresh_until_us, stored[HEADER_BYTES:]
        if magic == DATED_MAGIC and len(stored) >= _VALUE_AFTER:
            _, size = _BLOCK.unpack_from(stored, HEADER_BYTES)
            return version, written_us, fresh_until_us, stored[_VALUE_AFTER + size :]
        if unpack is not None and magic == PACKED_MAGIC:
            return version, written_us, fresh_until_us, unpack(stored[HEADER_BYTES:])
        if unpack is not None and magic == DATED_PACKED_MAGIC and len(stored) >= _VALUE_AFTER:
            _, size = _BLOCK.unpack_from(stored, HEADER_BYTES)
            return version, written_us, fresh_until_us, unpack(stored[_VALUE_AFTER + size :])
    raise malformed("was not written by a sidecar of this format")


def malformed(why: str) -> StoreError:
    """Return ENTRY_MALFORMED."""
    return StoreError(Reason.ENTRY_MALFORMED, f"what is stored under the key {why}; delete it first", field="key")


def is_packed(stored: bytes) -> bool:
    """Say whether the value of an entry is compressed."""
    return stored.startswith((PACKED_MAGIC, DATED_PACKED_MAGIC))


def position_of(stored: bytes) -> int:
    """Return the position that an entry was written at; 0 if it has none."""
    if len(stored) < _VALUE_AFTER or not stored.startswith((DATED_MAGIC, DATED_PACKED_MAGIC)):
        return 0
    position: int = _BLOCK.unpack_from(stored, HEADER_BYTES)[0]
    return position


def tags_of(stored: bytes) -> list[bytes]:
    """Return the tags of an entry, as they are stored."""
    if len(stored) < _VALUE_AFTER or not stored.startswith((DATED_MAGIC, DATED_PACKED_MAGIC)):
        return []
    _, size = _BLOCK.unpack_from(stored, HEADER_BYTES)
    place, end = _VALUE_AFTER, min(_VALUE_AFTER + size, len(stored))
    tags = []
    while place < end:
        tags.append(stored[place + 1 : place + 1 + stored[place]])
        place += 1 + stored[place]
    return tags


def dated_block(position: int, tags: Sequence[bytes]) -> bytes:
    """Return what stands before the value of an entry with a position and tags, each of at most 255 bytes."""
    framed = b"".join([bytes((len(tag),)) + tag for tag in tags])
    return _BLOCK.pack(position, len(framed)) + framed
